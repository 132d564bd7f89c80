"""What simulated I2C devices have in common."""

from __future__ import annotations

import errno


class Nack(OSError):
    """The device did not acknowledge its address: absent, unpowered or starting (errno ENODEV)."""

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(errno.ENODEV, f"{device}: {reason}")
