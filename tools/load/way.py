"""The way between a node and the broker in real time: so many bytes a second, so late, and some connections fail."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

_PIECE = 536
_READ_AHEAD = 4096
_RST = struct.pack("ii", 1, 0)
_HANDSHAKE = 1 << 20
_APPLICATION = 23
"""Content type of the first TLS record behind a handshake (RFC 5246, A.1)."""


@dataclass(frozen=True)
class Pace:
    """`bytes_s` each way, or None for as fast as it goes; each byte comes out `delay_s` later; `failing` of all
    connections are reset: when they are made, in the handshake, or as soon as data flows.
    """

    bytes_s: int | None = None
    delay_s: float = 0.0
    failing: float = 0.0


class Records:
    """Counts the bytes of a TLS stream: `handshake` and `data`, with the headers of their records."""

    def __init__(self) -> None:
        self.handshake = self.data = 0
        self._head = b""
        self._left = 0
        self._begun = False

    def take(self, chunk: bytes) -> None:
        """The next bytes of the stream."""
        while chunk:
            if not self._left:
                need = 5 - len(self._head)
                self._head, chunk = self._head + chunk[:need], chunk[need:]
                if len(self._head) < 5:
                    return
                kind, _, size = struct.unpack(">BHH", self._head)
                self._begun = self._begun or kind == _APPLICATION
                self._add(5)
                self._head, self._left = b"", size
            part = chunk[: self._left]
            self._add(len(part))
            self._left -= len(part)
            chunk = chunk[len(part) :]

    def _add(self, size: int) -> None:
        if self._begun:
            self.data += size
        else:
            self.handshake += size


class Way:
    """Listens on a free port of 127.0.0.1 and connects each socket to `upstream`. `up` and `down` count records."""

    def __init__(self, upstream: tuple[str, int], pace: Pace, seed: int = 1) -> None:
        self.port = 0
        self.connections: Counter[str] = Counter()
        self.up, self.down = Records(), Records()
        self._upstream = upstream
        self._pace = pace
        self._chance = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Way:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _READ_AHEAD)
        listener.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._connected, sock=listener, limit=_READ_AHEAD)
        self.port = listener.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        fails = self._chance.random() < self._pace.failing
        # Of the bytes up: none, some of the hello's, some of the handshake's, none behind it.
        passes = self._chance.choice((0, 100, 500, _HANDSHAKE)) if fails else None
        self.connections["failed" if fails else "good"] += 1
        ends = [writer]
        self.up, self.down = Records(), Records()
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._upstream, limit=_READ_AHEAD)
            ends.append(far_writer)
            ways = (
                asyncio.ensure_future(self._pass(reader, far_writer, self.up, passes)),
                asyncio.ensure_future(self._pass(far_reader, writer, self.down, None)),
            )
            try:
                # A half that is closed ends the connection once what is under way has come out.
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                if any(way.done() and way.exception() is not None for way in ways):
                    raise ConnectionResetError
            finally:
                for way in ways:
                    way.cancel()
        except (OSError, asyncio.CancelledError):
            for end in ends:
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
                end.transport.abort()
        finally:
            for end in ends:
                end.close()
            if task is not None:
                self._tasks.discard(task)

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, records: Records, passes: int | None
    ) -> None:
        """One direction: a pipe whose bytes leave at the way's pace and arrive `delay_s` later."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def arrive() -> None:
            while True:
                at, piece = await under_way.get()
                if at > loop.time():
                    await asyncio.sleep(at - loop.time())
                if not piece:
                    return
                sink.write(piece)
                await sink.drain()

        arriving = asyncio.ensure_future(arrive())
        free_at = 0.0
        try:
            while piece := await source.read(_PIECE if self._pace.bytes_s else 65536):
                records.take(piece)
                if passes is not None and (records.data or records.handshake > passes):
                    raise ConnectionResetError
                now = loop.time()
                free_at = max(now, free_at)
                if self._pace.bytes_s:
                    free_at += len(piece) / self._pace.bytes_s
                under_way.put_nowait((free_at + self._pace.delay_s, piece))
                if free_at > now:
                    await asyncio.sleep(free_at - now)
            under_way.put_nowait((max(loop.time(), free_at) + self._pace.delay_s, b""))
            with suppress(OSError):
                await arriving
        finally:
            arriving.cancel()
