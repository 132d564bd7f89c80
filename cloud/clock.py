"""The cloud's clock: the system's, or one that a simulation steers through a memory-mapped page.

Everything of the cloud that reads the time of day reads it here.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import Protocol

EPOCH_2020 = 1_577_836_800
"""Unix seconds of 2020-01-01 00:00:00 UTC, the zero of "wall" on the wire."""


class Clock(Protocol):
    """Anything that knows the time of day."""

    def now_ms(self) -> int:
        """Return the time of day in Unix milliseconds."""
        ...


class SystemClock:
    """The system's own time of day."""

    def now_ms(self) -> int:
        """Return the time of day in Unix milliseconds."""
        return time.time_ns() // 1_000_000


class FileClock:
    """A clock in a 32-byte file that another process writes: four little-endian 64-bit integers.

    seq      even: stable; odd: being written
    sim_ns   time of day, Unix nanoseconds, at mono_ns
    mono_ns  the reading of `time.monotonic_ns()` that belongs to sim_ns
    rate     0 the clock stands, 1 it runs
    """

    _PAGE = struct.Struct("<4q")

    def __init__(self, path: Path) -> None:
        """Map the file at `path`. Raises OSError if it cannot be read, ValueError if it is not 32 bytes long."""
        with path.open("rb") as file:
            if path.stat().st_size != self._PAGE.size:
                raise ValueError(f"{path}: a clock file has {self._PAGE.size} bytes, not {path.stat().st_size}")
            self._map = mmap.mmap(file.fileno(), self._PAGE.size, access=mmap.ACCESS_READ)

    def now_ms(self) -> int:
        """Return the time of day in Unix milliseconds; waits while the page is being written."""
        while True:
            seq, sim_ns, mono_ns, rate = self._PAGE.unpack(self._map[:])
            if seq % 2 == 0 and self._PAGE.unpack(self._map[:])[0] == seq:
                return (sim_ns + rate * (time.monotonic_ns() - mono_ns)) // 1_000_000
            time.sleep(0)


def open_clock(address: str | None) -> Clock:
    """Return the clock at `address` ("file:PATH"), or the system's for None. Raises ValueError on another scheme."""
    if address is None:
        return SystemClock()
    scheme, _, path = address.partition(":")
    if scheme != "file" or not path:
        raise ValueError(f"clock {address!r}: expected file:PATH")
    return FileClock(Path(path))
