"""The time of a board on the bench: that of the host, but for sleep, which may be made short.

It stands in for the conductor of a simulation (host_sim/conductor.py), with one node and nothing to wait for.
"""

import asyncio
from collections.abc import Callable

from host_sim.clock import SimClock

_FAR_S = 86400.0


class Pace:
    """`sleep_speed`: how many times faster than real time deep sleep passes. Times are simulated microseconds."""

    def __init__(self, clock: SimClock, sleep_speed: int = 1) -> None:
        self.clock = clock
        self.connected: dict[str, Callable[[], float]] = {}  # never anybody: all of real time is the chip's
        self._sleep_speed = sleep_speed
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def run_free(self, name: str, at: int) -> None:
        """A boot begins, or its sockets are closed: nothing changes."""

    def want(self, name: str, at: int, admit: Callable[[], None]) -> None:
        """A socket can be had at once."""
        admit()

    def connect(self, name: str, busy_until: Callable[[], float]) -> None:
        """A socket is open: nothing changes."""

    def settle(self, seconds: float) -> None:
        """The far side is given time to answer: it has all there is."""

    async def sleep_until(self, until: int) -> None:
        """The network's own delays."""
        await asyncio.sleep(max(0, until - self.clock.now()) / 1e6)

    def park(self, name: str, until: int, resume: Callable[[], None]) -> None:
        """Calls `resume` when the clock has come to `until`."""
        self.unpark(name)
        seconds = min(max(0.0, (until - self.clock.now()) / 1e6), _FAR_S)

        def ring() -> None:
            del self._timers[name]
            resume()

        self._timers[name] = asyncio.get_running_loop().call_later(seconds, ring)

    def parked(self, name: str) -> bool:
        """Whether it waits."""
        return name in self._timers

    def unpark(self, name: str) -> None:
        """The wait is over."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    leave = unpark

    async def sleep(self, until: int) -> None:
        """Nobody is awake until `until`. Where sleep is made short the clock stands meanwhile, and then jumps."""
        if self._sleep_speed > 1:
            self.clock.pause()
        try:
            await asyncio.sleep(max(0, until - self.clock.now()) / 1e6 / self._sleep_speed)
        except asyncio.CancelledError:
            self.clock.set(self.clock.now(), running=True)
            raise
        self.clock.set(max(until, self.clock.now()), running=True)
