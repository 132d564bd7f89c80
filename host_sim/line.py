"""The supervisor's end of the line to the VMs (chip/README.md).

Sockets straight on the event loop: a VM asks one thing at a time and waits for the answer, so that nothing of what a
transport does is needed, and a wake is mostly such questions.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path

_REQUEST = struct.Struct("<BBHQ")
_ANSWER = struct.Struct("<BBHI")

Request = Callable[[int, int, bytes, int], None]
"""request(op, arg, payload, now): one question of the VM; now in true simulated microseconds."""


class Line:
    """Cuts the stream of one VM into requests. The first one is the hello: `hello(line, name)` takes the line over by
    setting `request` and `lost`; until then the VM waits.
    """

    def __init__(self, peer: socket.socket, hello: Callable[["Line", str], None]) -> None:
        self.request: Request | None = None
        self.lost: Callable[[], None] | None = None
        self._hello: Callable[[Line, str], None] | None = hello
        self._buffer = b""
        self._peer = peer
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(peer.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = self._peer.recv(65536)
        except ConnectionError:
            data = b""
        if data:
            self._cut(data)
        else:
            lost = self.lost
            self.close()
            if lost is not None:
                lost()

    def _cut(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at, end = 0, len(buffer)
        while end - at >= 12:
            op, arg, size, now = _REQUEST.unpack_from(buffer, at)
            if end - at < 12 + size:
                break
            payload = buffer[at + 12 : at + 12 + size]
            at += 12 + size
            if self._hello is not None:
                hello, self._hello = self._hello, None
                hello(self, payload.decode())
            elif self.request is not None:
                self.request(op, arg, payload, now)
        self._buffer = buffer[at:]

    def answer(self, op: int, status: int = 0, payload: bytes = b"", took: int = 0) -> None:
        """To the request that came last. One that is killed before it hears it is seen to be lost later."""
        with contextlib.suppress(ConnectionError):
            self._peer.sendall(_ANSWER.pack(status, op, len(payload), took) + payload)

    def close(self) -> None:
        """Nothing more is heard from this VM."""
        self.request = self.lost = None
        if self._peer.fileno() >= 0:
            self._loop.remove_reader(self._peer.fileno())
            self._peer.close()


class Listener:
    """Takes the lines of all VMs at the Unix socket `path`; `hello` as for `Line`."""

    def __init__(self, path: Path, hello: Callable[[Line, str], None]) -> None:
        self._hello = hello
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        self._socket.listen(64)
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            peer, _ = self._socket.accept()
        except (BlockingIOError, ConnectionError):
            return
        peer.setblocking(False)
        Line(peer, self._hello)

    def close(self) -> None:
        """No more lines."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
