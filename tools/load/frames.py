"""What a greenhouse's node sends: sealed messages and full frames, written from PROTOCOL.md and the codec's SPEC.md."""

from __future__ import annotations

import hashlib
import hmac
import random
import struct

CHANNELS = ((1, -2), (2, -2), (3, -1), (4, -3))
"""(id, exponent): temperature, humidity, pressure of a BME280, a photocell's voltage."""
ROWS = 100
FRAMES = 64
_MONDAY = 203_126_400


def digest(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256."""
    return hmac.digest(key, message, hashlib.sha256)


def _crc24(data: bytes) -> int:
    """RFC 4880, section 6.1."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc


def _varint(number: int) -> bytes:
    rest = 2 * number if number >= 0 else -2 * number - 1
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def frame(number: int, rows: int = ROWS) -> bytes:
    """A frame of `rows` minutes of all CHANNELS, a random walk of its own: 100 take about 670 bytes."""
    chance = random.Random(number)
    base = _MONDAY + 60 * rows * number
    body = struct.pack("<BBIIHB", 0, 2, 1, base, rows, len(CHANNELS))
    body += b"".join(struct.pack("<Bb", *channel) for channel in CHANNELS)
    level, spread = [2150, 5500, 10132, 1500], [4, 30, 2, 70]
    before = [0] * len(CHANNELS)
    for row in range(rows):
        body += _varint(60 if row else 0) + b"\x0f"
        for index in range(len(CHANNELS)):
            level[index] += round(chance.gauss(0, spread[index]))
            body += _varint(level[index] - before[index])
            before[index] = level[index]
    return body + _crc24(body).to_bytes(3, "little")


class Sealer:
    """The messages of one node, on stream ids that a number names; `pool` are frames that its records take in turn."""

    def __init__(self, tenant: str, node: str, key: bytes, pool: list[bytes], stream: int = 1) -> None:
        self.node = node
        self.up = f"v1/{tenant}/{node}/up/".encode()
        self.down = f"v1/{tenant}/{node}/dn/+".encode()
        self.streams = (stream, stream + 1)
        self._key = key
        self._kd = digest(key, b"fn1 data")
        self._name = f"v1/{tenant}/{node}\0".encode()
        self._pool = pool

    def tag(self, message: bytes, nonce: bytes = b"") -> bytes:
        """The 8-byte tag under Kd."""
        return digest(self._kd, self._name + nonce + message)[:8]

    def nonce(self, boot: int, conn: int, entropy: bytes) -> bytes:
        """Of a session."""
        return digest(self._key, struct.pack("<IH", boot, conn) + entropy)[:8]

    def birth(self, boot: int, conn: int, nonce: bytes, nexts: tuple[int, int]) -> bytes:
        """A BIRTH of a node whose rings begin at 1 and go on at `nexts`."""
        message = struct.pack("<BBIH", 0x10, 0, boot, conn) + nonce
        message += struct.pack("<IIIIIIBIHB", 7, 1, 1, 0, 1000, 0, 0, 3600, 3900, 1)
        for ring, stream, following in zip((1, 2), self.streams, nexts, strict=True):
            message += struct.pack("<BIII", ring, stream, 1, following)
        return message + self.tag(message)

    def frame(self, seq: int) -> bytes:
        """The DATA message of frame `seq` of ring 2."""
        payload = struct.pack("<IH", 1 + ROWS * (seq - 1), ROWS) + self._pool[seq % len(self._pool)]
        message = struct.pack("<BBII", 0x11, 2, self.streams[1], seq) + payload
        return message + self.tag(message)

    def committed(self, message: bytes, nonce: bytes) -> tuple[int, int] | None:
        """(cum, credit) of ring 2 in an ACK; None if it is not of this session or does not name this ring."""
        body = message[:-8]
        if message[:1] != b"\x12" or message[-8:] != self.tag(body, nonce):
            return None
        at = 16
        while at < len(body):
            ring, stream, cum, credit, ranges = struct.unpack_from("<BIIBB", body, at)
            if (ring, stream) == (2, self.streams[1]):
                return cum, credit
            at += 11 + 4 * ranges
        return None
