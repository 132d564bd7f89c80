"""Who may go on, and when: keeps contacts in order of simulated time (design: "Time in the simulation").

A node with its radio off runs free, ahead of the shared clock. One that wants a socket waits here until the clock
has come to its moment. While any node is connected the clock runs at the pace of real I/O; when all connected ones
wait and their proxies have been quiet for QUIET_S, it jumps to the next moment anybody waits for. With nobody
connected it stands still and jumps to the earliest node that wants a socket. It never jumps over a node that runs free:
that one may want a socket any moment, so it must have gone past first, boot by boot.
"""

import asyncio
import time
from collections.abc import Callable

from host_sim.clock import SimClock

QUIET_S = 0.05


class Conductor:
    """Every node is free (since when its boot began), wanting, or connected, and then maybe parked. Times are simulated
    microseconds.
    """

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.free: dict[str, int] = {}
        self.wanting: dict[str, tuple[int, Callable[[], None]]] = {}
        self.connected: dict[str, Callable[[], float]] = {}
        self.parked: dict[str, tuple[int, Callable[[], None]]] = {}
        self._sleepers: dict[int, tuple[int, asyncio.Future[None]]] = {}
        self._slept = 0
        self.held = False
        self._settling = 0
        self._timer: asyncio.TimerHandle | None = None

    def run_free(self, name: str, at: int) -> None:
        """The node boots at `at`, or has closed its sockets then."""
        for where in (self.connected, self.parked, self.wanting):
            where.pop(name, None)
        self.free[name] = at
        self._step()

    def leave(self, name: str) -> None:
        """The node has ended."""
        for where in (self.connected, self.parked, self.wanting, self.free):
            where.pop(name, None)
        self._step()

    def want(self, name: str, at: int, admit: Callable[[], None]) -> None:
        """The node wants a socket at `at`; `admit` is called when the clock has come there."""
        self.free.pop(name, None)
        self.wanting[name] = (at, admit)
        self._step()

    def connect(self, name: str, busy_until: Callable[[], float]) -> None:
        """The node has a socket; `busy_until` tells until when its proxy is busy (time.monotonic)."""
        self.connected[name] = busy_until

    def park(self, name: str, until: int, resume: Callable[[], None]) -> None:
        """A connected node waits for its sockets, or for `until`."""
        self.parked[name] = (until, resume)
        self._step()

    def hold(self, held: bool) -> None:
        """While held the clock never jumps: the cloud end is down or behind, and its outage takes the time it takes."""
        self.held = held
        self._step()

    def settle(self, seconds: float) -> None:
        """The clock does not jump for so much real time: what a node sent last is still on its way through the cloud
        end, which tells its arrival by this clock.
        """
        self._settling += 1
        asyncio.get_running_loop().call_later(seconds, self._settled)

    def _settled(self) -> None:
        self._settling -= 1
        self._step()

    def unpark(self, name: str) -> None:
        """The node's wait is over."""
        self.parked.pop(name, None)

    async def sleep_until(self, at: int) -> None:
        """Waits for simulated time to come to `at`, as a proxy does that holds data back for a connected node."""
        self._slept += 1
        number, wakes = self._slept, asyncio.get_running_loop().create_future()
        self._sleepers[number] = (at, wakes)
        self._step()
        try:
            await wakes
        finally:
            self._sleepers.pop(number, None)

    def _step(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.connected:
            if self.clock.running:
                self.clock.pause()
            if not self.wanting:
                return
            first = min(at for at, _ in self.wanting.values())
            if not self._may_jump(first):
                return
            self.clock.set(max(first, self.clock.now()), running=True)
        self._wake_due()
        self._arm()

    def _wake_due(self) -> None:
        """Whoever waits for a moment that has come goes on."""
        now = self.clock.now()
        for name in sorted(self.wanting, key=lambda n: self.wanting[n][0]):
            at, admit = self.wanting[name]
            if at <= now:
                del self.wanting[name]
                admit()
        for name, (until, resume) in list(self.parked.items()):
            if until <= now:
                del self.parked[name]
                resume()
        for at, wakes in self._sleepers.values():
            if at <= now and not wakes.done():
                wakes.set_result(None)

    def _arm(self) -> None:
        """Looks again when the clock reaches the next moment, or when quiet has lasted long enough to jump there."""
        moment = self._next_moment()
        if moment is None:
            return
        loop = asyncio.get_running_loop()
        wait = (moment - self.clock.now()) / 1e6
        if len(self.parked) == len(self.connected) and self._may_jump(moment):
            quiet = time.monotonic() - max((busy() for busy in self.connected.values()), default=0.0)
            if quiet >= QUIET_S:
                self.clock.set(max(moment, self.clock.now()), running=True)
                self._wake_due()
                loop.call_soon(self._step)
                return
            wait = min(wait, QUIET_S - quiet)
        self._timer = loop.call_later(max(wait, 0.0005), self._step)

    def _may_jump(self, to: int) -> bool:
        return not self.held and not self._settling and all(at >= to for at in self.free.values())

    def _next_moment(self) -> int | None:
        """The next one that anybody waits for; None if nobody does."""
        moments = [until for until, _ in self.parked.values()] + [at for at, _ in self.wanting.values()]
        moments += [at for at, wakes in self._sleepers.values() if not wakes.done()]
        return min(moments, default=None)
