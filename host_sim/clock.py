"""The one simulated clock. The supervisor owns it; nodes with a socket open and the cloud read it from files.

A file is 32 bytes, four little-endian 64-bit integers: `version` (odd while it is being written), `sim_ns` (Unix
epoch), `mono_ns` (the host's monotonic clock), `rate` (0 stands still, 1 runs). Now = sim_ns + rate x (monotonic -
mono_ns).
"""

import mmap
import struct
import time
from pathlib import Path

_LAYOUT = struct.Struct("<QqqQ")


class ClockView:
    """One file that shows the clock, off by `shift_us`. All times in microseconds since 1970."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_LAYOUT.size))
        self.path = path
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _LAYOUT.size)
        self._version = 0
        self._shown = (0, 0, 0)
        self._shift_us = 0

    def shift(self, us: int) -> None:
        """From now on it shows the time plus `us`."""
        self._shift_us = us
        self.show(*self._shown)

    def show(self, sim_us: int, mono_ns: int, rate: int) -> None:
        """Writes the clock's state down."""
        self._shown = (sim_us, mono_ns, rate)
        self._version += 2
        _LAYOUT.pack_into(self._map, 0, self._version - 1, (sim_us + self._shift_us) * 1000, mono_ns, rate)
        self._map[:8] = struct.pack("<Q", self._version)


class SimClock:
    """Owner of the clock; the file `path` shows it. All times in microseconds since 1970."""

    def __init__(self, path: Path, start_us: int) -> None:
        self.path = path
        self._views = [ClockView(path)]
        self._sim_us = start_us
        self._mono_ns = 0
        self._rate = 0
        self.set(start_us, running=False)

    def view(self, path: Path) -> ClockView:
        """Another file that shows it, for somebody whose clock may be wrong."""
        view = ClockView(path)
        view.show(self._sim_us, self._mono_ns, self._rate)
        self._views.append(view)
        return view

    def now(self) -> int:
        """Simulated time."""
        return self._sim_us + self._rate * (time.monotonic_ns() - self._mono_ns) // 1000

    @property
    def running(self) -> bool:
        """Whether it runs at the host's pace."""
        return bool(self._rate)

    def set(self, sim_us: int, running: bool) -> None:
        """Moves the clock forward to `sim_us`; ValueError if that lies in the past."""
        if sim_us < self._sim_us:
            raise ValueError(f"clock: {sim_us} us is before {self._sim_us} us")
        self._sim_us, self._mono_ns, self._rate = sim_us, time.monotonic_ns(), int(running)
        for view in self._views:
            view.show(self._sim_us, self._mono_ns, self._rate)

    def pause(self) -> None:
        """Lets it stand still where it is."""
        self.set(self.now(), running=False)
