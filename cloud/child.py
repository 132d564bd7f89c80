"""A child process of the supervisor, started again whenever it dies.

Children end with the supervisor even if it is killed: on Linux by PR_SET_PDEATHSIG, set between fork and exec. Those
written in Python also watch their standard input, on any system; elsewhere than on Linux nats-server outlives a
supervisor that was killed with SIGKILL, and keeps its port.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress

from cloud.log import Log

_STEADY_S = 5.0
"""A child that lived this long is restarted at once; the pause doubles with each that did not."""
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_END_S = 1.0
_CHUNK = 65536
_HALF_LINE = 2048
"""Of twice as much a line keeps all, of more its beginning and its end, where the broker says what it is about; between
them strangers have names of 64 KiB logged, quoted."""
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a forked child calls before exec so that it dies with this process, or None if not on Linux."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def preexec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return preexec


class _Line:
    """A line as it comes, in pieces of any size; takes 4 KiB of memory, whatever comes."""

    def __init__(self) -> None:
        self._head, self._tail = bytearray(), bytearray()
        self._cut = False

    def add(self, piece: bytes) -> None:
        """Take more of it."""
        room = _HALF_LINE - len(self._head)
        self._head += piece[:room]
        self._tail += piece[room:]
        self._cut = self._cut or len(self._tail) > _HALF_LINE
        del self._tail[:-_HALF_LINE]

    def text(self) -> str:
        """What came: all of it up to 4 KiB, of more the beginning and the end."""
        return (self._head + (b" ... " if self._cut else b"") + self._tail).decode(errors="replace").rstrip()


async def lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """Yield the lines of `reader` until its end, whatever they hold; of one over 4 KiB its beginning and its end."""
    line = _Line()
    while chunk := await reader.read(_CHUNK):
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            line.add(piece)
            yield line.text()
            line = _Line()
        line.add(rest)
    if line.text():
        yield line.text()


class Child:
    """One supervised child process: started by `run`, started again whenever it dies."""

    def __init__(
        self, name: str, command: list[str], ready: str, log: Log, *, heard: Callable[[str], bool] = lambda line: False
    ) -> None:
        """`ready` is the text in a line of the child's output that says it is up; `heard` is given every line, and
        tells whether nothing more is to be done with it: not to be noted, nor to be searched for anything.
        """
        self.name = name
        self.pid: int | None = None
        self.ready = asyncio.Event()
        self.lines = 0
        self.last = ""
        self._command = command
        self._ready_text = ready
        self._log = log
        self._heard = heard
        self._process: Process | None = None
        self._preexec = _die_with_parent()
        self._expected: list[tuple[tuple[str, ...], asyncio.Future[str]]] = []

    async def run(self, changed: Callable[[], None]) -> None:
        """Keep the child alive until cancelled; call `changed` whenever it has a new pid and is ready."""
        pause = _PAUSE_S
        while True:
            started = time.monotonic()
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=STDOUT,
                preexec_fn=self._preexec,
            )
            self.pid = self._process.pid
            await self._read(self._process, changed)
            code = await self._process.wait()
            self.ready.clear()
            self.note(f"{self.name} ended ({code}), starting it again")
            if time.monotonic() - started >= _STEADY_S:
                pause = _PAUSE_S
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def expect(self, *texts: str) -> asyncio.Future[str]:
        """Return what will be the next line of the child's output, however often it dies, that holds one of `texts`."""
        line: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._expected.append((texts, line))
        return line

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child, if it lives."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def end(self) -> None:
        """End the child: SIGTERM, then after a second SIGKILL, which has a second. `run` must have ended."""
        if self._process is None or self._process.returncode is not None:
            return
        # Neither the child nor the wait for it would end with a full pipe.
        drained = asyncio.create_task(_drain(self._process))
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.signal(number)
            done, _ = await asyncio.wait([drained], timeout=_END_S)
            if done:
                break
        else:
            self.note(f"{self.name} ({self.pid}) does not end")
            drained.cancel()

    def note(self, line: str) -> None:
        """Append a line to the log, if that can be."""
        self._log.note(self.name, line)

    async def _read(self, process: Process, changed: Callable[[], None]) -> None:
        if process.stdout is None:
            return
        async for self.last in lines(process.stdout):
            if self._heard(self.last):
                continue
            for texts, line in self._expected:
                if not line.done() and any(text in self.last for text in texts):
                    line.set_result(self.last)
            self._expected = [one for one in self._expected if not one[1].done()]
            if self._ready_text in self.last:
                self.ready.set()
                changed()
            elif "[INF]" not in self.last:
                self.note(self.last)


async def _drain(process: Process) -> None:
    """Return when a process has ended; what it still says is lost."""
    if process.stdout is not None:
        while await process.stdout.read(_CHUNK):
            pass
    await process.wait()


async def stdin_closed() -> None:
    """Return when standard input, a pipe from whoever started this process, ends: it does however that one died."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass


async def until_told(work: Coroutine[None, None, None]) -> None:
    """Run `work` until SIGTERM, or until standard input ends."""
    task = asyncio.create_task(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    watch = asyncio.create_task(stdin_closed())
    watch.add_done_callback(lambda _: task.cancel())
    with suppress(asyncio.CancelledError):
        await task
    watch.cancel()
