"""Test helpers for the cloud: the node's side of the wire, written from the specs, and a running cloud.

Nothing here imports `cloud` or device code, so that the encoders below are a second reading of PROTOCOL.md and of the
codec's SPEC.md. A cloud is a black box behind its command.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 8.0


def digest(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256."""
    return hmac.new(key, message, hashlib.sha256).digest()


def crc24(data: bytes) -> int:
    """CRC-24 of RFC 4880, section 6.1, bit by bit."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc


def varint(number: int) -> bytes:
    """Zigzag varint of a signed number."""
    rest = 2 * number if number >= 0 else -2 * number - 1
    out = b""
    while rest > 0x7F:
        out += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return out + bytes([rest])


def sealed(body: bytes) -> bytes:
    """A codec frame: body and its CRC."""
    return body + crc24(body).to_bytes(3, "little")


def codec_frame(
    channels: Sequence[tuple[int, int]],
    rows: Sequence[tuple[int, Sequence[int | None]]],
    quality: int = 2,
    boot: int = 1,
) -> bytes:
    """Encode rows of (t, values); the first t is the base."""
    base = rows[0][0]
    body = struct.pack("<BBIIHB", 0, quality, boot, base, len(rows), len(channels))
    body += b"".join(struct.pack("<Bb", *channel) for channel in channels)
    previous = [0] * len(channels)
    for t, values in rows:
        body += varint(t - base)
        base = t
        bits = sum(1 << index for index, value in enumerate(values) if value is not None)
        body += bits.to_bytes((len(channels) + 7) // 8, "little")
        for index, value in enumerate(values):
            if value is not None:
                body += varint(value - previous[index])
                previous[index] = value
    return sealed(body)


def frame_payload(first: int, rows: int, frame: bytes) -> bytes:
    """A ring-2 payload."""
    return struct.pack("<IH", first, rows) + frame


def event_payload(kind: int, body: bytes, boot: int = 1, uptime_ms: int = 0, wall: int = 0, quality: int = 0) -> bytes:
    """A ring-1 payload."""
    return struct.pack("<BIIIB", kind, boot, uptime_ms, wall, quality) + body


def alarm_body(channel: int, state: int, exponent: int, value: int, limit: int) -> bytes:
    """The body of an alarm."""
    return struct.pack("<BBbii", channel, state, exponent, value, limit)


def result_body(number: int, op: int, status: int, detail: bytes = b"") -> bytes:
    """The body of a result."""
    return struct.pack("<IBB", number, op, status) + detail


def gap_body(ring: int, lo: int, hi: int, reason: int, readings: int) -> bytes:
    """The body of a gap."""
    return struct.pack("<BIIBI", ring, lo, hi, reason, readings)


class NodeKeys:
    """What a node derives from K, and the messages it seals."""

    def __init__(self, key: bytes, tenant: str, node: str, credentials: Path | None = None) -> None:
        self.key, self.tenant, self.node, self.credentials = key, tenant, node, credentials
        self.kd = digest(key, b"fn1 data")
        self.kc = digest(key, b"fn1 ctrl")

    def tag(self, message: bytes, nonce: bytes = b"") -> bytes:
        """The 8-byte tag under Kd."""
        return digest(self.kd, f"v1/{self.tenant}/{self.node}".encode() + b"\0" + nonce + message)[:8]

    def nonce(self, boot: int, conn: int, entropy: bytes) -> bytes:
        """The nonce of a session."""
        return digest(self.key, struct.pack("<IH", boot, conn) + entropy)[:8]

    def birth(
        self,
        boot: int,
        conn: int,
        rings: Sequence[tuple[int, int, int]],
        *,
        nonce: bytes | None = None,
        **fields: int,
    ) -> bytes:
        """A BIRTH; `rings` are (stream, oldest, next) of ring 1 and 2. Other fields by their names, 0 if left out."""
        if nonce is None:
            nonce = self.nonce(boot, conn, os.urandom(16))
        order = (
            "chip",
            "firmware",
            "config",
            "last_cmd",
            "uptime_ms",
            "wall",
            "quality",
            "next_contact",
            "battery",
            "reset",
        )
        values = [fields.pop(name, 0) for name in order]
        message = struct.pack("<BBIH", 0x10, fields.pop("flags", 0), boot, conn) + nonce
        message += struct.pack("<IIIIIIBIHB", *values)
        for number, ring in enumerate(rings, 1):
            message += struct.pack("<BIII", number, *ring)
        if fields:
            raise TypeError(f"no such fields: {fields}")
        return message + self.tag(message)

    def data(self, ring: int, stream: int, seq: int, payload: bytes) -> bytes:
        """A DATA message."""
        message = struct.pack("<BBII", 0x11, ring, stream, seq) + payload
        return message + self.tag(message)

    def ack(
        self, nonce: bytes, flags: int, ackno: int, now: int, ms: int, config: int,
        rings: Sequence[tuple[int, int, int, int, Sequence[tuple[int, int]]]],
    ) -> bytes:  # fmt: skip
        """An ACK; rings are (ring, stream, cum, credit, [(offset, length)])."""
        message = struct.pack("<BBIIHI", 0x12, flags, ackno, now, ms, config)
        for ring, stream, cum, credit, ranges in rings:
            message += struct.pack("<BIIBB", ring, stream, cum, credit, len(ranges))
            message += b"".join(struct.pack("<HH", *pair) for pair in ranges)
        return message + self.tag(message, nonce)

    def command(self, nonce: bytes, number: int, ttl_s: int, op: int, args: bytes = b"") -> bytes:
        """A CMD."""
        message = struct.pack("<BIHB", 0x13, number, ttl_s, op) + args
        return message + digest(self.kc, f"v1/{self.tenant}/{self.node}".encode() + b"\0" + nonce + message)[:16]

    def open_ack(self, message: bytes, nonce: bytes) -> dict[Any, Any] | None:
        """The fields of an ACK, or None if its tag does not fit the session."""
        body, mark = message[:-8], message[-8:]
        if mark != self.tag(body, nonce):
            return None
        kind, flags, ackno, now, ms, config = struct.unpack_from("<BBIIHI", body)
        found: dict[Any, Any] = {
            "type": kind,
            "flags": flags,
            "ackno": ackno,
            "now": now,
            "ms": ms,
            "config": config,
        }
        at = 16
        while at < len(body):
            ring, stream, cum, credit, n = struct.unpack_from("<BIIBB", body, at)
            at += 11
            ranges = [struct.unpack_from("<HH", body, at + 4 * index) for index in range(n)]
            at += 4 * n
            found[ring] = {"stream": stream, "cum": cum, "credit": credit, "ranges": ranges}
        return found


def tls_context(credentials: Path, certificate: bool = True) -> ssl.SSLContext:
    """A node's TLS, from the files `ca`, `cert` and `pkey`; without its certificate if so wanted.

    TLS 1.2, as on a board.
    """
    context = ssl.create_default_context(cadata=(credentials / "ca").read_bytes())
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if certificate:
        secret = base64.encodebytes((credentials / "pkey").read_bytes()).decode()
        pem = credentials / "both.pem"
        pem.write_text(
            ssl.DER_cert_to_PEM_cert((credentials / "cert").read_bytes())
            + f"-----BEGIN PRIVATE KEY-----\n{secret}-----END PRIVATE KEY-----\n"
        )
        context.load_cert_chain(pem)
    return context


class MqttNode:
    """A node on a socket: TLS, MQTT 3.1.1 by hand, QoS 0, blocking with deadlines."""

    def __init__(self, address: str, keys: NodeKeys) -> None:
        self.keys = keys
        self.nonce = bytes(8)
        self._address = address
        self._buffer = b""
        self._socket: ssl.SSLSocket | None = None

    def connect(
        self, topic: str | None = None, *, credentials: Path | None = None, certificate: bool = True,
        client_id: str | None = None, user: str | None = None, before_handshake: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Connect and subscribe, to its own `dn` or to another topic. Raises OSError if refused.

        With the node's own credentials or others, with its own client id or another, without a user name or with one.
        """
        self.close()
        host, port = self._address.split(":")
        folder = credentials or self.keys.credentials
        if folder is None:
            raise ConnectionError("no credentials")
        plain = socket.create_connection((host, int(port)), timeout=WAIT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            before_handshake()
            self._socket = tls_context(folder, certificate).wrap_socket(plain, server_hostname=host)
        except OSError:
            plain.close()
            raise
        self._buffer = b""
        node = self.keys.node
        fields = [client_id or node] + ([user] if user else [])
        body = b"\0\4MQTT\4" + (b"\x82" if user else b"\x02") + struct.pack(">H", 60)
        body += b"".join(struct.pack(">H", len(field)) + field.encode() for field in fields)
        down = (topic or f"v1/{self.keys.tenant}/{node}/dn/+").encode()
        subscribe = struct.pack(">HH", 1, len(down)) + down + b"\0"
        self._socket.sendall(self._packet(0x10, body) + self._packet(0x82, subscribe))
        head, body = self._receive(WAIT_S)
        if (head, body) != (0x20, b"\0\0"):
            raise ConnectionError(f"CONNACK {head:02x} {body.hex()}")
        head, body = self._receive(WAIT_S)
        if (head, body[-1:]) != (0x90, b"\0"):
            raise ConnectionError(f"SUBACK {head:02x} {body.hex()}")

    def persist(self) -> None:
        """Connect, however often it takes."""

        def up() -> bool:
            try:
                self.connect()
            except OSError:
                return False
            return True

        wait_for(up, "the broker to take the node back")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def publish(self, lane: str, message: bytes, topic: str | None = None) -> None:
        """Publish on one of the node's lanes, or on any topic."""
        name = (topic or f"v1/{self.keys.tenant}/{self.keys.node}/up/{lane}").encode()
        if self._socket is None:
            raise ConnectionError("not connected")
        self._socket.sendall(self._packet(0x30, struct.pack(">H", len(name)) + name + message))

    def born(self, boot: int, conn: int, rings: Sequence[tuple[int, int, int]], **fields: int) -> dict[Any, Any]:
        """Send a BIRTH, return its ACK."""
        self.nonce = self.keys.nonce(boot, conn, os.urandom(16))
        self.publish("s", self.keys.birth(boot, conn, rings, nonce=self.nonce, **fields))
        return self.ack(lambda _: True)

    def ack(self, wanted: Callable[[dict[Any, Any]], bool], wait_s: float = WAIT_S) -> dict[Any, Any]:
        """Return the first ACK of this session that is `wanted`. Raises TimeoutError."""
        deadline = time.monotonic() + wait_s
        while True:
            head, body = self._receive(deadline - time.monotonic())
            if head & 0xF0 == 0x30:
                (length,) = struct.unpack_from(">H", body)
                found = self.keys.open_ack(body[2 + length :], self.nonce)
                if found is not None and wanted(found):
                    return found

    def hear(self, wait_s: float = WAIT_S) -> tuple[str, bytes]:
        """Return (last level of the topic, message) of the next message of any kind. Raises TimeoutError."""
        deadline = time.monotonic() + wait_s
        while True:
            head, body = self._receive(deadline - time.monotonic())
            if head & 0xF0 == 0x30:
                (length,) = struct.unpack_from(">H", body)
                return body[2 : 2 + length].decode().rpartition("/")[2], body[2 + length :]

    def command(self, wait_s: float = WAIT_S) -> dict[str, Any]:
        """Return the next CMD, whose tag must fit this session. Raises TimeoutError."""
        deadline = time.monotonic() + wait_s
        while True:
            level, message = self.hear(deadline - time.monotonic())
            if level == "cmd":
                _, number, ttl_s, op = struct.unpack_from("<BIHB", message)
                args = message[8:-16]
                if message != self.keys.command(self.nonce, number, ttl_s, op, args):
                    raise ValueError("a CMD of another session")
                return {"id": number, "ttl_s": ttl_s, "op": op, "args": args}

    def _packet(self, head: int, body: bytes) -> bytes:
        length, rest = b"", len(body)
        while True:
            rest, low = rest >> 7, rest & 0x7F
            length += bytes([low | (0x80 if rest else 0)])
            if not rest:
                return bytes([head]) + length + body

    def _receive(self, wait_s: float) -> tuple[int, bytes]:
        deadline = time.monotonic() + wait_s
        while True:
            packet = self._split()
            if packet is not None:
                return packet
            left = deadline - time.monotonic()
            if self._socket is None:
                raise ConnectionError("not connected")
            # What TLS has already decrypted no longer shows on the descriptor.
            if left <= 0 or not (self._socket.pending() or select.select([self._socket], [], [], left)[0]):
                raise TimeoutError("nothing from the broker")
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ConnectionError("closed by the broker")
            self._buffer += chunk

    def _split(self) -> tuple[int, bytes] | None:
        length = 0
        for index, byte in enumerate(self._buffer[1:5]):
            length |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                start = 2 + index
                if len(self._buffer) < start + length:
                    return None
                packet = self._buffer[0], self._buffer[start : start + length]
                self._buffer = self._buffer[start + length :]
                return packet
        return None


def wait_for(condition: Callable[[], Any], what: str, wait_s: float = WAIT_S) -> Any:
    """Return the first true result of `condition`. Raises TimeoutError."""
    deadline = time.monotonic() + wait_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {wait_s} s for {what}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m cloud` to its end."""
    line = [sys.executable, "-m", "cloud", *map(str, arguments)]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=30)


class Cloud:
    """A cloud in a folder. Use as a context manager; `state` is the line it printed."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.state: dict[str, Any] = {}
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Cloud:
        line = [sys.executable, "-m", "cloud", "serve", "--data", str(self.data), "--listen", "127.0.0.1:0"]
        self._process = subprocess.Popen([*line, *self._options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if self._process.stdout is None or not select.select([self._process.stdout], [], [], WAIT_S)[0]:
            self._process.kill()
            raise TimeoutError("the cloud does not come up")
        self.state = json.loads(self._process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGTERM)

    def stop(self, number: signal.Signals) -> int:
        """Signal the supervisor, wait for its end and return its status."""
        if self._process is None:
            raise RuntimeError("not started")
        if self._process.poll() is None:
            self._process.send_signal(number)
        status = self._process.wait(WAIT_S)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def children(self) -> tuple[int, int]:
        """The present process ids of (broker, ingest), from run.json."""
        state = json.loads((self.data / "run.json").read_text())
        return state["broker_pid"], state["ingest_pid"]

    def add(self, node: str, key: bytes, channels: Sequence[tuple[int, str, str]], tenant: str = "acme") -> NodeKeys:
        """Register a node."""
        credentials = self.data / "handed out" / node
        done = command("add", node, "--tenant", tenant, "--key", key.hex(), "--channels", json.dumps(channels),
                       "--credentials", credentials, "--data", self.data)  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)
        return NodeKeys(key, tenant, node, credentials)

    def query(self, *arguments: str) -> Any:
        """Run a command that writes JSON, return what it wrote."""
        done = command(*arguments, "--data", self.data)
        if done.returncode:
            raise RuntimeError(done.stderr)
        if "jsonl" in arguments:
            return [json.loads(line) for line in done.stdout.splitlines()]
        return json.loads(done.stdout)


def hexed(data: bytes) -> str:
    """Lower-case hex, as the vectors have it."""
    return binascii.hexlify(data).decode()
