"""A board on the bench, from power-on to power-off: boots, resets, sleeps, and a serial port to talk to it."""

import asyncio
import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from host_sim.bench import volume
from host_sim.bench.boot import HARD_RESET, BenchBoot
from host_sim.bench.console import Console
from host_sim.bench.pace import Pace
from host_sim.bench.serialport import SerialPort
from host_sim.boot import Ending, Surroundings
from host_sim.clock import SimClock
from host_sim.conductor import Conductor
from host_sim.contacts import ContactLog
from host_sim.faults.supply import Supply
from host_sim.hardware import chip as chips
from host_sim.hardware import image
from host_sim.hardware.chip import CHIPS
from host_sim.line import Line, Listener
from host_sim.node import SimulationError
from host_sim.nursery import Nursery, kill
from host_sim.plan import START_MS
from host_sim.proxy import Proxy
from host_sim.wiring import wire
from host_sim.world import ServedLog, World
from tools import boards, build
from tools.nodefile import NodeFile

HEAP_KB = 400  # imports through a block device in Python leave more garbage than a board's
ENUMERATION_S = 0.4  # from the start of a chip with USB of its own to a port at the host: an assumption
LOOK_S = 0.05
NATIVE_USB = ("ESP32-C3", "ESP32-S3", "RP2040", "RP2350")  # the port is the chip's own, and goes with it


class BenchBoard:
    """The board that `node_file` describes, wired as it says, with a flash of its own in `folder`, which survives this
    object. `link`: where the port shall be found. `sleep_speed`: how many times faster deep sleep passes;
    `flash_speed`: likewise the flash's own work, for tests that are not about it.

    `async with` is power-on to the end. `state` is one of off, awake, asleep, bootloader, hung; `changed(state)` is
    called at each change. `boots`, `wakes`, `resets` (those by the watchdog in `bites`) count.
    """

    def __init__(
        self, node_file: NodeFile, folder: Path, link: Path, blank: bool = False, sleep_speed: int = 1, seed: int = 1,
        changed: Callable[[str], None] = lambda state: None, flash_speed: int = 1,
    ) -> None:  # fmt: skip
        self.board = boards.load(node_file.board)
        self.folder = folder
        self.state = "off"
        self.boots = self.wakes = self.bites = self.soft_resets = 0
        self.last_ending = ""
        folder.mkdir(parents=True, exist_ok=True)
        self._flash = folder / "flash.bin"
        if blank:
            self._flash.unlink(missing_ok=True)
        settings = node_file.settings()
        flash = image.open_flash(self._flash, self.board)
        flash.speed = flash_speed
        self.chip = CHIPS[self.board.chip](node_file.name, flash, seed, dict(settings["wifi"]))
        self.served = folder / "served.csv"
        world = World(seed, START_MS)
        wire(self.chip, world, seed, node_file.name, settings["sensors"], ServedLog(self.served))
        self.clock = SimClock(folder / "clock", time.time_ns() // 1000)
        self.clock.set(self.clock.now(), running=True)
        self.port = SerialPort(link, self._from_host)
        self.native = self.board.chip in NATIVE_USB
        self._changed = changed
        self._pace = Pace(self.clock, sleep_speed)
        self.console_log = folder / "console.log"  # all it ever said
        self._console = Console(folder / "console", self.port.write, self.console_log)
        pace = cast(Conductor, self._pace)
        nowhere = Proxy(("127.0.0.1", 9), pace)
        self._around = Surroundings(
            node_file.name, self.chip, nowhere, pace, Supply(), ContactLog(Path(os.devnull), nowhere), {},
            lambda *_: None,
        )  # fmt: skip
        self._boot: BenchBoot | None = None
        self._life: asyncio.Task | None = None
        self._appearing: asyncio.TimerHandle | None = None
        self._hello: asyncio.Future[Line] | None = None

    async def __aenter__(self) -> "BenchBoard":
        build.build()
        self._lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SimulationError(f"another board lives in {self.folder}; name another --folder") from None
        self._nursery = Nursery(HEAP_KB)
        line = self.folder / "line"
        line.unlink(missing_ok=True)
        self._listener = Listener(line, self._said_hello)
        await self._console.start()
        self._watching = asyncio.ensure_future(self._watch())
        if not self.native:
            self.port.appear()  # the chip of the USB cable, which takes its power from the host
        self.power_on()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.power_off()
        self._watching.cancel()
        self.port.vanish()
        await self._console.stop()
        self._listener.close()
        self._nursery.close()
        self._lock.close()
        (self.folder / "line").unlink(missing_ok=True)

    # Supply

    def power_on(self) -> None:
        """The supply comes."""
        if self._life is None:
            self._life = asyncio.ensure_future(self._live())

    async def power_off(self) -> None:
        """The supply goes, wherever the board stands."""
        if self._life is not None:
            life, self._life = self._life, None
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
            self._gone()
            self._is("off")

    async def settled(self, state: str, timeout_s: float = 30.0) -> None:
        """Waits for a state; TimeoutError if it does not come, or what ended the board's life."""
        end = time.monotonic() + timeout_s
        while self.state != state:
            if self._life is not None and self._life.done():
                self._life.result()
            if time.monotonic() > end:
                raise TimeoutError(f"the board is {self.state}, not {state}, after {timeout_s} s")
            await asyncio.sleep(LOOK_S / 5)

    def _is(self, state: str) -> None:
        if state != self.state:
            self.state = state
            self._changed(state)

    # The port of a chip with USB of its own comes and goes with it

    def _comes(self) -> None:
        if self.native and self._appearing is None and not self.port.there:
            self._appearing = asyncio.get_running_loop().call_later(ENUMERATION_S, self._appear)

    def _appear(self) -> None:
        self._appearing = None
        self.port.appear()

    def _gone(self) -> None:
        if self._appearing is not None:
            self._appearing.cancel()
            self._appearing = None
        if self.native:
            self.port.vanish()

    def lightsleep(self, begins: bool) -> None:
        """An RP2 sleeps within a boot."""
        if begins:
            self._gone()
            self._is("asleep")
        else:
            self.wakes += 1
            self._comes()
            self._is("awake")

    # Life

    async def _live(self) -> None:
        self.chip.power_on(self.clock.now())
        soft = raw = False
        while True:
            if not soft:
                await asyncio.sleep(self.chip.boot_us / 1e6)
            ending = await self._run(soft, raw)
            self.last_ending = ending.kind
            soft = ending.kind == "soft"
            raw = soft and bool(ending.value)
            if soft:
                self.soft_resets += 1
                continue
            self._gone()
            if ending.kind == "sleep":
                self._is("asleep")
                await self._pace.sleep(self.chip.slept(self.clock.now(), ending.value))
                self.wakes += 1
            elif ending.kind == "bite":
                self.bites += 1
                self.chip.reset(chips.WATCHDOG_RESET)
            elif ending.kind == "bootloader":
                self._is("bootloader")
                await volume.offer(self.folder, self.board, self._flash)
                self.chip.reset(HARD_RESET)
            elif ending.kind == "hung":
                self._is("hung")
                await asyncio.get_running_loop().create_future()
            else:  # a reset, or a VM that died, which is a panic and a reset
                self.chip.reset(ending.value or HARD_RESET)

    async def _run(self, soft: bool, raw: bool) -> Ending:
        """One VM, from its start to its last words."""
        self._hello = asyncio.get_running_loop().create_future()
        argv = [self._around.name, str(self.folder / "line"), str(self.clock.path), str(self._flash), ""]
        argv.append("raw" if raw else "")
        path, log = _chip_path(self.board), self.folder / "vm.log"
        pid = await self._nursery.fork(argv, path, log, self._console.path)
        boot = None
        try:
            line = await self._hello
            await self._console.joined()
            if soft:
                self.chip.cause = 5 if self.board.family == "esp32" else self.chip.cause
            self.boots += not soft
            now = self.clock.now()
            boot = BenchBoot(self._around, line, pid, now, soft, self._pace, self, self._console.give)
            self._boot = boot
            self._is("awake")
            self._comes()
            return await boot.ending
        finally:
            self._boot = None
            kill(pid)
            if boot is not None:
                await boot.close()
                line.close()
            await self._console.drain()

    def _said_hello(self, line: Line, _name: str) -> None:
        if self._hello is not None and not self._hello.done():
            self._hello.set_result(line)
        else:
            line.close()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._boot is not None:
                with contextlib.suppress(ProcessLookupError):
                    self._boot.look()

    def _from_host(self, data: bytes) -> None:
        """Takes Ctrl-C out where Python runs, and gives the VM the rest. A chip that sleeps hears nothing."""
        boot = self._boot
        if boot is None:
            return
        char = bytes([boot.interrupt_char])
        if boot.interrupt_char != 255 and char in data:
            data = data.replace(char, b"")
            boot.interrupt()
        if data:
            self._console.give(data)


def _chip_path(board: boards.Board) -> str:
    """The VM's path: what is built into the chip. The rest comes from its flash."""
    chip = build.OUT / "host_sim/chip"
    return ":".join([*map(str, (chip / "common", chip / board.family, chip / "models" / board.name)), ".frozen"])
