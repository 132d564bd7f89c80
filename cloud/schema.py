"""The database's schema and how an older one becomes the present one.

`record.lo` and `record.hi` are the Unix seconds of a frame's earliest and latest row, NULL where the record does not
say (an event, a frame in uptime, a payload that does not decode): such a record may be of any time. `node.generation`
counts how often the node was admitted again after it had been revoked; its certificates name it (pki.py). `arrival`
numbers records and births in the order in which they were committed.
`command.session` is the birth in whose session it was sent last. `node.heard_ms` is when its last authentic message
came, NULL before the first. A counter of node 0 is of no node.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from cloud import wire

VERSION = 7
_FOUND_MISSING = 0
"""Reason of a gap that no event explains, as the program of schema 7 writes it (transaction.FOUND_MISSING)."""

_STATEMENTS = """
CREATE TABLE registry (version INTEGER NOT NULL);
INSERT INTO registry VALUES (0);
CREATE TABLE node (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    kd BLOB NOT NULL,
    ackno INTEGER NOT NULL DEFAULT 0, session INTEGER REFERENCES birth (id),
    revoked INTEGER NOT NULL DEFAULT 0, generation INTEGER NOT NULL DEFAULT 0, heard_ms INTEGER);
CREATE TABLE control_key (node INTEGER PRIMARY KEY REFERENCES node (id), kc BLOB NOT NULL);
CREATE TABLE channel (
    node INTEGER NOT NULL REFERENCES node (id), id INTEGER NOT NULL, name TEXT NOT NULL, unit TEXT NOT NULL,
    PRIMARY KEY (node, id), UNIQUE (node, name)) WITHOUT ROWID;
CREATE TABLE birth (
    id INTEGER PRIMARY KEY, node INTEGER NOT NULL REFERENCES node (id),
    stream1 INTEGER NOT NULL, stream2 INTEGER, boot INTEGER NOT NULL, conn INTEGER NOT NULL,
    nonce BLOB NOT NULL, chip INTEGER NOT NULL, uptime_ms INTEGER NOT NULL, arrived_ms INTEGER NOT NULL,
    message BLOB NOT NULL, UNIQUE (node, stream1, boot, conn));
CREATE TABLE cursor (
    id INTEGER PRIMARY KEY, node INTEGER NOT NULL REFERENCES node (id),
    ring INTEGER NOT NULL, stream INTEGER NOT NULL, cum INTEGER NOT NULL,
    conflicts INTEGER NOT NULL DEFAULT 0, UNIQUE (node, ring, stream));
CREATE TABLE record (
    cursor INTEGER NOT NULL REFERENCES cursor (id), seq INTEGER NOT NULL,
    sha256 BLOB NOT NULL, arrived_ms INTEGER NOT NULL, fault TEXT, payload BLOB NOT NULL,
    lo INTEGER, hi INTEGER,
    PRIMARY KEY (cursor, seq)) WITHOUT ROWID;
CREATE INDEX record_time ON record (cursor, hi, lo);
CREATE TABLE arrival (
    number INTEGER PRIMARY KEY AUTOINCREMENT, cursor INTEGER REFERENCES cursor (id), seq INTEGER,
    birth INTEGER REFERENCES birth (id));
CREATE TABLE gap (
    cursor INTEGER NOT NULL REFERENCES cursor (id), lo INTEGER NOT NULL, hi INTEGER NOT NULL,
    reason INTEGER NOT NULL, PRIMARY KEY (cursor, lo)) WITHOUT ROWID;
CREATE TABLE pending_gap (
    node INTEGER NOT NULL, stream1 INTEGER NOT NULL, seq INTEGER NOT NULL,
    boot INTEGER NOT NULL, lo INTEGER NOT NULL, hi INTEGER NOT NULL, reason INTEGER NOT NULL,
    PRIMARY KEY (node, stream1, seq)) WITHOUT ROWID;
CREATE TABLE counter (
    node INTEGER NOT NULL, name TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (node, name)) WITHOUT ROWID;
CREATE TABLE notice (
    id INTEGER PRIMARY KEY, node INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    at_ms INTEGER NOT NULL, UNIQUE (node, kind, text));
CREATE TABLE command (
    node INTEGER NOT NULL REFERENCES node (id), id INTEGER NOT NULL, op INTEGER NOT NULL, args BLOB NOT NULL,
    made_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, status TEXT NOT NULL, detail TEXT NOT NULL DEFAULT '',
    session INTEGER REFERENCES birth (id), sent_ms INTEGER, answered_ms INTEGER, PRIMARY KEY (node, id)) WITHOUT ROWID;
CREATE INDEX command_open ON command (node, id) WHERE status IN ('waiting', 'sent', 'begun');
"""


def create(db: sqlite3.Connection) -> None:
    """Make the tables in an empty database, within the caller's transaction."""
    for statement in _STATEMENTS.split(";"):
        db.execute(statement)


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring a database of schema `version` up to date, within the caller's transaction."""
    for older in range(version, VERSION):
        _STEPS[older](db)


def _without_passwords(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE node DROP COLUMN password")


def _with_arrivals(db: sqlite3.Connection) -> None:
    """What is there already is numbered in order of its arrival, which is the nearest to the order of commits."""
    db.execute(
        "CREATE TABLE arrival (number INTEGER PRIMARY KEY AUTOINCREMENT, cursor INTEGER REFERENCES cursor (id),"
        " seq INTEGER, birth INTEGER REFERENCES birth (id))"
    )
    db.execute(
        "INSERT INTO arrival (cursor, seq, birth) SELECT cursor, seq, birth FROM ("
        " SELECT NULL AS cursor, NULL AS seq, id AS birth, arrived_ms FROM birth"
        " UNION ALL SELECT cursor, seq, NULL, arrived_ms FROM record)"
        " ORDER BY arrived_ms, birth IS NULL, birth, cursor, seq"
    )


def _with_times_and_revocation(db: sqlite3.Connection) -> None:
    for table, column in (
        ("node", "revoked INTEGER NOT NULL DEFAULT 0"), ("node", "generation INTEGER NOT NULL DEFAULT 0"),
        ("record", "lo INTEGER"), ("record", "hi INTEGER"),
    ):  # fmt: skip
        db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    frames = "SELECT cursor, seq FROM record JOIN cursor ON cursor.id = cursor WHERE ring = 2 AND fault IS NULL"
    for key in db.execute(frames).fetchall():
        (payload,) = db.execute("SELECT payload FROM record WHERE cursor = ? AND seq = ?", key).fetchone()
        _, frame = wire.parse_frame_payload(payload)
        db.execute("UPDATE record SET lo = ?, hi = ? WHERE cursor = ? AND seq = ?", (*wire.unix_span(frame), *key))
    db.execute("CREATE INDEX record_time ON record (cursor, hi, lo)")


def _with_commands(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE command (node INTEGER NOT NULL REFERENCES node (id), id INTEGER NOT NULL, op INTEGER NOT NULL,"
        " args BLOB NOT NULL, made_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, status TEXT NOT NULL,"
        " detail TEXT NOT NULL DEFAULT '', session INTEGER REFERENCES birth (id), sent_ms INTEGER, answered_ms INTEGER,"
        " PRIMARY KEY (node, id)) WITHOUT ROWID"
    )
    open_only = "status IN ('waiting', 'sent', 'begun')"
    db.execute(f"CREATE INDEX command_open ON command (node, id) WHERE {open_only}")


def _with_presence(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE node ADD COLUMN heard_ms INTEGER")
    db.execute("UPDATE node SET heard_ms = (SELECT arrived_ms FROM birth WHERE birth.id = session)")


def _without_born(db: sqlite3.Connection) -> None:
    """A stream begins with seq 1, whatever its first birth says: what that one does not name any more is a gap.

    It was none, and a record of it that came late was taken for a duplicate. Nothing was ever purged: what is covered
    by cum and neither record nor gap never came, and now it may.
    """
    db.execute("ALTER TABLE cursor DROP COLUMN born")
    known = (
        "SELECT seq AS lo, seq AS hi FROM record WHERE cursor = ?1 AND seq <= ?2"
        " UNION ALL SELECT lo, hi FROM gap WHERE cursor = ?1 AND lo <= ?2 ORDER BY 1"
    )
    for cursor, cum in db.execute("SELECT id, cum FROM cursor").fetchall():
        missing: list[tuple[int, int, int, int]] = []
        at = 1
        for lo, hi in db.execute(known, (cursor, cum)):
            if at < lo:
                missing.append((cursor, at, lo - 1, _FOUND_MISSING))
            at = max(at, hi + 1)
        if at <= cum:
            missing.append((cursor, at, cum, _FOUND_MISSING))
        db.executemany("INSERT INTO gap VALUES (?, ?, ?, ?)", missing)


# Version -> what makes the next one of it.
_STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {
    1: _without_passwords, 2: _with_arrivals, 3: _with_times_and_revocation, 4: _with_commands, 5: _with_presence,
    6: _without_born,
}  # fmt: skip
