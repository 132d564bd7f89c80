"""The transaction of ingest: messages in, cursors moved, and the ACK read back. PROTOCOL.md, "Ingest".

No broker is known here: the same arrivals in any order, any number of times and cut at any commit give the same
database.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cloud import downlink, wire
from cloud.clock import EPOCH_2020
from cloud.frame import FrameError
from cloud.store import transaction

CREDIT = 12
ACKNO_STEP = 2
"""`ackno` grows by so much with a commit. The one between is a hold's: no worker needs to know of another's."""
FOUND_MISSING = 0
"""Reason of a gap that no event explains: the birth's oldest is beyond cum + 1."""
_CLOCK_MS = 1000
"""Two workers' clocks may differ by this much about when messages came to the broker."""

_Span = tuple[int, int] | tuple[None, None]


class Arrival(NamedTuple):
    """One message as it came from the broker; `arrived_ms` in Unix milliseconds."""

    tenant: str
    node: str
    lane: str
    message: bytes
    arrived_ms: int


@dataclass
class _Node:
    id: int
    tenant: str
    name: str
    kd: bytes


@dataclass
class _Cursor:
    """A row of the table `cursor`; every seq <= cum is a record or given up."""

    id: int
    cum: int
    highest: int
    """No record has a seq beyond this one."""
    gaps: bool
    """It may have gaps."""


def take(db: sqlite3.Connection, arrivals: Iterable[Arrival]) -> set[str]:
    """Commit `arrivals` in one transaction; return the names of the nodes that are owed an ACK.

    Raises sqlite3.OperationalError (locked, disk full) with nothing changed.
    """
    with transaction(db):
        return _Batch(db).take(arrivals)


class _Batch:
    """One batch, within one transaction. BEGIN IMMEDIATE is SQLite's lock on all cursor rows."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.nodes: dict[tuple[str, str], _Node | None] = {}
        self.cursors: dict[tuple[int, int, int], _Cursor] = {}

    def take(self, arrivals: Iterable[Arrival]) -> set[str]:
        owed: dict[int, str] = {}
        heard: dict[int, int] = {}
        for arrival in arrivals:
            node = self.node(arrival.tenant, arrival.node)
            if node is not None and self.take_one(node, arrival):
                owed[node.id] = node.name
                heard[node.id] = max(arrival.arrived_ms, heard.get(node.id, 0))
        for cursor in self.cursors.values():
            self.advance(cursor)
        self.db.executemany(
            "UPDATE node SET ackno = ackno + ?, heard_ms = max(ifnull(heard_ms, 0), ?) WHERE id = ?",
            [(ACKNO_STEP, heard[node], node) for node in owed],
        )
        return set(owed.values())

    def take_one(self, node: _Node, arrival: Arrival) -> bool:
        """Take one message; tell whether it is authentic and so owed an ACK."""
        if arrival.lane == "l":
            return False
        if not wire.authentic(node.kd, node.tenant, node.name, arrival.message):
            self.count(node, "bad_tag")
            return False
        try:
            if arrival.lane == "s":
                return self.birth(node, wire.parse_birth(arrival.message), arrival)
            self.data(node, wire.parse_data(arrival.message, arrival.lane), arrival.arrived_ms)
        except wire.WireError as error:
            self.count(node, "malformed")
            self.notice(node, "malformed", str(error), arrival.arrived_ms)
        return True

    # BIRTH

    def birth(self, node: _Node, birth: wire.Birth, arrival: Arrival) -> bool:
        """Open a session; False for a birth to ignore. The same birth again is the same session."""
        stream1 = birth.rings[0].stream
        stream2 = birth.rings[1].stream if len(birth.rings) > 1 else None
        last = self.db.execute(
            "SELECT boot, conn, nonce FROM birth WHERE node = ? AND stream1 = ? ORDER BY boot DESC, conn DESC LIMIT 1",
            (node.id, stream1),
        ).fetchone()
        current = self.db.execute(
            "SELECT birth.chip, birth.nonce FROM node JOIN birth ON birth.id = node.session WHERE node.id = ?",
            (node.id,),
        ).fetchone()
        if last is not None and (birth.boot, birth.conn) <= last[:2]:
            if last == (birth.boot, birth.conn, birth.nonce) and current[1] == birth.nonce:
                return True
            self.count(node, "stale_birth")
            return False
        if current is not None and current[0] != birth.chip:
            text = f"two chips under one name: {current[0]:08x} and {birth.chip:08x}"
            self.notice(node, "two_chips", text, arrival.arrived_ms)
        session = self.db.execute(
            "INSERT INTO birth VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (node.id, stream1, stream2, birth.boot, birth.conn, birth.nonce, birth.chip, birth.uptime_ms,
             arrival.arrived_ms, arrival.message),
        ).lastrowid  # fmt: skip
        self.db.execute("INSERT INTO arrival (birth) VALUES (?)", (session,))
        self.db.execute("UPDATE node SET session = ? WHERE id = ?", (session, node.id))
        for ring in birth.rings:
            self.ring_of_birth(node, ring, arrival.arrived_ms)
        pending = "SELECT boot, lo, hi, reason FROM pending_gap WHERE node = ? AND stream1 = ?"
        for boot, lo, hi, reason in self.db.execute(pending, (node.id, stream1)).fetchall():
            self.frames_gap(node, stream1, boot, lo, hi, reason)
        self.db.execute("DELETE FROM pending_gap WHERE node = ? AND stream1 = ?", (node.id, stream1))
        return True

    def ring_of_birth(self, node: _Node, ring: wire.RingState, arrived_ms: int) -> None:
        cursor = self.cursor(node, ring.ring, ring.stream)
        self.declare(cursor, cursor.cum + 1, ring.oldest - 1, FOUND_MISSING)
        if ring.next <= cursor.cum and not self.made_since(cursor, ring.next, arrived_ms):
            text = f"ring {ring.ring} went back: next is {ring.next}, committed up to {cursor.cum}"
            self.notice(node, "rollback", text, arrived_ms)

    def made_since(self, cursor: _Cursor, seq: int, arrived_ms: int) -> bool:
        """Tell whether a record came in the contact whose birth came at `arrived_ms`: another worker was faster."""
        stored = "SELECT arrived_ms FROM record WHERE cursor = ? AND seq = ?"
        found = self.db.execute(stored, (cursor.id, seq)).fetchone()
        return found is not None and found[0] >= arrived_ms - _CLOCK_MS

    # DATA

    def data(self, node: _Node, data: wire.Data, arrived_ms: int) -> None:
        cursor = self.cursor(node, data.ring, data.stream)
        sha256 = hashlib.sha256(data.payload).digest()
        row = None
        filled: list[tuple[int, int]] = []
        if data.seq <= cursor.highest:
            stored = "SELECT sha256 FROM record WHERE cursor = ? AND seq = ?"
            row = self.db.execute(stored, (cursor.id, data.seq)).fetchone()
        if row is not None and row[0] != sha256:
            self.count(node, "conflict")
            self.db.execute("UPDATE cursor SET conflicts = conflicts + 1 WHERE id = ?", (cursor.id,))
            text = f"ring {data.ring} stream {data.stream:08x} seq {data.seq} came with another content"
            self.notice(node, "conflict", text, arrived_ms)
        elif row is not None or not (filled := self.carve(cursor, data.seq, data.seq)) and data.seq <= cursor.cum:
            self.count(node, "duplicate")
        else:
            if filled:
                self.count(node, "late")
            fault, span, event = self.examine(node, data, arrived_ms)
            self.db.execute(
                "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (cursor.id, data.seq, sha256, arrived_ms, fault, data.payload, *span),
            )
            self.db.execute("INSERT INTO arrival (cursor, seq) VALUES (?, ?)", (cursor.id, data.seq))
            cursor.highest = max(cursor.highest, data.seq)
            if event is not None:
                # Only now: a gap may name the seq of its own event, which is there and hence no part of it.
                self.act(node, data, event, arrived_ms)

    def examine(self, node: _Node, data: wire.Data, arrived_ms: int) -> tuple[str | None, _Span, wire.Event | None]:
        """Decode a new record's payload; return what is wrong with it, its span, and the event if it is one."""
        try:
            if data.ring == 2:
                return None, wire.unix_span(wire.parse_frame_payload(data.payload)[1]), None
            return None, (None, None), wire.parse_event(data.payload)
        except (wire.WireError, FrameError) as error:
            self.count(node, "undecodable")
            self.notice(node, "undecodable", f"ring {data.ring} seq {data.seq}: {error}", arrived_ms)
            return str(error), (None, None), None

    def act(self, node: _Node, data: wire.Data, event: wire.Event, arrived_ms: int) -> None:
        """Do what a new event asks for: the result of a command, or a gap."""
        if event.kind == "result":
            downlink.take_result(self.db, node.id, event, arrived_ms)
        elif event.kind == "gap":
            lo, hi, reason = (event.body[name] for name in ("lo", "hi", "reason"))
            if event.body["ring"] == 1:
                self.declare(self.cursor(node, 1, data.stream), lo, hi, reason)
            elif event.body["ring"] == 2 and not self.frames_gap(node, data.stream, event.boot, lo, hi, reason):
                row = (node.id, data.stream, data.seq, event.boot, lo, hi, reason)
                self.db.execute("INSERT OR IGNORE INTO pending_gap VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    # gaps and cursors

    def frames_gap(self, node: _Node, stream1: int, boot: int, lo: int, hi: int, reason: int) -> bool:
        """Declare a gap of ring 2 that an event of `stream1` names; False if no birth tells which stream it means.

        The event does not name ring 2's stream. It is the last one that a birth beside `stream1` named up to the
        event's boot; guessing too old a stream only leaves a hole for the next birth to close, too new a one
        would release records that were never sent.
        """
        rows = self.db.execute(
            "SELECT stream2, MIN(boot) FROM birth WHERE node = ? AND stream1 = ? AND stream2 IS NOT NULL"
            " GROUP BY stream2 ORDER BY MIN(id)",
            (node.id, stream1),
        ).fetchall()
        if not rows:
            return False
        stream2 = next((stream for stream, first in reversed(rows) if first <= boot), rows[0][0])
        self.declare(self.cursor(node, 2, stream2), lo, hi, reason)
        return True

    def declare(self, cursor: _Cursor, lo: int, hi: int, reason: int) -> None:
        """Record that lo..hi will not come, as far as they are not there; an event's reason beats FOUND_MISSING."""
        if reason != FOUND_MISSING:
            for piece in self.carve(cursor, lo, hi, FOUND_MISSING):
                self.insert_gap(cursor, *piece, reason)
        at = max(lo, cursor.cum + 1)
        for first, last in self.settled(cursor, at, hi):
            if at < first:
                self.insert_gap(cursor, at, first - 1, reason)
            at = max(at, last + 1)
        if at <= hi:
            self.insert_gap(cursor, at, hi, reason)

    def insert_gap(self, cursor: _Cursor, lo: int, hi: int, reason: int) -> None:
        cursor.gaps = True
        self.db.execute("INSERT INTO gap VALUES (?, ?, ?, ?)", (cursor.id, lo, hi, reason))

    def settled(self, cursor: _Cursor, lo: int, hi: int) -> Iterator[tuple[int, int]]:
        """Yield (first, last) of the records and gaps that touch lo..hi, in order."""
        yield from self.db.execute(
            "SELECT seq AS lo, seq AS hi FROM record WHERE cursor = ?1 AND seq BETWEEN ?2 AND ?3"
            " UNION ALL SELECT lo, hi FROM gap WHERE cursor = ?1 AND lo <= ?3 AND hi >= ?2 ORDER BY 1",
            (cursor.id, lo, hi),
        ).fetchall()

    def carve(self, cursor: _Cursor, lo: int, hi: int, reason: int | None = None) -> list[tuple[int, int]]:
        """Take lo..hi out of the gaps (of `reason`, or of any) and return the pieces taken."""
        if not cursor.gaps:
            return []
        rows = self.db.execute(
            "SELECT lo, hi, reason FROM gap"
            " WHERE cursor = ?1 AND lo <= ?3 AND hi >= ?2 AND reason = ifnull(?4, reason)",
            (cursor.id, lo, hi, reason),
        ).fetchall()
        for first, last, why in rows:
            self.db.execute("DELETE FROM gap WHERE cursor = ? AND lo = ?", (cursor.id, first))
            if first < lo:
                self.insert_gap(cursor, first, lo - 1, why)
            if last > hi:
                self.insert_gap(cursor, hi + 1, last, why)
        return [(max(first, lo), min(last, hi)) for first, last, _ in rows]

    def cursor(self, node: _Node, ring: int, stream: int) -> _Cursor:
        key = (node.id, ring, stream)
        if key not in self.cursors:
            self.db.execute("INSERT OR IGNORE INTO cursor VALUES (NULL, ?, ?, ?, 0, 0)", key)
            number, cum, highest, gaps = self.db.execute(
                "SELECT id, cum, (SELECT max(seq) FROM record WHERE cursor = id),"
                " EXISTS (SELECT * FROM gap WHERE cursor = id) FROM cursor WHERE node = ? AND ring = ? AND stream = ?",
                key,
            ).fetchone()
            self.cursors[key] = _Cursor(number, cum, highest or 0, bool(gaps))
        return self.cursors[key]

    def advance(self, cursor: _Cursor) -> None:
        """Move cum over the records and gaps that follow it without a hole, and store the cursor."""
        before = -1
        while before != cursor.cum:
            before = cursor.cum
            beyond = "SELECT seq FROM record WHERE cursor = ? AND seq > ? ORDER BY seq"
            for (seq,) in self.db.execute(beyond, (cursor.id, cursor.cum)):
                if seq != cursor.cum + 1:
                    break
                cursor.cum = seq
            if cursor.gaps:
                follows = "SELECT hi FROM gap WHERE cursor = ?1 AND lo <= ?2 AND hi >= ?2"
                for (hi,) in self.db.execute(follows, (cursor.id, cursor.cum + 1)).fetchall():
                    cursor.cum = hi
        self.db.execute("UPDATE cursor SET cum = ? WHERE id = ?", (cursor.cum, cursor.id))

    # bookkeeping

    def node(self, tenant: str, name: str) -> _Node | None:
        key = (tenant, name)
        if key not in self.nodes:
            known = "SELECT id, tenant, name, kd FROM node WHERE tenant = ? AND name = ? AND NOT revoked"
            row = self.db.execute(known, key).fetchone()
            self.nodes[key] = None if row is None else _Node(*row)
        return self.nodes[key]

    def count(self, node: _Node, name: str) -> None:
        self.db.execute(
            "INSERT INTO counter VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1",
            (node.id, name),
        )

    def notice(self, node: _Node, kind: str, text: str, at_ms: int) -> None:
        """Leave a word for whoever looks after the node; the same word is kept once, with its first time."""
        self.db.execute("INSERT OR IGNORE INTO notice VALUES (NULL, ?, ?, ?, ?)", (node.id, kind, text, at_ms))


def ack(db: sqlite3.Connection, node: str, now_ms: int, *, hold: bool = False) -> bytes | None:
    """Return the ACK of `node` as the database stands, or None if the node never had a session.

    `now_ms` in Unix milliseconds. `hold` asks the node to stop and gives no credit; no commit stands behind it, and
    its ackno lies between the last commit's and the next one's, whoever makes that.
    """
    row = db.execute(
        "SELECT node.id, tenant, kd, ackno, nonce, message, stream1, stream2 FROM node JOIN birth ON birth.id = session"
        " WHERE name = ?",
        (node,),
    ).fetchone()
    if row is None:
        return None
    node_id, tenant, kd, ackno, nonce, birth, *streams = row
    rings = [
        _ack_ring(db, node_id, ring, stream, 0 if hold else CREDIT)
        for ring, stream in enumerate(streams, 1)
        if stream is not None
    ]
    flags = wire.HOLD if hold else 0
    if downlink.waits(db, node_id, birth, now_ms):
        flags |= wire.COMMANDS_WAIT
    return wire.encode_ack(
        flags=flags, ackno=ackno + hold, now_ms=now_ms - EPOCH_2020 * 1000, config=0,
        rings=rings, key=kd, tenant=tenant, node=node, nonce=nonce,
    )  # fmt: skip


def _ack_ring(db: sqlite3.Connection, node: int, ring: int, stream: int, credit: int) -> wire.AckRing:
    cursor, cum = db.execute(
        "SELECT id, cum FROM cursor WHERE node = ? AND ring = ? AND stream = ?", (node, ring, stream)
    ).fetchone()
    ranges: list[tuple[int, int]] = []
    # An offset is a u16, and so is a length that starts beyond it.
    beyond = "SELECT seq FROM record WHERE cursor = ? AND seq > ? AND seq <= ? ORDER BY seq"
    for (seq,) in db.execute(beyond, (cursor, cum, cum + 0xFFFF)):
        if ranges and seq == sum(ranges[-1]):
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        elif len(ranges) < wire.MAX_RANGES:
            ranges.append((seq, 1))
        else:
            break
    return wire.AckRing(ring, stream, cum, credit, ranges)
