"""Decoder of the codec frame, format 00h (`lib/codec/SPEC.md`)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from host_sim.image.crc import crc24

_HEADER = struct.Struct("<BBIIHB")
_MAX_CHANNELS = 32
_MAX_VARINT = 5


class FrameError(ValueError):
    """A frame or record that its specification refuses; says where and why."""


class Frame(NamedTuple):
    """A decoded frame. `channels` are (id, exponent); `rows` are (seconds, {channel id: value}), seconds as
    `quality` says."""

    quality: int
    boot: int
    channels: list[tuple[int, int]]
    rows: list[tuple[int, dict[int, int]]]


def _unzigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The varint at `at` and the place after it."""
    number = 0
    for index in range(_MAX_VARINT):
        if at + index >= end:
            raise FrameError(f"frame ends inside the varint at byte {at}")
        byte = data[at + index]
        number |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return number, at + index + 1
    raise FrameError(f"varint at byte {at} is longer than {_MAX_VARINT} bytes")


def decode_frame(data: bytes) -> Frame:
    """The rows of one whole frame. Raises FrameError for everything that the specification tells a decoder
    to refuse."""
    end = len(data) - 3
    if end < _HEADER.size:
        raise FrameError(f"frame of {len(data)} bytes is shorter than its header")
    if data[0] != 0:
        raise FrameError(f"frame format {data[0]:02x}h is unknown")
    if crc24(data[:end]) != int.from_bytes(data[end:], "little"):
        raise FrameError("frame CRC does not fit")
    _, quality, boot, seconds, row_count, channel_count = _HEADER.unpack_from(data)
    if not row_count or not 1 <= channel_count <= _MAX_CHANNELS:
        raise FrameError(f"frame of {row_count} rows and {channel_count} channels")
    at = _HEADER.size
    if at + 2 * channel_count > end:
        raise FrameError("frame ends inside its list of channels")
    channels = [struct.unpack_from("<Bb", data, at + 2 * index) for index in range(channel_count)]
    ids = [channel for channel, _ in channels]
    if len(set(ids)) != channel_count:
        raise FrameError("frame names a channel twice")
    at += 2 * channel_count
    mask_size = (channel_count + 7) // 8
    previous = [0] * channel_count
    rows = []
    for _ in range(row_count):
        step, at = _varint(data, at, end)
        seconds += _unzigzag(step)
        if at + mask_size > end:
            raise FrameError(f"frame ends inside row {len(rows)}")
        present = int.from_bytes(data[at : at + mask_size], "little")
        at += mask_size
        values = {}
        for index in range(channel_count):
            if present >> index & 1:
                delta, at = _varint(data, at, end)
                value = previous[index] + _unzigzag(delta)
                if not -(1 << 31) <= value < 1 << 31:
                    raise FrameError(f"value {value} of channel {ids[index]} in row {len(rows)} is outside 32 bits")
                previous[index] = value
                values[ids[index]] = value
        rows.append((seconds, values))
    if at != end:
        raise FrameError(f"{end - at} bytes too many after the last row")
    return Frame(quality, boot, channels, rows)
