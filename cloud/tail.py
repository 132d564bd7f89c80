"""What is committed, as it is committed. Ingest numbers records and births in that order (table `arrival`)."""

from __future__ import annotations

import json
import os
import select
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from cloud import query, wire
from cloud.store import StoreError, connect_to_read, node_id

POLL_S = 0.2
PATIENCE_S = 10.0  # how long a single look may find the database locked
_PAGE = 256  # rows fetched at once: a reader that pauses between two rows would keep the WAL from shrinking

_AFTER = """
SELECT number, node.id, name, ring, stream, arrival.seq, record.arrived_ms, fault, payload, message, birth.arrived_ms
FROM arrival LEFT JOIN cursor ON cursor.id = arrival.cursor
    LEFT JOIN record ON record.cursor = arrival.cursor AND record.seq = arrival.seq
    LEFT JOIN birth ON birth.id = arrival.birth
    JOIN node ON node.id = ifnull(cursor.node, birth.node)
WHERE number > ? ORDER BY number LIMIT ?
"""


@dataclass(frozen=True)
class Commit:
    """A record or a birth. `arrived_ms` by the cloud's clock, Unix milliseconds; `kind` frame, birth, that of an event
    (alarm, sensor, gap), or undecodable; `readings` in a frame; `bytes` of the payload, of a birth the message.
    """

    arrived_ms: int
    node: str
    ring: int | None
    stream: int | None
    seq: int | None
    kind: str
    readings: int
    bytes: int
    text: str

    @property
    def line(self) -> str:
        """For a person."""
        place = "" if self.ring is None else f"{wire.RING_NAMES[self.ring]} {self.seq}"
        return f"{query.iso(self.arrived_ms // 1000)}  {self.node:16}  {place:8}  {self.kind:11}  {self.text}"


class Tail:
    """Reads on where it stopped. Begins with what comes after now, or `from_start` with the first commit."""

    def __init__(self, data: Path, nodes: Sequence[str] = (), from_start: bool = False) -> None:
        """`nodes` are the names to tell of; all if there are none. Opens nothing."""
        self._data = data
        self._nodes = frozenset(nodes)
        self._number = 0
        self._from_start = from_start
        self._db: sqlite3.Connection | None = None
        self._clocks: dict[int, query.BootClocks] = {}

    def poll(self) -> Iterator[Commit]:
        """Yield what was committed since the last commit yielded.

        Raises StoreError if there is no database, or no such node, and sqlite3.OperationalError if it is locked; what
        was not yielded comes with a later poll.
        """
        db = self._db or self._open()
        while rows := db.execute(_AFTER, (self._number, _PAGE)).fetchall():
            for number, *row in rows:
                commit = self._commit(db, *row)
                self._number = number
                if commit is not None and (not self._nodes or commit.node in self._nodes):
                    yield commit

    def _open(self) -> sqlite3.Connection:
        db = connect_to_read(self._data)
        try:
            for name in self._nodes:
                node_id(db, name)
            if not self._from_start:
                (self._number,) = db.execute("SELECT ifnull(max(number), 0) FROM arrival").fetchone()
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def _commit(
        self, db: sqlite3.Connection, node: int, name: str, ring: int | None, stream: int | None, seq: int | None,
        arrived_ms: int | None, fault: str | None, payload: bytes | None, birth: bytes | None, born_ms: int | None,
    ) -> Commit | None:  # fmt: skip
        if birth is not None and born_ms is not None:
            self._clocks.pop(node, None)
            return Commit(born_ms, name, None, None, None, "birth", 0, len(birth), _of_birth(wire.parse_birth(birth)))
        if payload is None or arrived_ms is None or stream is None:
            return None  # the record was purged
        if fault is not None:
            kind, readings, text = "undecodable", 0, fault
        else:
            clocks = self._clocks.get(node)
            if clocks is None:
                clocks = self._clocks[node] = query.BootClocks(db, node)
            if ring == 1:
                event = wire.parse_event(payload)
                kind, readings, text = event.kind, 0, query.sentence(event, query.channels_of(db, node))
            else:
                kind = "frame"
                readings, text = _of_frame(payload, clocks, stream, arrived_ms)
        return Commit(arrived_ms, name, ring, stream, seq, kind, readings, len(payload), text)


def _of_birth(birth: wire.Birth) -> str:
    return f"boot {birth.boot}, contact {birth.conn}, next within {birth.next_contact} s"


def _of_frame(payload: bytes, clocks: query.BootClocks, stream: int, arrived_ms: int) -> tuple[int, str]:
    """Return how many readings a frame has, and that in words with the times of its first and last row."""
    _, frame = wire.parse_frame_payload(payload)
    readings = sum(value is not None for row in frame.rows for value in row.values)
    ends = [clocks.of_frame(stream, frame.quality, frame.boot, row.t, arrived_ms) for row in frame.rows]
    first, last = (query.iso(ends[index]) or "unknown" for index in (0, -1))
    return readings, f"{readings} readings, {first} to {last}"


def show(tail: Tail, follow: bool, as_json: bool) -> None:
    """Write a line per commit to standard output: what there is, or, to `follow`, until SIGTERM or Ctrl-C.

    A locked database is waited for; without `follow` for PATIENCE_S, then StoreError. Ends, too, when nobody reads any
    longer: by BrokenPipeError while it writes, else by itself.
    """
    began = time.monotonic()
    with _Ending() as ending:
        while True:
            last = ending.asked or not follow
            try:
                for commit in tail.poll():
                    sys.stdout.write((json.dumps(asdict(commit)) if as_json else commit.line) + "\n")
                sys.stdout.flush()
                if last:
                    return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise StoreError(f"database: {error}") from None
                if last and (ending.asked or time.monotonic() - began > PATIENCE_S):
                    raise StoreError(f"database: {error}; another program holds it") from None
            if not ending.pause(POLL_S):
                return


class _Ending:
    """SIGTERM and SIGINT ask for the end, once; the second one is final, whatever hangs."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _Ending:
        self._woken, self._wake = os.pipe()
        self._handlers = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        self._poll = select.poll()
        self._poll.register(self._woken, select.POLLIN)
        self._poll.register(sys.stdout.fileno(), 0)  # an error there: the reader has gone
        return self

    def __exit__(self, *_exc: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._woken)
        os.close(self._wake)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True
        os.write(self._wake, b"!")
        for number in self._handlers:
            signal.signal(number, signal.SIG_DFL)

    def pause(self, seconds: float) -> bool:
        """Wait, shorter if the end is asked for; False if nobody reads standard output any longer."""
        found = dict(self._poll.poll(seconds * 1000))
        return sys.stdout.fileno() not in found
