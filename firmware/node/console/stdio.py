"""The serial port that MicroPython's REPL is on, as a stream for the console."""

import asyncio
import sys
from asyncio import core  # pyright: ignore[reportAttributeAccessIssue] MicroPython has it, its stubs do not

import micropython


class Stdio:
    """Its bytes one by one. It may be a file that has ended, where nobody can be."""

    def __init__(self):
        self._in = sys.stdin.buffer
        self._out = sys.stdout.buffer

    async def read(self, n):
        """One byte, whatever `n` is: a port's read(n) waits for all n. b"" when there will be none."""
        await self._ready()  # pyright: ignore[reportGeneralTypeIssues] -- a coroutine in MicroPython
        return self._in.read(1)

    async def _ready(self):
        # Not asyncio's Stream, which would be one module more.
        yield core._io_queue.queue_read(self._in)

    def write(self, data):
        """All of `data`; waits for a slow port."""
        self._out.write(data)

    async def drain(self):
        """Lets the node's other tasks run."""
        await asyncio.sleep_ms(0)

    def interruptible(self, on):
        """Whether Ctrl-C raises KeyboardInterrupt."""
        micropython.kbd_intr(3 if on else -1)
