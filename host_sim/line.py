"""The supervisor's end of the line to a VM (chip/README.md): one `asyncio.Protocol` per VM."""

import asyncio
import struct
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from host_sim.fleet import Fleet, Node

_REQUEST = struct.Struct("<BBHQ")
_ANSWER = struct.Struct("<BBHI")


class Line(asyncio.Protocol):
    """Cuts the stream into requests and hands each to the node that said hello on it."""

    def __init__(self, fleet: "Fleet") -> None:
        self.fleet = fleet
        self.node: Node | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        while len(buffer) >= 12:
            op, arg, size, now = _REQUEST.unpack_from(buffer)
            if len(buffer) < 12 + size:
                break
            payload = buffer[12 : 12 + size]
            buffer = buffer[12 + size :]
            if self.node is None:
                self.node = self.fleet.said_hello(self, payload.decode())
            elif self.node.line is self:
                self.node.request(op, arg, payload, now)
        self._buffer = buffer

    def connection_lost(self, exc: Exception | None) -> None:
        if self.node is not None and self.node.line is self:
            self.node.line_lost()

    def answer(self, op: int, status: int = 0, payload: bytes = b"", took: int = 0) -> None:
        self._transport.write(_ANSWER.pack(status, op, len(payload), took) + payload)

    def close(self) -> None:
        self._transport.abort()
