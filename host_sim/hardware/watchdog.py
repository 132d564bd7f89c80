"""The watchdog of a simulated chip, counted outside the VM in the chip's own time.

In free time the VM's clock is the chip's. In paced time the clock runs with the host's, which may keep the VM waiting
for reasons that no chip has: there only what the VM slept and what its process computed counts.
"""

import time

# A chip takes some tens of times as long over the same bytecode as a desktop core: an assumption, to be replaced
# when a board was measured.
SLOWER = 10


def cpu_us(pid: int) -> int:
    """CPU time of a process of ours so far; 0 where the host cannot tell (clock_getcpuclockid(3) is Linux's)."""
    try:
        return int(time.clock_gettime((~pid << 3) | 2) * 1e6)
    except (OSError, AttributeError):
        return 0


class Watchdog:
    """Stopped until `start`; nothing but `stop`, which is a reset, stops it again. Times are simulated microseconds."""

    def __init__(self) -> None:
        self.bites_at: int | None = None
        self._timeout_us = 0
        self._fed_at_cpu = 0
        self._seen = 0
        self._seen_cpu = 0

    @property
    def runs(self) -> bool:
        """Whether it was started since the last reset."""
        return self.bites_at is not None

    def stop(self) -> None:
        """A reset, deep sleep, or the supply has gone."""
        self.bites_at = None

    def start(self, timeout_ms: int, now: int, cpu: int) -> None:
        """Starts it, or starts it anew with another timeout. `cpu`: CPU microseconds of the VM's process so far."""
        self._timeout_us = timeout_ms * 1000
        self.bites_at = now
        self.feed(now, cpu)

    def feed(self, now: int, cpu: int) -> None:
        """Puts the bite off by the timeout."""
        if self.bites_at is not None:
            self.bites_at = now + self._timeout_us
            self._fed_at_cpu = cpu
            self._seen, self._seen_cpu = now, cpu

    def went_on(self, now: int, cpu: int, slept_us: int | None) -> bool:
        """The VM was seen at `now`, having slept for `slept_us` since it was seen last: whether the watchdog has
        bitten.

        `slept_us` None: the time since then was free, all of it is the chip's.
        """
        if self.bites_at is None:
            return False
        if slept_us is not None:
            own = slept_us + SLOWER * (cpu - self._seen_cpu)
            self.bites_at += max(0, now - self._seen - own)
        self._seen, self._seen_cpu = now, cpu
        return now > self.bites_at

    def computed(self, cpu: int) -> bool:
        """Whether it has bitten a VM that says nothing, by the CPU time its process took since it was fed."""
        return self.bites_at is not None and SLOWER * (cpu - self._fed_at_cpu) > self._timeout_us
