"""Reading the database: readings, events, nodes and cursors. Frames are decoded here, as they came, on every query."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import islice
from typing import Any

from cloud import downlink, status, wire
from cloud.clock import EPOCH_2020
from cloud.store import StoreError, node_id

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_UPTIME_WRAP_MS = 1 << 32
_DAY_MS = 86_400_000
_FOREVER_S = 1 << 62


@dataclass(frozen=True)
class Reading:
    """One value of one channel; `time_s` in Unix seconds or None, `t` as the frame has it."""

    time_s: int | None
    value: int
    exponent: int
    channel_id: int
    channel: str
    unit: str
    quality: int
    boot: int
    t: int
    journal_seq: int
    frame_seq: int
    stream: int

    @property
    def decimal(self) -> str:
        """The exact value in the channel's unit, never in scientific notation."""
        return decimal(self.value, self.exponent)


def decimal(value: int, exponent: int) -> str:
    """Return value x 10^exponent exactly, without scientific notation."""
    return f"{Decimal(value).scaleb(exponent):f}"


def iso(time_s: int | None) -> str:
    """Return Unix seconds as ISO 8601 UTC, or the empty string for None."""
    return "" if time_s is None else (_UNIX_EPOCH + timedelta(seconds=time_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> int:
    """Return the Unix seconds that `text` names: a whole number, or ISO 8601 (UTC where it names no zone)."""
    if re.fullmatch(r"-?[0-9]{1,12}", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise StoreError(f"time {text!r}: use Unix seconds or ISO 8601, such as 2026-01-31T08:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return int(moment.timestamp())


def readings(
    db: sqlite3.Connection,
    name: str,
    channel: str | None = None,
    start: int | None = None,
    end: int | None = None,
) -> Iterator[Reading]:
    """Return the readings of a node in journal order, of all its channels or of one.

    Only those with start <= time < end (Unix seconds); with either bound given, a reading without a time is left
    out. Streams follow one another in the order in which they first came. Raises StoreError for an unknown node or
    channel.
    """
    return (reading for _, reading in _readings(db, _Wanted.checked(db, name, channel, start, end)))


def page(
    db: sqlite3.Connection, name: str, channel: str | None, start: int | None, end: int | None, limit: int,
    after: str | None = None,
) -> tuple[list[Reading], str | None]:  # fmt: skip
    """Return up to `limit` of what `readings` yields, and the `after` that continues it, None at its end.

    A reading that comes late, from a backlog, is seen only if its place lies behind `after`. Raises StoreError.
    """
    place: tuple[int, ...] = ()
    if after is not None:
        if not re.fullmatch(r"\d{1,19}(\.\d{1,19}){3}", after):
            raise StoreError(f"after {after[:80]!r}: use the one that the page before gave")
        place = tuple(map(int, after.split(".")))
    found = list(islice(_readings(db, _Wanted.checked(db, name, channel, start, end), place), limit + 1))
    more = len(found) > limit
    return [reading for _, reading in found[:limit]], ".".join(map(str, found[limit - 1][0])) if more else None


def latest(db: sqlite3.Connection, name: str) -> list[Reading]:
    """Return the last reading of each channel, by channel id, from the newest frames (40 of each stream at most).

    A channel that none of them holds is left out. Raises StoreError for an unknown node.
    """
    wanted = _Wanted.checked(db, name, None, None, None)
    times = BootClocks(db, wanted.node)
    newest: dict[int, Reading] = {}
    streams = db.execute("SELECT id, stream FROM cursor WHERE node = ? AND ring = 2 ORDER BY id DESC", (wanted.node,))
    for cursor, stream in streams.fetchall():
        select = "SELECT hi, seq, arrived_ms, payload FROM record INDEXED BY record_time WHERE cursor = ?"
        unplaced = db.execute(f"{select} AND hi IS NULL AND fault IS NULL ORDER BY seq DESC LIMIT 20", (cursor,))
        placed = db.execute(f"{select} AND hi IS NOT NULL ORDER BY hi DESC LIMIT 20", (cursor,))
        for hi, seq, arrived_ms, payload in unplaced.fetchall() + placed.fetchall():
            all_known = newest.keys() >= wanted.known.keys()
            if all_known and hi is not None and hi < min(reading.time_s or 0 for reading in newest.values()):
                break
            for reading in _of_frame(wanted, times, stream, seq, arrived_ms, payload):
                known = newest.get(reading.channel_id)
                if known is None or (reading.time_s or 0, reading.frame_seq) >= (known.time_s or 0, known.frame_seq):
                    newest[reading.channel_id] = reading
        if newest:
            break
    return [newest[channel] for channel in sorted(newest)]


@dataclass(frozen=True)
class _Wanted:
    """A node's readings of one channel, or of all for None, with start <= time < end."""

    node: int
    known: dict[int, tuple[str, str]]
    channel: int | None
    start: int | None
    end: int | None

    @classmethod
    def checked(
        cls, db: sqlite3.Connection, name: str, channel: str | None, start: int | None, end: int | None
    ) -> _Wanted:
        """Return it for names as a user writes them. Raises StoreError."""
        node = node_id(db, name)
        known = channels_of(db, node)
        if channel is None:
            return cls(node, known, None, start, end)
        wanted = next((number for number, (label, _) in known.items() if label == channel), None)
        if wanted is None:
            names = ", ".join(label for label, _ in known.values()) or "none"
            raise StoreError(f"node {name} has no channel {channel!r}; known: {names}")
        return cls(node, known, wanted, start, end)


def channels_of(db: sqlite3.Connection, node: int) -> dict[int, tuple[str, str]]:
    """Return the node's channels in order of their ids: id -> (name, unit)."""
    rows = db.execute("SELECT id, name, unit FROM channel WHERE node = ? ORDER BY id", (node,))
    return {number: (label, unit) for number, label, unit in rows}


def _readings(
    db: sqlite3.Connection, wanted: _Wanted, after: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Reading]]:
    """Yield (place, reading), the place being (cursor, first journal seq, frame seq, readings before it in the frame).

    Frame by frame, each read on its own: however slowly this is consumed, no snapshot holds the WAL.
    """
    times = BootClocks(db, wanted.node)
    for stream, *key in _frames(db, wanted.node, wanted.start, wanted.end):
        if tuple(key) < after[:3]:
            continue
        row = db.execute("SELECT arrived_ms, payload FROM record WHERE cursor = ? AND seq = ?", (key[0], key[2]))
        (arrived_ms, payload) = row.fetchone() or (0, None)
        if payload is None:
            continue
        for number, reading in enumerate(_of_frame(wanted, times, stream, key[2], arrived_ms, payload)):
            place = (*key, number)
            if place > after:
                yield place, reading


def _of_frame(
    wanted: _Wanted, times: BootClocks, stream: int, seq: int, arrived_ms: int, payload: bytes
) -> Iterator[Reading]:
    first, frame = wire.parse_frame_payload(payload)
    for index, row in enumerate(frame.rows):
        time_s = times.of_frame(stream, frame.quality, frame.boot, row.t, arrived_ms)
        if not _within(time_s, wanted.start, wanted.end):
            continue
        for (number, exponent), value in zip(frame.channels, row.values, strict=True):
            if value is not None and wanted.channel in (None, number):
                label, unit = wanted.known.get(number, (f"channel{number}", ""))
                yield Reading(
                    time_s, value, exponent, number, label, unit, frame.quality, frame.boot, row.t,
                    first + index, seq, stream,
                )  # fmt: skip


def _within(time_s: int | None, start: int | None, end: int | None) -> bool:
    if time_s is None:
        return start is None and end is None
    return (start is None or time_s >= start) and (end is None or time_s < end)


def _frames(
    db: sqlite3.Connection, node: int, start: int | None, end: int | None
) -> list[tuple[int, int, int, int]]:
    """Return (stream, cursor, first journal seq, seq) of the decodable frames, in journal order.

    With a bound given only of those that may hold a row within, found by the index `record_time`.
    """
    columns = "SELECT substr(payload, 1, 4), seq FROM record"
    if start is None and end is None:
        select, bounds = f"{columns} WHERE cursor = ? AND fault IS NULL", ()
    else:
        # Two selects, for with OR the planner walks the whole table.
        indexed = f"{columns} INDEXED BY record_time WHERE fault IS NULL AND cursor = ?1 AND"
        select = f"{indexed} hi IS NULL UNION ALL {indexed} hi >= ?2 AND lo < ?3"
        bounds = (-_FOREVER_S if start is None else start, _FOREVER_S if end is None else end)
    rows: list[tuple[int, int, int, int]] = []
    cursors = db.execute("SELECT id, stream FROM cursor WHERE node = ? AND ring = 2 ORDER BY id", (node,)).fetchall()
    for cursor, stream in cursors:
        found = db.execute(select, (cursor, *bounds))
        rows += sorted((stream, cursor, int.from_bytes(first, "little"), seq) for first, seq in found)
    return rows


class BootClocks:
    """Wall times of uptimes, by the births of the same boot ("Time of a row" in PROTOCOL.md).

    Of several births the one that makes the boot begin earliest counts: a birth may be late, never early.
    Boots are counted afresh after a full erase, so a birth counts only if it named the record's stream, or stood
    beside one that did.
    """

    def __init__(self, db: sqlite3.Connection, node: int) -> None:
        births = db.execute(
            "SELECT stream1, stream2, boot, arrived_ms - uptime_ms FROM birth WHERE node = ? ORDER BY id",
            (node,),
        ).fetchall()
        births.sort(key=lambda birth: birth[3])
        self._started: dict[tuple[int, int, int], int] = {}
        for stream1, stream2, boot, started_ms in births:
            self._started.setdefault((1, stream1, boot), started_ms)
            self._started.setdefault((2, stream2, boot), started_ms)
        for stream1, stream2, _, _ in births:
            for other1, _, boot, started_ms in births:
                if other1 == stream1:
                    self._started.setdefault((2, stream2, boot), started_ms)

    def of_frame(self, stream: int, quality: int, boot: int, t: int, arrived_ms: int) -> int | None:
        """Return the Unix time of a frame's row in seconds, or None."""
        return t + EPOCH_2020 if quality else self._of_uptime((2, stream, boot), t * 1000, arrived_ms)

    def of_event(self, stream: int, event: wire.Event, arrived_ms: int) -> int | None:
        """Return the Unix time of an event in seconds, or None."""
        if event.quality:
            return event.wall + EPOCH_2020
        return self._of_uptime((1, stream, event.boot), event.uptime_ms, arrived_ms)

    def _of_uptime(self, boot: tuple[int, int, int], uptime_ms: int, arrived_ms: int) -> int | None:
        started_ms = self._started.get(boot)
        if started_ms is None:
            return None
        time_ms = started_ms + uptime_ms
        # Nothing is older than its own arrival: a later time means that the birth's 32-bit uptime had wrapped.
        while time_ms > arrived_ms + _DAY_MS:
            time_ms -= _UPTIME_WRAP_MS
        return time_ms // 1000


def records(db: sqlite3.Connection, name: str | None = None) -> Iterator[dict[str, Any]]:
    """Return every record as committed, of one node or of all, in order of arrival: t_ms (arrival by the cloud's clock,
    Unix milliseconds), node, ring (1 alerts and events, 2 frames), stream, seq, readings (values in a frame; 0 in an
    event or in a frame that cannot be decoded) and bytes of payload. Raises StoreError for an unknown node.
    """
    only = () if name is None else (node_id(db, name),)
    rows = db.execute(
        "SELECT arrived_ms, node.name, ring, stream, seq, fault, payload FROM record JOIN cursor ON cursor.id ="
        f" record.cursor JOIN node ON node.id = cursor.node {'WHERE node.id = ?' if only else ''}"
        " ORDER BY arrived_ms, cursor.id, seq",
        only,
    ).fetchall()
    return _records(rows)


def _records(rows: list[Any]) -> Iterator[dict[str, Any]]:
    for arrived_ms, node, ring, stream, seq, fault, payload in rows:
        yield {
            "t_ms": arrived_ms, "node": node, "ring": ring, "stream": stream, "seq": seq,
            "readings": _values(payload) if ring == 2 and fault is None else 0, "bytes": len(payload),
        }  # fmt: skip


def _values(payload: bytes) -> int:
    """How many values a frame payload holds."""
    _, frame = wire.parse_frame_payload(payload)
    return sum(value is not None for row in frame.rows for value in row.values)


def alerts(db: sqlite3.Connection, name: str, limit: int = -1) -> list[dict[str, Any]]:
    """Return a node's events by (stream, seq), then the cloud's own notices. Each has kind, time, time_s and text.

    With a `limit` at most that many events, and that many notices: the last ones.

    An event further has stream, seq, boot, uptime_ms, quality and the fields of its kind, numbers as on the wire.
    """
    node = node_id(db, name)
    channels = channels_of(db, node)
    times = BootClocks(db, node)
    rows = db.execute(
        "SELECT stream, seq, arrived_ms, payload FROM cursor JOIN record ON record.cursor = cursor.id"
        " WHERE node = ? AND ring = 1 AND fault IS NULL ORDER BY cursor.id DESC, seq DESC LIMIT ?",
        (node, limit),
    ).fetchall()
    found: list[dict[str, Any]] = []
    for stream, seq, arrived_ms, payload in reversed(rows):
        event = wire.parse_event(payload)
        time_s = times.of_event(stream, event, arrived_ms)
        found.append(
            {
                "kind": event.kind, "time": iso(time_s), "time_s": time_s, "text": sentence(event, channels),
                "stream": stream, "seq": seq, "boot": event.boot, "uptime_ms": event.uptime_ms,
                "quality": event.quality, **event.body, **({"detail": event.detail} if event.kind == "result" else {}),
            }
        )  # fmt: skip
    last = "SELECT kind, text, at_ms FROM notice WHERE node = ? ORDER BY id DESC LIMIT ?"
    for kind, text, at_ms in reversed(db.execute(last, (node, limit)).fetchall()):
        found.append({"kind": kind, "time": iso(at_ms // 1000), "time_s": at_ms // 1000, "text": text})
    return found


def sentence(event: wire.Event, channels: dict[int, tuple[str, str]]) -> str:
    """Return what an event says, for a person; `channels` as `channels_of` returns them."""
    body = event.body
    if event.kind == "alarm":
        label, unit = channels.get(body["channel"], (f"channel{body['channel']}", ""))
        state = {0: "back to normal", 1: "above high", 2: "below low"}.get(body["state"], f"state {body['state']}")
        value, limit = (decimal(body[field], body["exponent"]) for field in ("value", "limit"))
        return f"{label} {state}: {value} {unit} (limit {limit} {unit})"
    if event.kind == "sensor":
        state = {0: "works again", 1: "no answer", 2: "wrong answer"}.get(body["state"], f"state {body['state']}")
        return f"sensor {body['sensor']}: {state}"
    if event.kind == "result":
        return _of_result(event)
    reason = {1: "full", 2: "unreadable"}.get(body["reason"], f"reason {body['reason']}")
    ring = wire.RING_NAMES.get(body["ring"], f"ring {body['ring']}")
    return f"{ring} {body['lo']}..{body['hi']} given up ({reason}): {body['readings']} readings"


def _of_result(event: wire.Event) -> str:
    number, op, status = (event.body[field] for field in ("id", "op", "status"))
    if not number:
        return f"messages refused that were no commands: {event.detail}"
    said = f"command {number} {downlink.OPERATIONS.get(op, op)}: {wire.STATUSES.get(status, f'status {status}')}"
    return f"{said} ({event.detail})" if event.detail else said


def nodes(db: sqlite3.Connection) -> list[dict[str, Any]]:
    """Return the registered nodes by name, each with the facts of its last birth (None where there was none)."""
    found = []
    rows = db.execute(
        "SELECT name, tenant, message, arrived_ms FROM node LEFT JOIN birth ON birth.id = session ORDER BY name"
    ).fetchall()
    for name, tenant, message, arrived_ms in rows:
        birth = wire.parse_birth(message) if message is not None else None
        facts: dict[str, Any] = dict.fromkeys(("boot", "conn", "firmware", "battery_mv", "reset", "last", "next"))
        if birth is not None:
            version = birth.firmware
            facts = {
                "boot": birth.boot, "conn": birth.conn,
                "firmware": f"{version >> 16}.{version >> 8 & 0xFF}.{version & 0xFF}",
                "battery_mv": birth.battery_mv or None, "reset": birth.reset,
                "last": iso(arrived_ms // 1000), "next": iso(arrived_ms // 1000 + birth.next_contact),
            }  # fmt: skip
        found.append({"node": name, "tenant": tenant, **facts})
    return found


def cursors(db: sqlite3.Connection, name: str) -> dict[str, Any]:
    """Return what is committed of a node: per ring number the newest stream's cursor, and counters, ackno, former.

    A cursor has stream, cum, rows (records stored), gaps (lo, hi, reason: 0 found missing at a birth, else as in the
    gap event) and conflicts. `former` lists the cursors of older streams, each with its ring.
    """
    node = node_id(db, name)
    (ackno,) = db.execute("SELECT ackno FROM node WHERE id = ?", (node,)).fetchone()
    found: dict[str, Any] = {}
    former = []
    rows = db.execute("SELECT id, ring, stream, cum, conflicts FROM cursor WHERE node = ? ORDER BY id DESC", (node,))
    for cursor, ring, stream, cum, conflicts in rows.fetchall():
        (count,) = db.execute("SELECT count(*) FROM record WHERE cursor = ?", (cursor,)).fetchone()
        gaps = db.execute("SELECT lo, hi, reason FROM gap WHERE cursor = ? ORDER BY lo", (cursor,))
        facts = {
            "stream": stream, "cum": cum, "rows": count, "conflicts": conflicts,
            "gaps": [{"lo": lo, "hi": hi, "reason": reason} for lo, hi, reason in gaps],
        }  # fmt: skip
        if str(ring) in found:
            former.append({"ring": ring, **facts})
        else:
            found[str(ring)] = facts
    counters = dict.fromkeys(status.COUNTERS, 0)
    counters.update(db.execute("SELECT name, count FROM counter WHERE node = ?", (node,)))
    return {**found, "counters": counters, "ackno": ackno, "former": former}
