"""One simulated node: its chip, its way to the broker, and its life, boot after boot."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from host_sim import nursery
from host_sim.boot import Boot, Ending, State, Surroundings
from host_sim.conductor import Conductor
from host_sim.contacts import ContactLog
from host_sim.faults.supply import FLASH, Supply
from host_sim.hardware import chip as chips
from host_sim.hardware.chip import Chip
from host_sim.line import Line
from host_sim.proxy import Proxy

BOOTLOOP = 50  # boots without a deep sleep in between before a node is given up

Fork = Callable[["Node"], Awaitable[int]]


class SimulationError(Exception):
    """The simulation cannot go on; the text says which node, and what it did."""


@dataclass
class Spare:
    """A VM forked ahead of its boot; `line` is there once it has said hello."""

    line: "asyncio.Future[Line]"
    pid: int = 0


class Node:
    """`folder` takes its flash, console and power log. `fork(node)` starts a VM for it and returns the pid.

    `code`: the folder of boot.py and main.py, and what main.py may want besides. `ahead`: fork each VM while the one
    before it runs. `hosts`: names that resolve, and the ports that stand for them. Times are true simulated
    microseconds.
    """

    def __init__(
        self, name: str, folder: Path, chip: Chip, proxy: Proxy, conductor: Conductor, fork: Fork, code: list[Path],
        hosts: dict[str, int], supply: Supply | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.folder = folder
        self.chip = chip
        self.proxy = proxy
        self.code = code
        self.ahead = False
        self._supply = supply or Supply()
        self.boots = self.wakes = self.contacts = self.last_seen = 0
        self.noted: Callable[[int, str], None] = lambda _at, _event: None  # told what the power log is told
        self.stored_only: list[float] = []  # host seconds of each wake without a contact
        self._fork = fork
        self._power = (folder / "power.csv").open("w", buffering=1)
        self._power.write("t_ms,event,reason\n")
        contacts = ContactLog(folder / "contacts.csv", proxy)
        self._around = Surroundings(name, chip, proxy, conductor, Supply(), contacts, hosts, self._note)
        self._boot: Boot | None = None
        self._off = True
        self._pid = 0
        self._spare: Spare | None = None
        chip.flash.before = lambda _operation, now: self._around.supply.fails(FLASH, now)

    @property
    def console(self) -> Path:
        """What the VMs printed."""
        return self.folder / "console.log"

    def _note(self, at: int, event: str, reason: str) -> None:
        self._power.write(f"{at // 1000},{event},{reason}\n")
        self._off = event == "off"
        self.noted(at, event)

    @property
    def state(self) -> State:
        """What it does now."""
        if self._boot is not None:
            return self._boot.state
        return "off" if self._off else "asleep"

    async def live(self, start: int, end: int) -> None:
        """Power-on at `start`, then boot after boot until a wake would lie at or after `end`."""
        self._around.end = end
        self._around.supply = self._supply
        self.chip.power_on(start)
        why = (start, "on", "power")
        fruitless = 0
        while why[0] < end:
            began = time.perf_counter()
            boot, ending = await self._run(why[0] + self.chip.boot_us, why)
            boot.settle()
            asleep = ending.kind == "sleep" or boot.slept
            if asleep:
                self.wakes += 1
                if not boot.contacts and ending.kind in ("sleep", "reset"):
                    self.stored_only.append(time.perf_counter() - began)
            fruitless = 0 if asleep else fruitless + 1
            if fruitless > BOOTLOOP:
                raise SimulationError(f"{self.name}: {BOOTLOOP} boots without a sleep; see {self.console}")
            if ending.kind == "end":
                return
            why = self._next(ending)

    def _next(self, ending: Ending) -> tuple[int, str, str]:
        """What follows on a boot that ended so: when the next one begins, and what the power log says of it."""
        kind, at, value = ending
        if kind == "sleep":
            self._note(at, "sleep", "")
            return self.chip.slept(at, value), "wake", ""
        if kind == "cut":
            self._note(at, "off", "cut")
            back = at + self._supply.off_us
            self.chip.power_on(back)
            return back, "on", "cut"
        if kind == "reset":
            self.chip.reset(value)
            return at, "on", "restart"
        if kind == "bite":
            self.chip.reset(chips.WATCHDOG_RESET)
            return at, "on", "watchdog"
        if kind == "hung":
            raise SimulationError(f"{self.name}: hangs until a power cycle: its watchdog bit in lightsleep")
        raise SimulationError(f"{self.name}: stopped at the REPL; see {self.console}")

    async def deploy(self, script: Path, files: Path, at: int) -> None:
        """Boots once with another main.py, which copies `files` to the node's filesystem and resets."""
        code, self.code = self.code, [script, files]
        _, ending = await self._run(at, None)
        self.code = code
        self._around.conductor.leave(self.name)
        if ending.kind != "reset":
            raise SimulationError(f"{self.name}: could not be deployed; see {self.console}")

    async def _run(self, at: int, why: tuple[int, str, str] | None) -> tuple[Boot, Ending]:
        """One process of the VM, from hello to its end."""
        self.boots += 1
        spare = self._spare or await self._prepare()
        line, self._pid = await spare.line, spare.pid
        self._spare = None
        self._boot = boot = Boot(self._around, line, self._pid, at, why)
        try:
            if self.ahead:
                await self._prepare()  # waits at its hello by the time this one has gone to sleep
            return boot, await boot.ending
        finally:
            self.contacts += boot.contacts
            self._boot = None
            nursery.kill(self._pid)
            self._pid = 0
            line.close()

    async def _prepare(self) -> Spare:
        self._spare = spare = Spare(asyncio.get_running_loop().create_future())
        spare.pid = await self._fork(self)
        return spare

    def said_hello(self, line: Line) -> None:
        """A VM of this node waits for its boot."""
        if self._spare is not None and not self._spare.line.done():
            self._spare.line.set_result(line)
        else:
            line.close()

    def look(self) -> None:
        """Called now and then: tells how far the node is, and ends a boot that hangs."""
        if self._boot is not None:
            self.last_seen = self._boot.last_seen
            self._boot.look()

    async def end(self) -> None:
        """No VM and no connection of this node is left."""
        for pid in (self._pid, self._spare.pid if self._spare else 0):
            if pid:
                nursery.kill(pid)
        self._pid, self._spare = 0, None
        self._power.close()
        self._around.contacts.close()
        await self.proxy.stop()
