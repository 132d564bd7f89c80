"""One boot of a node: what its VM asks, from hello to the end of the process."""

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from host_sim.conductor import Conductor
from host_sim.contacts import ContactLog
from host_sim.faults.supply import REQUEST, Supply
from host_sim.hardware import chip as chips
from host_sim.hardware.chip import Chip, PowerCut
from host_sim.hardware.watchdog import cpu_us
from host_sim.line import Line
from host_sim.proxy import Proxy

State = Literal["off", "asleep", "sampling", "connecting", "sending"]
"""What a node does, seen from outside: its supply is away; it sleeps; it is awake without the radio; it joins a network
and has no socket yet; it has one."""


class Ending(NamedTuple):
    """How a boot ended, when, and with what: sleep (ms), reset (cause), cut, bite (of the watchdog), hung (likewise,
    for good), stopped (at the REPL), end (asleep when the run ended).
    """

    kind: str
    at: int
    value: int = 0


@dataclass
class Surroundings:
    """What a node's boots share. `hosts`: names that resolve, and the ports that stand for them. `note(at, event,
    reason)` writes down what happened to the supply; `end` is when the run ends."""

    name: str
    chip: Chip
    proxy: Proxy
    conductor: Conductor
    supply: Supply
    contacts: ContactLog
    hosts: dict[str, int]
    note: Callable[[int, str, str], None]
    end: int = 1 << 62


class Boot:
    """A VM at work from `at` on; `why` is what the power log says of it, None for nothing.

    All times are true simulated microseconds.
    An RP2's way to deep sleep is a reset and then a lightsleep: only what a boot does first tells which it is, so its
    line in the power log waits for that.
    """

    def __init__(
        self, around: Surroundings, line: Line, pid: int, at: int, why: tuple[int, str, str] | None,
        soft: bool = False,
    ) -> None:  # fmt: skip
        self.ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        self.slept = False  # it began with a lightsleep
        self.contacts = 0
        self.last_seen = at
        self.state: State = "sampling"
        self._around = around
        self._chip = around.chip
        self._conductor = around.conductor
        self._line = line
        self._pid = pid
        self._why = why
        self._awake = False  # the lightsleep it began with is over
        self._waiting: tuple[int, int] | None = None  # from, until
        self._waited_us = 0  # in paced time, since the VM was seen last
        if not soft:  # a reset of the VM only
            self._chip.watchdog.stop()
        self._conductor.run_free(around.name, at)
        line.request, line.lost = self._request, self._lost
        if around.supply.fails(REQUEST, at):
            self._cut(at)
        else:
            line.answer(chips.HELLO, 0, self._chip.hello(at))

    def settle(self) -> None:
        """Writes down how this boot began, once that is certain."""
        if self._why is not None:
            self._around.note(*self._why)
            self._why = None
        if self.state == "asleep":
            self.state = "sampling"
        self._awake = True

    def look(self) -> None:
        """Ends a boot that neither feeds its watchdog nor asks for anything."""
        if not self.ending.done() and self._chip.watchdog.computed(cpu_us(self._pid)):
            self._bite()

    def _finish(self, kind: str, at: int, value: int = 0) -> None:
        if not self.ending.done():
            self._around.contacts.ended(at)
            self.ending.set_result(Ending(kind, at, value))

    def _lost(self) -> None:
        """The process died without a word: killed from outside, which is a lost supply."""
        self._finish("cut", self.last_seen)

    def _cut(self, now: int) -> None:
        self._around.proxy.drop()
        self._finish("cut", now)

    # Requests

    def _request(self, op: int, arg: int, payload: bytes, now: int) -> None:
        if self.ending.done():
            return  # its process is not killed yet; not every request waits for an answer, so it may go on a little
        self.last_seen = now
        if op == chips.LIGHTSLEEP:
            self._goes_to_sleep()
        else:
            self.settle()
        if self._has_bitten(now):
            self._bite()
        elif self._around.supply.fails(REQUEST, now):
            self._cut(now)
        elif op == chips.SLEEP:
            self._finish("sleep", now, struct.unpack("<I", payload)[0])
        elif op == chips.RESET:
            self._finish("reset", now, arg)
        elif op == chips.REPL:
            self._finish("stopped", now)
        elif op == chips.LIGHTSLEEP:
            self._lightsleep(now, struct.unpack("<I", payload)[0])
        elif op == chips.WATCHDOG:
            self._watchdog(arg, payload, now)
        elif op == chips.OPEN:
            self._open(payload, now)
        elif op == chips.CLOSED:
            self.state = "sampling"
            self._around.contacts.ended(now)
            self._around.proxy.left()
            self._line.answer(op)
            self._conductor.run_free(self._around.name, now)
        elif op == chips.WAIT:
            self._wait(now, struct.unpack("<Q", payload)[0])
        elif op == chips.WAKE:
            self._conductor.unpark(self._around.name)
            self._line.answer(op)
        else:
            if op == chips.JOIN:
                self.state = "connecting"
            self._ask_chip(op, arg, payload, now)

    def _ask_chip(self, op: int, arg: int, payload: bytes, now: int) -> None:
        if op == chips.JOIN:
            self._around.contacts.joining(now)
        try:
            status, answer, took = self._chip.answer(op, arg, payload, now)
        except PowerCut:
            self._cut(now)
        else:
            self._waited_us += took
            if op != chips.KEEP:
                self._line.answer(op, status, answer, took)

    # Sleep

    def _goes_to_sleep(self) -> None:
        """A lightsleep right after a reset is an RP2's way to deep sleep, which began with the reset."""
        if self._why is not None and self._why[1:] == ("on", "restart"):
            self._around.note(self._why[0], "sleep", "")
            self.slept, self._awake, self._why = True, False, None
            self.state = "asleep"

    def _lightsleep(self, now: int, ms: int) -> None:
        dog = self._chip.watchdog
        wakes = now + self._chip.sleep_us(ms)
        if dog.bites_at is not None and wakes > dog.bites_at:
            if self._chip.hangs_in_lightsleep:
                self._finish("hung", dog.bites_at)
            else:
                self._bite()
            return
        if self.slept and not self._awake:
            if wakes >= self._around.end:
                self._finish("end", wakes)
                return
            self._why = (wakes, "wake", "")
        self._line.answer(chips.LIGHTSLEEP, 0, b"", wakes - now)

    # Sockets and paced time

    def _open(self, payload: bytes, now: int) -> None:
        around, line, conductor = self._around, self._line, self._conductor
        host = payload.decode().partition("\0")[0]
        air = self._chip.air
        if host not in around.hosts or air.out_until(now) is not None or not air.resolves(now):
            line.answer(chips.OPEN, 2)
            return
        port = struct.pack("<H", around.hosts[host])
        if around.name in conductor.connected:
            line.answer(chips.OPEN, 0, port)
            return
        self.contacts += 1

        def admit() -> None:
            self.state = "sending"
            around.contacts.opened(conductor.clock.now())
            conductor.connect(around.name, lambda: around.proxy.busy_until)
            line.answer(chips.OPEN, 0, port)

        conductor.want(around.name, now, admit)

    def _wait(self, now: int, until: int) -> None:
        bites_at = self._chip.watchdog.bites_at
        self._waiting = (now, until)
        limit = until if bites_at is None else min(until, bites_at + 1)

        def resume() -> None:
            self._end_wait(self._conductor.clock.now())
            if limit < until and self._has_bitten(limit):
                self._bite()
            else:
                self._line.answer(chips.WAIT)

        self._conductor.park(self._around.name, limit, resume)

    def _end_wait(self, now: int) -> None:
        if self._waiting is not None:
            since, until = self._waiting
            self._waited_us += max(0, min(now, until) - since)
            self._waiting = None

    # Watchdog

    def _watchdog(self, arg: int, payload: bytes, now: int) -> None:
        dog = self._chip.watchdog
        if payload:
            dog.start(struct.unpack("<I", payload)[0], now, cpu_us(self._pid))
        elif arg:
            dog.feed(now, cpu_us(self._pid))
        self._line.answer(chips.WATCHDOG, 0, struct.pack("<Q", dog.bites_at or 0))

    def _has_bitten(self, now: int) -> bool:
        """Whether the watchdog has bitten before `now`, at which the VM is seen."""
        self._end_wait(now)
        waited, self._waited_us = self._waited_us, 0
        if not self._chip.watchdog.runs:
            return False
        paced = self._around.name in self._conductor.connected
        return self._chip.watchdog.went_on(now, cpu_us(self._pid), waited if paced else None)

    def _bite(self) -> None:
        self._around.proxy.drop()
        self._finish("bite", self._chip.watchdog.bites_at or self.last_seen)
