"""The log of every value the world served: what the ledger holds the nodes' readings against."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

Served = Callable[[int, str, str, int, int], None]
"""served(t_ms, sensor, channel, value, exponent): the quantity is value * 10**exponent at Unix time t_ms."""

HEADER = "t_ms,sensor,channel,value,exponent\n"


def ignore(t_ms: int, sensor: str, channel: str, value: int, exponent: int) -> None:
    """A `Served` that keeps nothing."""


class ServedLog:
    """Append served values to a CSV file; one system call a line: a killed run keeps what it logged.

    An instance is a `Served`. The header line is written only when the file is new. `t_ms` is true simulated
    Unix time. Raises OSError where the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if os.fstat(self._fd).st_size == 0:
            os.write(self._fd, HEADER.encode())

    def __call__(self, t_ms: int, sensor: str, channel: str, value: int, exponent: int) -> None:
        """Append one line."""
        os.write(self._fd, f"{t_ms},{sensor},{channel},{value},{exponent}\n".encode())

    def close(self) -> None:
        """Close the file; call it once."""
        os.close(self._fd)

    def __enter__(self) -> ServedLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
