"""The serial port that MicroPython's REPL is on, as a stream for the console."""

import asyncio
import sys

import micropython


class Stdio:
    """Its bytes one by one. It may be a file that has ended, where nobody can be."""

    def __init__(self):
        # asyncio's stream waits for the first byte; a port's read(n) would wait for all n.
        self._in = asyncio.StreamReader(sys.stdin.buffer)
        self._out = sys.stdout.buffer
        self._first = b""

    async def knock(self):
        """Waits for the first key, which `read` gives once more; False if none can come."""
        self._first = await self._in.read(1)
        return len(self._first) > 0

    async def read(self, n):
        """One byte, whatever `n` is; b"" when there will be none."""
        first, self._first = self._first, b""
        return first or await self._in.read(1)

    def write(self, data):
        """All of `data`; waits for a slow port."""
        self._out.write(data)

    async def drain(self):
        """Lets the node's other tasks run."""
        await asyncio.sleep_ms(0)

    def interruptible(self, on):
        """Whether Ctrl-C raises KeyboardInterrupt."""
        micropython.kbd_intr(3 if on else -1)
