"""The way between one node and the broker: passes bytes both ways and knows until when it is busy.

Everything a network can do to a node happens here; faults join later.
"""

import asyncio
import time
from collections.abc import Callable
from typing import cast

ANSWER_S = 0.3  # a starved host may keep broker and ingest from answering for so long


class Proxy:
    """Listens on a free port of 127.0.0.1 for one node and connects each socket to `upstream` (host, port)."""

    def __init__(self, upstream: tuple[str, int], on_chunk: Callable[[], None] = lambda: None) -> None:
        """`on_chunk` is called ahead of each piece that is passed on."""
        self.upstream = upstream
        self.on_chunk = on_chunk
        self.port = 0
        self.busy_until = 0.0  # time.monotonic() from which on nothing is expected to happen by itself
        self.bytes_up = 0
        self.bytes_down = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> None:
        """Listens; `port` tells where."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Ends the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def drop(self) -> None:
        """Ends every open connection, as the far side sees a node that lost its power."""
        for task in list(self._tasks):
            task.cancel()

    def _touch(self, answer_s: float = 0.0) -> None:
        """Something happened, and the far side may take `answer_s` of real time to answer."""
        self.busy_until = time.monotonic() + answer_s

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast(asyncio.Task, asyncio.current_task())
        self._tasks.add(task)
        self._touch(ANSWER_S)
        far_writer = None
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.upstream)
            up = asyncio.ensure_future(self._pass(reader, far_writer, up=True))
            down = asyncio.ensure_future(self._pass(far_reader, writer, up=False))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
        except (OSError, asyncio.CancelledError):
            pass  # refused, reset or dropped: the node sees its connection end
        finally:
            for end in (writer, far_writer):
                if end is not None:
                    end.close()
            self._tasks.discard(task)
            self._touch()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, up: bool) -> None:
        while data := await source.read(65536):
            self._touch(ANSWER_S if up else 0.0)
            self.on_chunk()
            if up:
                self.bytes_up += len(data)
            else:
                self.bytes_down += len(data)
            sink.write(data)
            await sink.drain()
