"""Many nodes in one process that send frames as fast as the cloud acknowledges them.

    python -m tools.load.nodes FOLDER HOST:PORT --seconds 20

FOLDER has a folder for each node, as `tools.load.admit` wrote it. Prints one line of JSON per second: `second`,
`frames` acknowledged so far, `resent`, `lost` connections; and at the end, once no frame is under way, one with `sent`
by node.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import ssl
import struct
import time
from pathlib import Path

import click

from tools.load import frames

WINDOW = 12
_RTO_MIN_S = 3.0
_DRAIN_S = 20.0


class LoadNode:
    """One node with frames without end: a window of them under way, what is not acknowledged sent again."""

    def __init__(self, folder: Path, address: tuple[str, int], pool: list[bytes]) -> None:
        name = json.loads((folder / "node.json").read_text())
        self.sealer = frames.Sealer(name["tenant"], name["node"], bytes.fromhex(name["key"]), pool)
        self.cum = self.sent = self.resent = self.lost = 0
        self.sock: ssl.SSLSocket | None = None
        self._folder = folder
        self._address = address
        self._out = b""
        self._in = b""
        self._conn = 0
        self._nonce = bytes(8)
        self._heard = 0.0
        self._filled = 0.0
        self._took = 0.0  # smoothed time from a full window to its ACK
        self._context: ssl.SSLContext | None = None

    def connect(self, boot: int) -> None:
        """Connect, subscribe, be born."""
        if self._context is None:
            self._context = ssl.create_default_context(cafile=str(self._folder / "ca.pem"))
            self._context.maximum_version = ssl.TLSVersion.TLSv1_2  # as on a board
            self._context.load_cert_chain(self._folder / "node.pem")
        plain = socket.create_connection(self._address, timeout=15)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context.wrap_socket(plain, server_hostname=self._address[0])
        self._conn += 1
        self._nonce = self.sealer.nonce(boot, self._conn, os.urandom(16))
        name = self.sealer.node.encode()
        body = b"\0\4MQTT\4\2" + struct.pack(">HH", 600, len(name)) + name
        down = self.sealer.down
        birth = self.sealer.birth(boot, self._conn, self._nonce, (1, self.sent + 1))
        self._in = b""
        self._out = _packet(0x10, body) + _packet(0x82, struct.pack(">HH", 1, len(down)) + down + b"\0")
        self._out += self._publish(b"s", birth)
        self.sock.setblocking(False)
        self._heard = time.monotonic()
        self.flush()

    def close(self) -> None:
        """The connection is lost; what was under way is sent again."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None
            self.lost += 1

    def fill(self, last: int | None) -> None:
        """Send what the window has room for, no seq beyond `last`."""
        upto = self.cum + WINDOW if last is None else min(self.cum + WINDOW, last)
        if self.sent < upto:
            fresh = [self._publish(b"b", self.sealer.frame(seq)) for seq in range(self.sent + 1, upto + 1)]
            self._out += b"".join(fresh)
            self.sent = upto
            self._filled = time.monotonic()
            self.flush()

    def overdue(self, now: float) -> None:
        """Send all that is under way again if nothing was heard for long."""
        if self.sock is not None and self.sent > self.cum and now - self._heard > max(_RTO_MIN_S, 4 * self._took):
            self._heard = now
            self.resent += self.sent - self.cum
            self._out += b"".join(
                self._publish(b"b", self.sealer.frame(seq)) for seq in range(self.cum + 1, self.sent + 1)
            )
            self.flush()

    def flush(self) -> None:
        """Write what the socket takes."""
        try:
            while self._out and self.sock is not None:
                self._out = self._out[self.sock.send(self._out) :]
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            pass

    def read(self) -> bool:
        """Take what is there; tell whether an ACK was among it. Raises OSError when the connection is lost."""
        if self.sock is None:
            return False
        taken = False
        while True:
            try:
                chunk = self.sock.recv(16384)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            if not chunk:
                raise ConnectionError("closed")
            self._in += chunk
        while (packet := self._split()) is not None:
            head, body = packet
            if head & 0xF0 == 0x30:
                (length,) = struct.unpack_from(">H", body)
                said = self.sealer.committed(body[2 + length :], self._nonce)
                if said is not None:
                    self._heard = time.monotonic()
                    if said[0] > self.cum:
                        self.cum = said[0]
                        self._took += (self._heard - self._filled - self._took) / 8
                    taken = said[1] > 0
        return taken

    def _publish(self, lane: bytes, message: bytes) -> bytes:
        topic = self.sealer.up + lane
        return _packet(0x30, struct.pack(">H", len(topic)) + topic + message)

    def _split(self) -> tuple[int, bytes] | None:
        length = 0
        for index, byte in enumerate(self._in[1:5]):
            length |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                start = 2 + index
                if len(self._in) < start + length:
                    return None
                packet = self._in[0], self._in[start : start + length]
                self._in = self._in[start + length :]
                return packet
        return None


def _packet(head: int, body: bytes) -> bytes:
    """An MQTT packet of less than 16,384 bytes."""
    size = len(body)
    length = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return bytes([head]) + length + body


class Load:
    """All nodes of a folder under load."""

    def __init__(self, folder: Path, address: tuple[str, int], boot: int) -> None:
        pool = [frames.frame(number) for number in range(frames.FRAMES)]
        self.nodes = [LoadNode(each, address, pool) for each in sorted(folder.iterdir())]
        self._boot = boot
        self._selector = selectors.DefaultSelector()
        self._next_look = 0.0

    def connect(self) -> None:
        """All of them, one after another."""
        for node in self.nodes:
            self._connect(node)

    def run(self, seconds: float, last: bool = False) -> bool:
        """Keep all windows full for so long; with `last` send nothing new, and end as soon as nothing is under way."""
        until = time.monotonic() + seconds
        stop = [node.sent for node in self.nodes] if last else [None] * len(self.nodes)
        ends = dict(zip(map(id, self.nodes), stop, strict=True))
        while (now := time.monotonic()) < until:
            for key, _ in self._selector.select(0.05):
                node: LoadNode = key.data
                try:
                    if node.read():
                        node.fill(ends[id(node)])
                    node.flush()
                except OSError:
                    self._selector.unregister(key.fileobj)
                    node.close()
            if now >= self._next_look:
                self._next_look = now + 0.5
                for node in self.nodes:
                    if node.sock is None:
                        self._connect(node)
                    node.overdue(now)
            if last and all(node.cum >= node.sent for node in self.nodes):
                return True
        return False

    def _connect(self, node: LoadNode) -> None:
        try:
            node.connect(self._boot)
        except OSError:
            node.close()
            return
        if node.sock is not None:
            self._selector.register(node.sock, selectors.EVENT_READ, node)

    def said(self) -> dict[str, int]:
        """Sums over all nodes."""
        return {
            "frames": sum(node.cum for node in self.nodes),
            "resent": sum(node.resent for node in self.nodes),
            "lost": sum(node.lost for node in self.nodes),
        }


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("address")
@click.option("--seconds", default=20)
@click.option("--boot", default=1, help="Of the births; a new one for each run over the same folder.")
def main(folder: Path, address: str, seconds: int, boot: int) -> None:
    """Load the cloud end at ADDRESS with the nodes in FOLDER."""
    host, _, port = address.rpartition(":")
    load = Load(folder, (host, int(port)), boot)
    load.connect()
    began = time.monotonic()
    for second in range(1, seconds + 1):
        load.run(began + second - time.monotonic())
        print(json.dumps({"second": time.monotonic() - began, **load.said()}), flush=True)
    drained = load.run(_DRAIN_S, last=True)
    sent = {node.sealer.node: node.sent for node in load.nodes}
    print(json.dumps({**load.said(), "drained": drained, "sent": sent}), flush=True)


if __name__ == "__main__":
    main()
