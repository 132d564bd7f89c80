"""The supervisor's end of the line to a VM (chip/README.md): one `asyncio.Protocol` per VM."""

import asyncio
import struct
from collections.abc import Callable
from typing import cast

_REQUEST = struct.Struct("<BBHQ")
_ANSWER = struct.Struct("<BBHI")

Request = Callable[[int, int, bytes, int], None]
"""request(op, arg, payload, now): one question of the VM; now in true simulated microseconds."""


class Line(asyncio.Protocol):
    """Cuts the stream into requests. The first one is the hello: `hello(line, name)` takes the line over by setting
    `request` and `lost`; until then the VM waits.
    """

    def __init__(self, hello: Callable[["Line", str], None]) -> None:
        self.request: Request | None = None
        self.lost: Callable[[], None] | None = None
        self._hello: Callable[[Line, str], None] | None = hello
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
            if self._hello is not None:
                hello, self._hello = self._hello, None
                hello(self, payload.decode())
            elif self.request is not None:
                self.request(op, arg, payload, now)
        self._buffer = buffer

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost is not None:
            self.lost()

    def answer(self, op: int, status: int = 0, payload: bytes = b"", took: int = 0) -> None:
        self._transport.write(_ANSWER.pack(status, op, len(payload), took) + payload)

    def close(self) -> None:
        """Nothing more is heard from this VM."""
        self.request = self.lost = None
        self._transport.abort()
