"""The database: connections and the registry of nodes.

One SQLite file in WAL mode, its tables in schema.py. The transaction that takes messages in is in transaction.py,
reading in query.py.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cloud import schema, wire
from cloud.errors import CloudError

BUSY_TIMEOUT_S = 1.0
NAME = re.compile(r"[a-z0-9_-]{1,32}")


class StoreError(CloudError, ValueError):
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
            schema.create(db)
            path.chmod(0o600)
        elif version > schema.VERSION:
            raise StoreError(f"{path} has schema {version}; this program knows {schema.VERSION}")
        else:
            schema.migrate(db, version)
        if version != schema.VERSION:
            db.execute(f"PRAGMA user_version = {schema.VERSION}")
    return db


def connect_to_read(data: Path) -> sqlite3.Connection:
    """Open the database in the folder `data` for reading only: never a lock that ingest would wait for.

    The connection may change threads, one at a time. An older schema is brought up to date first. Raises as `connect`
    does.
    """
    path = database_path(data)
    if not path.exists():
        raise StoreError(f"no database in {data}: wrong --data, or no node added yet")
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
    try:
        if db.execute("PRAGMA user_version").fetchone() != (schema.VERSION,):
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
    the broker must know. A revoked node is admitted again, in a new generation: its old certificates stay refused.
    Raises StoreError on a bad name, key or channel, or if the name belongs to another tenant.
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
            readmit = "UPDATE node SET revoked = 0, generation = generation + 1 WHERE id = ? AND revoked"
            back = db.execute(readmit, (node,))
            db.execute("UPDATE registry SET version = version + ?", (back.rowcount,))
        db.execute("REPLACE INTO control_key VALUES (?, ?)", (node, wire.control_key(key)))
        try:
            for channel, _, _ in channels:
                db.execute("DELETE FROM channel WHERE node = ? AND id = ?", (node, channel))
            db.executemany("INSERT INTO channel VALUES (?, ?, ?, ?)", [(node, *channel) for channel in channels])
        except sqlite3.IntegrityError:
            raise StoreError("a channel id or name stands twice") from None
    return registry_version(db)


def revoke_node(db: sqlite3.Connection, name: str) -> int:
    """Refuse a node from now on; what it sent stays. Return the registry's version. Raises StoreError if unknown."""
    node = node_id(db, name)
    with transaction(db):
        done = db.execute("UPDATE node SET revoked = 1 WHERE id = ? AND NOT revoked", (node,))
        db.execute("UPDATE registry SET version = version + ?", (done.rowcount,))
    return registry_version(db)


@dataclass(frozen=True)
class Registration:
    """What the registry holds of a node; `channels` as (id, name, unit) in order of their ids."""

    tenant: str
    kd: bytes
    revoked: bool
    generation: int
    channels: tuple[tuple[int, str, str], ...]


def registration(db: sqlite3.Connection, name: str) -> Registration | None:
    """Return what the registry holds of a node, or None if it does not know the name."""
    row = db.execute("SELECT id, tenant, kd, revoked, generation FROM node WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    node, tenant, kd, revoked, generation = row
    channels = db.execute("SELECT id, name, unit FROM channel WHERE node = ? ORDER BY id", (node,)).fetchall()
    return Registration(tenant, kd, bool(revoked), generation, tuple(channels))


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
