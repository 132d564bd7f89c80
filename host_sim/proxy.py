"""The way between one node and the broker: passes bytes both ways, as well as the plan's faults let it, and knows
until when it is busy.

Everything a network can do to a node happens here.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import cast

from host_sim.conductor import Conductor
from host_sim.faults.path import Ended, Passage, Path, Reset

ANSWER_S = 0.3  # a starved host may keep broker and ingest from answering for so long
_READ_AHEAD = 2048  # what the way takes from a sender while it passes nothing on
_RST = struct.pack("ii", 1, 0)  # linger for no time: a close sends RST (socket(7), SO_LINGER)


class Proxy:
    """Listens on a free port of 127.0.0.1 for one node and connects each socket to `upstream` (host, port)."""

    def __init__(
        self,
        upstream: tuple[str, int],
        conductor: Conductor,
        path: Path | None = None,
        on_chunk: Callable[[bool], None] = lambda _calm: None,
    ) -> None:
        """`path` says what happens to the data; `on_chunk` is called ahead of each piece that is passed on, with
        whether nothing ails the way."""
        self.upstream = upstream
        self.path = path or Path()
        self.on_chunk = on_chunk
        self.port = 0
        self.busy_until = 0.0  # time.monotonic() from which on nothing is expected to happen by itself
        self.bytes_up = 0
        self.bytes_down = 0
        self._conductor = conductor
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task] = set()

    async def start(self) -> None:
        """Listens; `port` tells where."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_READ_AHEAD)
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
        if self._tasks:
            self._conductor.settle(ANSWER_S)
        for task in list(self._tasks):
            task.cancel()

    def left(self) -> None:
        """The node has closed its sockets and goes off the air: what a bad way still holds is never sent."""
        if self.path.disturbed(self._conductor.clock.now()):
            self.drop()

    def _touch(self, answer_s: float = 0.0) -> None:
        """Something happened, and the far side may take `answer_s` of real time to answer."""
        self.busy_until = time.monotonic() + answer_s

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast(asyncio.Task, asyncio.current_task())
        self._tasks.add(task)
        self._touch(ANSWER_S)
        ends = [writer]
        passage = Passage()
        try:
            if self.path.refuses(self._conductor.clock.now()):
                raise Reset(0)
            far_reader, far_writer = await asyncio.open_connection(*self.upstream, limit=_READ_AHEAD)
            ends.append(far_writer)
            up = asyncio.ensure_future(self._pass(reader, far_writer, passage, up=True))
            down = asyncio.ensure_future(self._pass(far_reader, writer, passage, up=False))
            try:
                done, _ = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
            finally:
                up.cancel()
                down.cancel()
        except Reset:
            self._conductor.settle(ANSWER_S)
            for end in ends:
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
                end.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass  # refused, ended or dropped: the node sees its connection end
        finally:
            if self.path.disturbed(self._conductor.clock.now()):
                self._conductor.settle(ANSWER_S)
            for end in ends:
                end.close()
            self._tasks.discard(task)
            self._touch()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, passage: Passage, up: bool
    ) -> None:
        clock, answer_s = self._conductor.clock, ANSWER_S if up else 0.0
        while data := await source.read(65536):
            self._touch(answer_s)
            if up:
                self.bytes_up += len(data)
            else:
                self.bytes_down += len(data)
            for stage, part in self.path.parts(data, up, passage, clock.now()):
                now = clock.now()
                try:
                    pieces = self.path.pieces(part, now, stage, passage)
                except Ended as end:
                    sink.write(part[: end.passed])
                    await sink.drain()
                    if isinstance(end, Reset):
                        raise
                    return
                self.on_chunk(not self.path.disturbed(now))
                for number, piece in enumerate(pieces, 1):
                    at = self.path.delivered_at(len(piece), up, now)
                    if at > now:
                        self._touch()
                        await self._conductor.sleep_until(at)
                        self._touch(answer_s if number == len(pieces) else 0.0)
                        now = clock.now()
                    sink.write(piece)
                    await sink.drain()
