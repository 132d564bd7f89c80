"""The database: schema, connections and the registry of nodes.

One SQLite file in WAL mode. The transaction that takes messages in is in transaction.py, reading in query.py.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cloud import wire

SCHEMA_VERSION = 3
BUSY_TIMEOUT_S = 1.0
NAME = re.compile(r"[a-z0-9_-]{1,32}")

_SCHEMA = """
CREATE TABLE registry (version INTEGER NOT NULL);
INSERT INTO registry VALUES (0);
CREATE TABLE node (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, tenant TEXT NOT NULL,
    kd BLOB NOT NULL,
    ackno INTEGER NOT NULL DEFAULT 0, session INTEGER REFERENCES birth (id));
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
    born INTEGER NOT NULL, conflicts INTEGER NOT NULL DEFAULT 0, UNIQUE (node, ring, stream));
CREATE TABLE record (
    cursor INTEGER NOT NULL REFERENCES cursor (id), seq INTEGER NOT NULL,
    sha256 BLOB NOT NULL, arrived_ms INTEGER NOT NULL, fault TEXT, payload BLOB NOT NULL,
    PRIMARY KEY (cursor, seq)) WITHOUT ROWID;
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
"""


# Version -> what makes the next one of it.
_MIGRATIONS = {
    1: "ALTER TABLE node DROP COLUMN password",
    # The order in which records and births were committed. For what is there already, that of their arrival.
    2: """
CREATE TABLE arrival (
    number INTEGER PRIMARY KEY AUTOINCREMENT, cursor INTEGER REFERENCES cursor (id), seq INTEGER,
    birth INTEGER REFERENCES birth (id));
INSERT INTO arrival (cursor, seq, birth)
    SELECT cursor, seq, birth FROM (
        SELECT NULL AS cursor, NULL AS seq, id AS birth, arrived_ms FROM birth
        UNION ALL SELECT cursor, seq, NULL, arrived_ms FROM record)
    ORDER BY arrived_ms, birth IS NULL, birth, cursor, seq;
""",
}


class StoreError(ValueError):
    """A request the store refuses; the text says what is wrong and what would be right."""


def database_path(data: Path) -> Path:
    """Return where the database lies in the data folder."""
    return data / "cloud.sqlite3"


def connect(data: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open the database in the folder `data`, in autocommit mode; the connection may change threads, one at a time.

    `create` makes folder and schema if they are missing; an older schema is brought up to date. Raises StoreError if
    there is no database or it is of a later version, sqlite3.Error if it cannot be opened.
    """
    path = database_path(data)
    if create:
        data.mkdir(parents=True, exist_ok=True)
    elif not path.exists():
        raise StoreError(f"no database in {data}: wrong --data, or no node added yet")
    db = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    with transaction(db):
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            path.chmod(0o600)
        elif version > SCHEMA_VERSION:
            raise StoreError(f"{path} has schema {version}; this program knows {SCHEMA_VERSION}")
        else:
            for older in range(version, SCHEMA_VERSION):
                for statement in _MIGRATIONS[older].split(";"):
                    db.execute(statement)
        if version != SCHEMA_VERSION:
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return db


def connect_to_read(data: Path) -> sqlite3.Connection:
    """Open the database in the folder `data` for reading only: never a lock that ingest would wait for.

    An older schema is brought up to date first. Raises as `connect` does.
    """
    path = database_path(data)
    if not path.exists():
        raise StoreError(f"no database in {data}: wrong --data, or no node added yet")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        if db.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
            connect(data).close()
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Hold the write lock for a block, commit at its end, roll back if it raises."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def add_node(
    db: sqlite3.Connection, name: str, tenant: str, key: bytes, channels: Sequence[tuple[int, str, str]]
) -> int:
    """Register a node, or bring its key and channels up to date; return the registry's version.

    `key` is K, 32 bytes, of which only Kd and Kc are kept; `channels` are (id 1..255, name, unit).
    A channel that is no longer listed stays known, for its old readings. The version grows with every change that
    the broker must know. Raises StoreError on a bad name, key or channel, or if the name belongs to another tenant.
    """
    for label, value in (("node", name), ("tenant", tenant)):
        if not NAME.fullmatch(value):
            raise StoreError(f"{label} {value!r}: use 1 to 32 of a-z 0-9 _ -")
    if len(key) != 32:
        raise StoreError(f"a key has 32 bytes (64 hex digits), not {len(key)}")
    if any(not 1 <= channel <= 255 for channel, _, _ in channels):
        raise StoreError("channel ids are 1..255")
    kd = wire.data_key(key)
    with transaction(db):
        old = db.execute("SELECT id, tenant FROM node WHERE name = ?", (name,)).fetchone()
        if old is None:
            node = db.execute("INSERT INTO node (name, tenant, kd) VALUES (?, ?, ?)", (name, tenant, kd)).lastrowid
            db.execute("UPDATE registry SET version = version + 1")
        elif old[1] != tenant:
            raise StoreError(f"node {name} belongs to tenant {old[1]}, not {tenant}")
        else:
            node = old[0]
            db.execute("UPDATE node SET kd = ? WHERE id = ?", (kd, node))
        db.execute("REPLACE INTO control_key VALUES (?, ?)", (node, wire.control_key(key)))
        try:
            for channel, _, _ in channels:
                db.execute("DELETE FROM channel WHERE node = ? AND id = ?", (node, channel))
            db.executemany("INSERT INTO channel VALUES (?, ?, ?, ?)", [(node, *channel) for channel in channels])
        except sqlite3.IntegrityError:
            raise StoreError("a channel id or name stands twice") from None
    return registry_version(db)


def registry_version(db: sqlite3.Connection) -> int:
    """Return the number that grows with every change of the nodes that the broker must know."""
    return db.execute("SELECT version FROM registry").fetchone()[0]


def node_id(db: sqlite3.Connection, name: str) -> int:
    """Return the database id of a node. Raises StoreError naming the known nodes."""
    row = db.execute("SELECT id FROM node WHERE name = ?", (name,)).fetchone()
    if row is None:
        known = [known for (known,) in db.execute("SELECT name FROM node ORDER BY name LIMIT 20")]
        raise StoreError(f"no node {name!r}; known: {', '.join(known) or 'none'}")
    return row[0]
