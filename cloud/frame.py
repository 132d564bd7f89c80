"""Decoder of the codec frame, written from lib/codec/SPEC.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEADER = struct.Struct("<BBIIHB")
_CRC_SIZE = 3
_MAX_CHANNELS = 32
_VARINT_BYTES = 5


class FrameError(ValueError):
    """A frame that a decoder must refuse; the message says why."""


@dataclass(frozen=True)
class Row:
    """One sampling moment: `t` in the frame's time base (seconds), a value or None (absent) per channel."""

    t: int
    values: tuple[int | None, ...]


@dataclass(frozen=True)
class Frame:
    """A decoded frame. Quality 0: times are seconds of uptime of `boot`; else seconds since 2020-01-01 UTC."""

    quality: int
    boot: int
    base: int
    channels: tuple[tuple[int, int], ...]
    """(id, exponent) per channel; a reading is value x 10^exponent in the channel's unit."""
    rows: tuple[Row, ...]


def _crc24_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x864CFB if crc & 0x800000 else 0)
        table.append(crc & 0xFFFFFF)
    return tuple(table)


_CRC24 = _crc24_table()


def crc24(data: bytes) -> int:
    """Return the CRC-24 of RFC 4880, section 6.1, of `data`."""
    crc = 0xB704CE
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFF) ^ _CRC24[(crc >> 16) ^ byte]
    return crc


class _Reader:
    """Bytes read from the front; running off the end is a FrameError."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def take(self, size: int) -> bytes:
        chunk = self.data[self.at : self.at + size]
        if len(chunk) != size:
            raise FrameError("frame ends within a row")
        self.at += size
        return chunk

    def signed(self) -> int:
        """A zigzag varint."""
        number = 0
        for index, byte in enumerate(self.data[self.at : self.at + _VARINT_BYTES]):
            number |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                self.at += index + 1
                return (number >> 1) ^ -(number & 1)
        if self.at + _VARINT_BYTES > len(self.data):
            raise FrameError("frame ends within a varint")
        raise FrameError(f"varint over {_VARINT_BYTES} bytes")


def decode(data: bytes) -> Frame:
    """Return the frame in `data`. Raises FrameError for all that the spec says to refuse."""
    if len(data) < _HEADER.size + _CRC_SIZE:
        raise FrameError(f"{len(data)} bytes are no frame")
    if data[0] != 0:
        raise FrameError(f"format {data[0]} unknown")
    body = data[:-_CRC_SIZE]
    if crc24(body) != int.from_bytes(data[-_CRC_SIZE:], "little"):
        raise FrameError("bad CRC")
    _, quality, boot, base, row_count, width = _HEADER.unpack_from(body)
    if row_count == 0:
        raise FrameError("zero rows")
    if not 1 <= width <= _MAX_CHANNELS:
        raise FrameError(f"{width} channels, not 1..{_MAX_CHANNELS}")
    reader = _Reader(body, _HEADER.size)
    channels = tuple(struct.iter_unpack("<Bb", reader.take(2 * width)))
    if len({channel for channel, _ in channels}) != width:
        raise FrameError("the same channel id twice")
    rows = []
    t = base
    previous = [0] * width
    for _ in range(row_count):
        t += reader.signed()
        if not 0 <= t < 1 << 32:
            raise FrameError("a time outside 32 bits")
        present = int.from_bytes(reader.take((width + 7) // 8), "little")
        values: list[int | None] = [None] * width
        for index in range(width):
            if present >> index & 1:
                previous[index] += reader.signed()
                if not -(1 << 31) <= previous[index] < 1 << 31:
                    raise FrameError("a value outside 32 bits")
                values[index] = previous[index]
        rows.append(Row(t, tuple(values)))
    if reader.at != len(body):
        raise FrameError(f"{len(body) - reader.at} bytes after the last row")
    return Frame(quality, boot, base, channels, tuple(rows))
