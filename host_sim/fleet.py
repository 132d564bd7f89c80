"""A fleet of simulated nodes: boots each one's VM, ends it, and boots it again, until the simulated end."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from host_sim.clock import SimClock
from host_sim.conductor import Conductor
from host_sim.faults import kills
from host_sim.faults.kills import Kill
from host_sim.hardware import chip as chips
from host_sim.hardware.chip import Chip, PowerCut
from host_sim.hardware.watchdog import cpu_us
from host_sim.line import Line
from host_sim.proxy import Proxy

HEAP_KB = 224
OFF_US = 2_000_000  # how long the supply stays away
WATCH_S = 0.2  # how often a VM that says nothing is looked at
BOOTLOOP = 50  # boots without a deep sleep in between before the fleet gives a node up


class SimulationError(Exception):
    """The simulation cannot go on; the text says which node, and what it did."""


@dataclass
class Spare:
    """A VM forked ahead of its boot; `line` is there once it has said hello."""

    line: "asyncio.Future[Line]"
    pid: int = 0


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass
class Node:
    """One node: its chip, its proxy, its VM when it runs. Times are true simulated microseconds."""

    name: str
    folder: Path
    chip: Chip
    proxy: Proxy
    fleet: "Fleet"
    code: list[Path]  # the folder of boot.py and main.py, and what main.py may want besides
    hosts: dict[str, int]  # names that resolve
    ahead: bool = False  # fork each VM while the one before it runs
    pid: int = 0
    line: Line | None = None
    boots: int = 0
    wakes: int = 0
    contacts: int = 0
    kills: list[Kill] = field(default_factory=list)  # of this node, in order
    killed: int = 0
    stored_only: list[float] = field(default_factory=list)  # host seconds of each wake without a contact
    last_seen: int = 0
    _spare: "Spare | None" = None
    _outcome: asyncio.Future | None = None
    _counted: int = 0  # requests or flash operations since the next kill came due
    _hello_at: int = 0
    _unsaid: tuple[int, str, str] | None = None  # how this boot began, while it may still be the way to sleep
    _slept: bool = False  # this boot began with a lightsleep ...
    _awake: bool = False  # ... which is over
    _waiting: tuple[int, int] | None = None  # from, until
    _waited_us: int = 0  # in paced time, since the VM was seen last
    _end_at: int = 1 << 62

    def __post_init__(self) -> None:
        self._power = (self.folder / "power.csv").open("w", buffering=1)
        self._power.write("t_ms,event,reason\n")
        self.chip.flash.before = lambda _operation, now: self._due(kills.FLASH, now)

    @property
    def _console(self) -> Path:
        return self.folder / "console.log"

    def note(self, at: int, event: str, reason: str = "") -> None:
        """Writes down what happened to the supply."""
        self._power.write(f"{at // 1000},{event},{reason}\n")

    def _due(self, what: str, now: int) -> bool:
        """True when the plan kills the VM in this request or flash operation."""
        if not self.kills or self.kills[0].what != what or now < self.kills[0].at_us:
            return False
        self._counted += 1
        if self._counted <= self.kills[0].count:
            return False
        self.kills.pop(0)
        self._counted = 0
        self.killed += 1
        return True

    async def live(self, start: int, end: int) -> None:
        """Power-on at `start`, then boot after boot until a wake would lie at or after `end`."""
        at = start
        self.chip.power_on(at)
        event, reason, fruitless = "on", "power", 0
        self._end_at = end
        while at < end:
            self._unsaid = (at, event, reason)
            began, contacts = time.perf_counter(), self.contacts
            kind, at, value = await self._boot(at + self.chip.boot_us)
            self._say()
            if (kind == "sleep" or kind == "reset" and self._slept) and contacts == self.contacts:
                self.stored_only.append(time.perf_counter() - began)
            if kind == "sleep" or self._slept:
                fruitless = 0
                self.wakes += 1
            if kind == "end":
                return
            if kind == "sleep":
                self.note(at, "sleep")
                at = self.chip.slept(at, value)
                event, reason = "wake", ""
                continue
            fruitless += 1
            if fruitless > BOOTLOOP:
                raise SimulationError(f"{self.name}: {BOOTLOOP} boots without a sleep; see {self._console}")
            if kind == "cut":
                self.note(at, "off", "cut")
                at += OFF_US
                self.chip.power_on(at)
                event, reason = "on", "cut"
            elif kind == "reset":
                self.chip.reset(value)
                event, reason = "on", "restart"
            elif kind == "bite":
                self.chip.reset(chips.WATCHDOG_RESET)
                event, reason = "on", "watchdog"
            elif kind == "hung":
                raise SimulationError(f"{self.name}: hangs until a power cycle: its watchdog bit in lightsleep")
            else:
                raise SimulationError(f"{self.name}: stopped at the REPL; see {self._console}")
        if event == "wake" and at >= end:
            return

    async def deploy(self, script: Path, files: Path, at: int) -> None:
        """Boots once with another main.py, which copies `files` to the node's filesystem and resets."""
        code, self.code = self.code, [script, files]
        kind, _, _ = await self._boot(at)
        self.code = code
        self.fleet.conductor.leave(self.name)
        if kind != "reset":
            raise SimulationError(f"{self.name}: could not be deployed; see {self._console}")

    async def _boot(self, at: int) -> tuple[str, int, int]:
        """One process of the VM; (sleep | reset | cut | stopped, true time it ended, its value)."""
        self.fleet.conductor.run_free(self.name)
        self._hello_at = at
        self.boots += 1
        self._slept = False
        self.chip.watchdog.stop()
        self._outcome = asyncio.get_running_loop().create_future()
        spare = self._spare or await self._fork()
        self.line, self.pid = await spare.line, spare.pid
        self._spare = None
        self.request(chips.HELLO, 0, b"", at)
        try:
            if self.ahead:
                await self._fork()  # waits at its hello by the time this one has gone to sleep
            return await self._outcome
        finally:
            self._end()

    async def _fork(self) -> Spare:
        self._spare = spare = Spare(asyncio.get_running_loop().create_future())
        spare.pid = await self.fleet.spawn(self)
        return spare

    def said_hello(self, line: Line) -> None:
        """A VM of this node waits for its boot."""
        if self._spare is not None and not self._spare.line.done():
            self._spare.line.set_result(line)
        else:
            line.close()

    def end(self) -> None:
        """No VM of this node is left."""
        self._end()
        if self._spare is not None:
            if self._spare.pid:
                _kill(self._spare.pid)
            self._spare = None

    def _end(self) -> None:
        """The VM is no more: deep sleep, reset and a lost supply all end it at once."""
        if self.pid:
            _kill(self.pid)
            self.pid = 0
        if self.line is not None:
            line, self.line = self.line, None
            line.close()

    def _finish(self, kind: str, at: int, value: int = 0) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result((kind, at, value))

    def line_lost(self) -> None:
        """The process died without a word: killed from outside, which is a lost supply."""
        self._finish("cut", self.last_seen)

    def request(self, op: int, arg: int, payload: bytes, now: int) -> None:
        """One request of the line."""
        line = self.line
        if line is None:
            return
        self.last_seen = self._hello_at if op == chips.HELLO else now
        if op == chips.LIGHTSLEEP:
            self._goes_to_sleep()
        elif op != chips.HELLO:
            self._say()
        if op != chips.HELLO and self._has_bitten(now):
            self._bite()
        elif self._due(kills.REQUEST, self.last_seen):
            self._cut(self.last_seen)
        elif op == chips.HELLO:
            line.answer(op, 0, self.chip.hello(self._hello_at))
        elif op == chips.WAIT:
            (until,) = struct.unpack("<Q", payload)
            self._wait(line, now, until)
        elif op == chips.WAKE:
            self.fleet.conductor.unpark(self.name)
            line.answer(op)
        elif op == chips.OPEN:
            self._open(line, payload, now)
        elif op == chips.CLOSED:
            line.answer(op)
            self.fleet.conductor.run_free(self.name)
        elif op == chips.LIGHTSLEEP:
            self._lightsleep(line, now, struct.unpack("<I", payload)[0])
        elif op == chips.WATCHDOG:
            self._watchdog(line, arg, payload, now)
        elif op == chips.SLEEP:
            self._finish("sleep", now, struct.unpack("<I", payload)[0])
        elif op == chips.RESET:
            self._finish("reset", now, arg)
        elif op == chips.REPL:
            self._finish("stopped", now)
        else:
            try:
                status, answer, took = self.chip.answer(op, arg, payload, now)
            except PowerCut:
                self._cut(now)
            else:
                self._waited_us += took
                line.answer(op, status, answer, took)

    def _say(self) -> None:
        """Notes how this boot began, once that is certain."""
        if self._unsaid is not None:
            self.note(*self._unsaid)
            self._unsaid = None
        self._awake = True

    def _goes_to_sleep(self) -> None:
        """A lightsleep right after a reset is an RP2's way to deep sleep, which began with the reset."""
        if self._unsaid is not None and self._unsaid[1:] == ("on", "restart"):
            self.note(self._unsaid[0], "sleep")
            self._slept, self._awake, self._unsaid = True, False, None

    def _lightsleep(self, line: Line, now: int, ms: int) -> None:
        dog = self.chip.watchdog
        wakes = now + self.chip.sleep_us(ms)
        if dog.bites_at is not None and wakes > dog.bites_at:
            if self.chip.hangs_in_lightsleep:
                self._finish("hung", dog.bites_at)
            else:
                self._bite()
            return
        if self._slept and not self._awake:
            self._unsaid = (wakes, "wake", "")
            if wakes >= self._end_at:
                self._unsaid = None
                self._finish("end", wakes)
                return
        line.answer(chips.LIGHTSLEEP, 0, b"", wakes - now)

    def _wait(self, line: Line, now: int, until: int) -> None:
        dog = self.chip.watchdog
        self._waiting = (now, until)
        limit = until if dog.bites_at is None else min(until, dog.bites_at + 1)

        def resume() -> None:
            self._end_wait(self.fleet.clock.now())
            if limit < until and self._has_bitten(limit):
                self._bite()
            else:
                line.answer(chips.WAIT)

        self.fleet.conductor.park(self.name, limit, resume)

    def _end_wait(self, now: int) -> None:
        if self._waiting is not None:
            since, until = self._waiting
            self._waited_us += max(0, min(now, until) - since)
            self._waiting = None

    def _watchdog(self, line: Line, arg: int, payload: bytes, now: int) -> None:
        dog = self.chip.watchdog
        if payload:
            dog.start(struct.unpack("<I", payload)[0], now, cpu_us(self.pid))
        elif arg:
            dog.feed(now, cpu_us(self.pid))
        line.answer(chips.WATCHDOG, 0, struct.pack("<Q", dog.bites_at or 0))

    def _has_bitten(self, now: int) -> bool:
        """Whether the watchdog has bitten before `now`, at which the VM is seen."""
        self._end_wait(now)
        waited, self._waited_us = self._waited_us, 0
        if not self.chip.watchdog.runs:
            return False
        paced = self.name in self.fleet.conductor.connected
        return self.chip.watchdog.went_on(now, cpu_us(self.pid), waited if paced else None)

    def _bite(self) -> None:
        self.proxy.drop()
        self._finish("bite", self.chip.watchdog.bites_at or self.last_seen)

    def look(self) -> None:
        """Ends a boot that neither feeds the watchdog nor asks for anything."""
        if self.pid and self.chip.watchdog.computed(cpu_us(self.pid)):
            self._bite()

    def _cut(self, now: int) -> None:
        self.proxy.drop()
        self._finish("cut", now)

    def _open(self, line: Line, payload: bytes, now: int) -> None:
        host, _, _port = payload.decode().partition("\0")
        if host not in self.hosts:
            line.answer(chips.OPEN, 2)
            return
        port = struct.pack("<H", self.hosts[host])
        conductor = self.fleet.conductor
        if self.name in conductor.connected:
            line.answer(chips.OPEN, 0, port)
            return
        self.contacts += 1

        def admit() -> None:
            conductor.connect(self.name, lambda: self.proxy.busy_at)
            line.answer(chips.OPEN, 0, port)

        conductor.want(self.name, now, admit)


class Fleet:
    """The supervisor: zygote, line, clock. `module_path(node)` is the VM's; `heap_kb` its heap in KiB."""

    def __init__(
        self, folder: Path, clock: SimClock, module_path: Callable[["Node"], str], heap_kb: int = HEAP_KB
    ) -> None:
        self.folder = folder
        self.heap_kb = heap_kb
        self.clock = clock
        self.conductor = Conductor(clock)
        self.module_path = module_path
        self.nodes: dict[str, Node] = {}
        self._spawn_lock = asyncio.Lock()

    async def __aenter__(self) -> "Fleet":
        self.loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        zygote = Path(__file__).with_name("zygote.py")
        self._zygote = subprocess.Popen(
            [sys.executable, "-I", str(zygote), str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._to_zygote = ours
        self._line_path = self.folder / "line"
        self._line_path.unlink(missing_ok=True)
        self._server = await self.loop.create_unix_server(lambda: Line(self), str(self._line_path))
        self._watching = asyncio.ensure_future(self._watch())
        return self

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            for node in self.nodes.values():
                node.look()

    async def __aexit__(self, *_exc: object) -> None:
        self._watching.cancel()
        for node in self.nodes.values():
            node.end()
            await node.proxy.stop()
        self._server.close()
        self._to_zygote.close()
        try:
            self._zygote.wait(2)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()
        self._line_path.unlink(missing_ok=True)

    async def spawn(self, node: Node) -> int:
        """Forks a VM for the node; returns its pid."""
        argv = ["micropython", "-X", f"heapsize={self.heap_kb}K", "-m", "bootstrap", node.name, str(self._line_path)]
        argv += [str(self.clock.path), str(node.folder / "flash.bin"), *map(str, node.code)]
        request = {"argv": argv, "path": self.module_path(node), "log": str(node._console)}
        async with self._spawn_lock:
            await self.loop.sock_sendall(self._to_zygote, json.dumps(request).encode())
            return int(await self.loop.sock_recv(self._to_zygote, 64))

    def said_hello(self, line: Line, name: str) -> Node:
        """Hands a new line to the node that said hello on it."""
        node = self.nodes[name]
        node.said_hello(line)
        return node

    async def run(self, start: int, end: int) -> None:
        """Every node's life, in parallel; the first one that cannot go on ends them all."""
        lives = [asyncio.ensure_future(self._life(node, start, end)) for node in self.nodes.values()]
        try:
            await asyncio.gather(*lives)
        finally:
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)

    async def _life(self, node: Node, start: int, end: int) -> None:
        try:
            # Nobody plugs in a fleet at the same instant.
            first = start + random.Random(node.name).randrange(1, 20_000_000)
            await node.live(first, end)
        finally:
            self.conductor.leave(node.name)
