"""Decoder of the codec frame, written from lib/codec/SPEC.md."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

_HEADER = struct.Struct("<BBIIHB")
_CRC_SIZE = 3
_MAX_CHANNELS = 32
_VARINT_BYTES = 5
_VARINT = rb"([\x80-\xff]{0,4}[\x00-\x7f])"
_LONG = re.compile(rb"[\x80-\xff]{3}")
_SHORT = 2047
"""A value in so many bytes without a long varint is a sum of fewer than 2^11 steps below 2^20: within 32 bits."""


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
    times: Sequence[int]
    """Of each row."""
    columns: Sequence[Sequence[int | None]]
    """A value or None per row, for each channel."""

    @cached_property
    def rows(self) -> list[Row]:
        """The same, row by row."""
        return [Row(*row) for row in zip(self.times, zip(*self.columns, strict=True), strict=True)]


def _crc24_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x864CFB if crc & 0x800000 else 0)
        table.append(crc & 0xFFFFFF)
    return tuple(table)


_CRC24 = _crc24_table()
MULTIPLES = ((1257, (24, 16, 0)), (231, (25, 12, 9, 7, 0)), (96, (27, 25, 17, 11, 0)))
"""Multiples of the CRC's polynomial that have few terms: x^96 + x^27 + x^25 + x^17 + x^11 + 1, as (96, (27, ...))."""


def crc24(data: bytes) -> int:
    """Return the CRC-24 of RFC 4880, section 6.1, of `data`.

    It is a remainder modulo a polynomial, and the same of the remainder modulo a multiple of it. Modulo one of few
    terms that is some shifts of all the data as one number; only what is left of it is looked up byte by byte.
    """
    rest = int.from_bytes(data, "big") << 24 ^ 0xB704CE << 8 * len(data)
    for degree, terms in MULTIPLES:
        mask = (1 << degree) - 1
        while high := rest >> degree:
            rest &= mask
            for term in terms:
                rest ^= high << term
    crc = 0
    for byte in rest.to_bytes((rest.bit_length() + 7) // 8, "big"):
        crc = (crc << 8 & 0xFFFFFF | byte) ^ _CRC24[crc >> 16]
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


class _Signed(dict[bytes, int]):
    """A varint's bytes -> its number; those of one and two bytes lie ready."""

    def __init__(self) -> None:
        for low in range(128):
            self[bytes((low,))] = low >> 1 ^ -(low & 1)
            for high in range(128):
                self[bytes((low | 0x80, high))] = (low | high << 7) >> 1 ^ -(low & 1)

    def __missing__(self, varint: bytes) -> int:
        return _Reader(varint, 0).signed()


_signed = _Signed().__getitem__


@lru_cache(256)
def _row(present: bytes) -> re.Pattern[bytes]:
    """What a row with the channels `present` looks like: a group for its step of time and one for each value."""
    return re.compile(_VARINT + re.escape(present) + _VARINT * int.from_bytes(present, "little").bit_count())


def _decode_even(rest: bytes, rows: int, width: int) -> tuple[list[int], list[Sequence[int | None]]] | None:
    """Return steps of time and columns of rows that all have the first one's channels; None if some have others.

    The same as `_decode_any`, but with no step in Python for each value.
    """
    reader = _Reader(rest, 0)
    reader.signed()
    present = reader.take((width + 7) // 8)
    mask = int.from_bytes(present, "little")
    if not mask or mask >> width:
        return None
    found = _row(present).findall(rest)
    if len(found) != rows:
        return None
    steps, *values = zip(*found, strict=True)
    if rows * len(present) + sum(len(b"".join(column)) for column in (steps, *values)) != len(rest):
        return None  # something lies between the rows
    numbers = (list(accumulate(map(_signed, column))) for column in values)
    columns: list[Sequence[int | None]] = [
        next(numbers) if mask >> index & 1 else [None] * rows for index in range(width)
    ]
    return list(map(_signed, steps)), columns


def _decode_any(rest: bytes, rows: int, width: int) -> tuple[list[int], list[Sequence[int | None]]]:
    """Return steps of time and columns of any rows. Raises FrameError if they do not come out exactly."""
    reader = _Reader(rest, 0)
    steps: list[int] = []
    columns: list[list[int | None]] = [[] for _ in range(width)]
    previous = [0] * width
    for _ in range(rows):
        steps.append(reader.signed())
        present = int.from_bytes(reader.take((width + 7) // 8), "little")
        for index, column in enumerate(columns):
            if present >> index & 1:
                previous[index] += reader.signed()
            column.append(previous[index] if present >> index & 1 else None)
    if reader.at != len(rest):
        raise FrameError(f"{len(rest) - reader.at} bytes after the last row")
    return steps, [*columns]


def decode(data: bytes) -> Frame:
    """Return the frame in `data`. Raises FrameError for all that the spec says to refuse."""
    if len(data) < _HEADER.size + _CRC_SIZE:
        raise FrameError(f"{len(data)} bytes are no frame")
    if data[0] != 0:
        raise FrameError(f"format {data[0]} unknown")
    body = data[:-_CRC_SIZE]
    if crc24(body) != int.from_bytes(data[-_CRC_SIZE:], "little"):
        raise FrameError("bad CRC")
    _, quality, boot, base, rows, width = _HEADER.unpack_from(body)
    if rows == 0:
        raise FrameError("zero rows")
    if not 1 <= width <= _MAX_CHANNELS:
        raise FrameError(f"{width} channels, not 1..{_MAX_CHANNELS}")
    reader = _Reader(body, _HEADER.size)
    channels = tuple(struct.iter_unpack("<Bb", reader.take(2 * width)))
    if len({channel for channel, _ in channels}) != width:
        raise FrameError("the same channel id twice")
    rest = body[reader.at :]
    steps, columns = _decode_even(rest, rows, width) or _decode_any(rest, rows, width)
    times = list(accumulate(steps, initial=base))[1:]
    if min(times) < 0 or max(times) >> 32:
        raise FrameError("a time outside 32 bits")
    if len(rest) > _SHORT or _LONG.search(rest):
        for column in columns:
            known = [value for value in column if value is not None]
            if known and not -(1 << 31) <= min(known) <= max(known) < 1 << 31:
                raise FrameError("a value outside 32 bits")
    return Frame(quality, boot, base, channels, times, columns)
