"""Payloads of the three rings: journal rows (`firmware/node/JOURNAL.md`), frames and events
(`lib/mqtt/PROTOCOL.md`)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from host_sim.image.codec import FrameError, decode_frame

EPOCH_2020 = 1_577_836_800
"""Unix seconds of 2020-01-01 00:00:00 UTC, where the node's wall time begins."""

_JOURNAL = struct.Struct("<BBIIII")
_JOURNAL_VERSION = 1
_FRAME = struct.Struct("<IH")
_EVENT = struct.Struct("<BIIIB")
_SENSOR = struct.Struct("<BB")
_SENSOR_FIELDS: tuple[str, ...] = ("sensor", "state")
_GAP = struct.Struct("<BIIBI")
_GAP_FIELDS: tuple[str, ...] = ("ring", "lo", "hi", "reason", "readings")
_KIND_SENSOR = 2
_RESULT = struct.Struct("<IBB")
_RESULT_FIELDS: tuple[str, ...] = ("id", "op", "status")
_KIND_GAP = 5
_KIND_RESULT = 6


class Row(NamedTuple):
    """One row: `seq` its journal number; `wall` Unix seconds, or `uptime` seconds of its boot; values by
    channel id."""

    seq: int
    quality: int
    boot: int
    wall: int | None
    uptime: int | None
    values: dict[int, int]


class Event(NamedTuple):
    """A record of the ring of alerts and events; `body` holds the fields of a gap, a sensor event or a result by
    their names, `detail` a result's."""

    kind: str
    boot: int
    uptime_ms: int
    wall: int | None
    body: dict[str, int]
    detail: str = ""


def _row(seq: int, quality: int, boot: int, seconds: int, values: dict[int, int]) -> Row:
    if quality:
        return Row(seq, quality, boot, seconds + EPOCH_2020, None, values)
    return Row(seq, quality, boot, None, seconds, values)


def journal_row(seq: int, payload: bytes) -> Row:
    """The row that record `seq` of the journal ring holds. Raises FrameError where the payload is not one."""
    if len(payload) < _JOURNAL.size:
        raise FrameError(f"journal row {seq}: {len(payload)} bytes are shorter than its header")
    version, quality, boot, seconds, present, _state = _JOURNAL.unpack_from(payload)
    if version != _JOURNAL_VERSION:
        raise FrameError(f"journal row {seq}: version {version} is unknown")
    ids = [index + 1 for index in range(32) if present >> index & 1]
    if len(payload) != _JOURNAL.size + 4 * len(ids):
        raise FrameError(f"journal row {seq}: {len(payload)} bytes do not hold {len(ids)} values")
    values = struct.unpack_from(f"<{len(ids)}i", payload, _JOURNAL.size)
    return _row(seq, quality, boot, seconds, dict(zip(ids, values, strict=True)))


def frame_rows(seq: int, payload: bytes) -> tuple[list[Row], dict[int, int]]:
    """The rows that record `seq` of the frames ring covers, and the exponent of each channel id in it."""
    if len(payload) < _FRAME.size:
        raise FrameError(f"frame {seq}: {len(payload)} bytes are shorter than its header")
    first, count = _FRAME.unpack_from(payload)
    try:
        frame = decode_frame(payload[_FRAME.size :])
    except FrameError as error:
        raise FrameError(f"frame {seq}: {error}") from error
    if len(frame.rows) != count:
        raise FrameError(f"frame {seq}: names {count} journal rows and holds {len(frame.rows)}")
    rows = [
        _row(first + index, frame.quality, frame.boot, seconds, values)
        for index, (seconds, values) in enumerate(frame.rows)
    ]
    return rows, dict(frame.channels)


def read_event(seq: int, payload: bytes) -> Event | None:
    """The gap, sensor event or result in record `seq` of the alerts ring; None for the other kinds."""
    if len(payload) < _EVENT.size:
        raise FrameError(f"event {seq}: {len(payload)} bytes are shorter than its header")
    kind, boot, uptime_ms, wall, quality = _EVENT.unpack_from(payload)
    body = payload[_EVENT.size :]
    fields: dict[str, int]
    if kind == _KIND_GAP and len(body) == _GAP.size:
        name, fields = "gap", dict(zip(_GAP_FIELDS, _GAP.unpack(body), strict=True))
    elif kind == _KIND_SENSOR and len(body) == _SENSOR.size:
        name, fields = "sensor", dict(zip(_SENSOR_FIELDS, _SENSOR.unpack(body), strict=True))
    elif kind == _KIND_RESULT and len(body) >= _RESULT.size:
        name, fields = "result", dict(zip(_RESULT_FIELDS, _RESULT.unpack_from(body), strict=True))
    elif kind in (_KIND_GAP, _KIND_SENSOR, _KIND_RESULT):
        raise FrameError(f"event {seq}: a body of {len(body)} bytes does not fit kind {kind}")
    else:
        return None
    detail = body[_RESULT.size :].decode(errors="replace") if kind == _KIND_RESULT else ""
    return Event(name, boot, uptime_ms, wall + EPOCH_2020 if quality and wall else None, fields, detail)
