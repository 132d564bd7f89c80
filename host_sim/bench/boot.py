"""One boot of a board on the bench: what differs from one in a simulation (host_sim/boot.py)."""

import asyncio
import contextlib
import os
import signal
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from host_sim.bench.pace import Pace
from host_sim.boot import Boot, Surroundings
from host_sim.hardware import chip as chips
from host_sim.hardware.watchdog import cpu_us
from host_sim.line import Line
from host_sim.proxy import Proxy

HARD_RESET = 2
_EINTR = 4
_NO_CHAR = 255
_LAST_RESORT_S = 0.3  # without a word from a VM that computes; then the signal of the host's own Ctrl-C
_HURRIED_US = 100_000  # CPU time by which a VM computes


class Watcher(Protocol):
    """Who wants to know of this boot's sleep within it."""

    def lightsleep(self, begins: bool) -> None:
        """An RP2's port is dead in lightsleep."""
        ...


class BenchBoot(Boot):
    """`console(data)` gives bytes to the VM's stdin; `interrupt` is Ctrl-C. `soft`: a reset of the VM only, which the
    watchdog outlives.
    """

    def __init__(
        self, around: Surroundings, line: Line, pid: int, at: int, soft: bool, pace: Pace, watcher: Watcher,
        console: Callable[[bytes], None],
    ) -> None:  # fmt: skip
        self.interrupt_char = 3
        self._console = console
        self._interrupted = False
        self._asleep = False
        self._pace = pace
        self._watcher = watcher
        self._proxies: dict[tuple[str, int], Proxy] = {}
        self._tasks: set[asyncio.Task] = set()
        self._heard_at = asyncio.get_running_loop().time()
        self._heard_cpu = 0
        super().__init__(around, line, pid, at, None, soft)

    def look(self) -> None:
        """Ends the boot when the watchdog has bitten; interrupts code that computes and never waits."""
        if self.ending.done():
            return
        now = self._pace.clock.now()
        dog = self._chip.watchdog
        if dog.bites_at is not None and now > dog.bites_at and not self._asleep:
            self._bite()
        elif self._interrupted and self._computes():
            self._interrupted = False
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGINT)

    def _computes(self) -> bool:
        """Whether the VM has not said a word for a while, and not for want of the host's time."""
        silent = asyncio.get_running_loop().time() - self._heard_at > _LAST_RESORT_S
        return silent and cpu_us(self._pid) - self._heard_cpu > _HURRIED_US

    def interrupt(self) -> None:
        """Ctrl-C: now if the VM waits, else when it next does."""
        if self._pace.parked(self._around.name):
            self._pace.unpark(self._around.name)
            self._end_wait(self._pace.clock.now())
            self._line.answer(chips.WAIT, _EINTR)
        else:
            self._interrupted = True
            self._heard_at = asyncio.get_running_loop().time()
            self._heard_cpu = cpu_us(self._pid)

    async def close(self) -> None:
        """Ends everything this boot has started."""
        self._conductor.leave(self._around.name)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for proxy in self._proxies.values():
            await proxy.stop()

    # Requests

    def _request(self, op: int, arg: int, payload: bytes, now: int) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        self._heard_cpu = cpu_us(self._pid) if self._interrupted else 0
        if op == chips.WAIT and self._interrupted:
            self._interrupted = False
            self._line.answer(chips.WAIT, _EINTR)
        elif op == chips.CONSOLE:
            self.interrupt_char = arg
            if arg == _NO_CHAR and self._interrupted:
                self._interrupted = False
                self._console(b"\x03")  # what it was meant for has ended; the REPL takes it for its line
            self._line.answer(op)
        elif op == chips.SOFT_RESET:
            self._finish("soft", now, arg)
        elif op == chips.BOOTLOADER:
            self._finish("bootloader", now)
        else:
            super()._request(op, arg, payload, now)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Sleep

    def _lightsleep(self, now: int, ms: int) -> None:
        self._start(self._sleep_lightly(now + self._chip.sleep_us(ms)))

    async def _sleep_lightly(self, wakes: int) -> None:
        bites_at = self._chip.watchdog.bites_at
        bitten = bites_at is not None and wakes > bites_at
        self._asleep = True
        self._watcher.lightsleep(True)
        await self._pace.sleep(bites_at if bitten and bites_at is not None else wakes)
        if bitten and self._chip.hangs_in_lightsleep:
            self._finish("hung", wakes)
        elif bitten:
            self._bite()
        else:
            self._asleep = False
            self._watcher.lightsleep(False)
            self._line.answer(chips.LIGHTSLEEP)

    def _bite(self) -> None:
        self._finish("bite", self._pace.clock.now())

    # Sockets

    def _open(self, payload: bytes, now: int) -> None:
        self.contacts += 1
        host, _, port = payload.decode().partition("\0")
        self._start(self._open_way(host, int(port)))

    async def _open_way(self, host: str, port: int) -> None:
        """The simulated network leads to the real one: whatever the node's settings name."""
        proxy = self._proxies.get((host, port))
        if proxy is None:
            try:
                await asyncio.get_running_loop().getaddrinfo(host, port)
            except OSError:
                self._line.answer(chips.OPEN, 2)
                return
            proxy = self._proxies[host, port] = Proxy((host, port), self._conductor)
            await proxy.start()
        self._line.answer(chips.OPEN, 0, struct.pack("<H", proxy.port))
