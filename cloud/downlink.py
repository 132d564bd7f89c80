"""Commands for nodes: the table where they wait, and what becomes of them.

A command is `waiting` until it was sent in a session of its node, then `sent`, until the node's own result comes by
ingest: begun, done, failed, refused, expired or unknown. Without one it ends `expired`, if it is certain that the node
never took it, or `unknown`. A node takes an id only if it is above every one it took before, so ids grow for ever,
over the loss of a database too: they are never below the seconds since 2020.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from cloud import wire
from cloud.clock import EPOCH_2020
from cloud.store import StoreError, node_id, transaction

OPERATIONS = {1: "read", 2: "report", 3: "restart", 4: "restart-radio", 5: "erase-released", 6: "identify"}
LONGEST_TTL_S = 90 * 86400
MOST_WAITING = 32
_LARGEST_ID = 0xFFFFFFFF
_LONGEST_WIRE_TTL_S = 0xFFFF
_OPEN = ("waiting", "sent", "begun")


@dataclass(frozen=True)
class Command:
    """One command of a node; moments in Unix milliseconds, None for what has not come to pass."""

    id: int
    op: int
    args: bytes
    made_ms: int
    expires_ms: int
    status: str
    detail: str
    sent_ms: int | None
    answered_ms: int | None

    @property
    def operation(self) -> str:
        """The operation's name, its number where this program has none."""
        return OPERATIONS.get(self.op, str(self.op))

    @property
    def open(self) -> bool:
        """Whether more may become of it."""
        return self.status in _OPEN


@dataclass(frozen=True)
class Sealed:
    """A CMD ready to be published."""

    id: int
    subject: str
    message: bytes
    session: int


_COLUMNS = "id, op, args, made_ms, expires_ms, status, detail, sent_ms, answered_ms"


def enqueue(db: sqlite3.Connection, name: str, op: int, args: bytes, ttl_s: int, now_ms: int) -> int:
    """Have a command wait for a node, `ttl_s` at most; return its id. Raises StoreError for what cannot be."""
    if not 1 <= op <= 255 or len(args) > wire.MAX_ARGS:
        raise StoreError(f"operation {op} with {len(args)} bytes: use 1 to 255, and at most {wire.MAX_ARGS} bytes")
    if not 1 <= ttl_s <= LONGEST_TTL_S:
        raise StoreError(f"a time to live of {ttl_s} s: use 1 to {LONGEST_TTL_S}")
    node = node_id(db, name)
    with transaction(db):
        (revoked,) = db.execute("SELECT revoked FROM node WHERE id = ?", (node,)).fetchone()
        if revoked:
            raise StoreError(f"node {name} is revoked")
        count = "SELECT count(*) FROM command WHERE node = ? AND status = 'waiting'"
        (waiting,) = db.execute(count, (node,)).fetchone()
        if waiting >= MOST_WAITING:
            raise StoreError(f"{waiting} commands wait for {name} already")
        number = max(_last_id(db, node) + 1, min(now_ms // 1000 - EPOCH_2020, _LARGEST_ID))
        if number > _LARGEST_ID:
            raise StoreError(f"node {name} has used up its command ids")
        db.execute(
            "INSERT INTO command (node, id, op, args, made_ms, expires_ms, status)"
            " VALUES (?, ?, ?, ?, ?, ?, 'waiting')",
            (node, number, op, args, now_ms, now_ms + ttl_s * 1000),
        )
    return number


def _last_id(db: sqlite3.Connection, node: int) -> int:
    (last,) = db.execute("SELECT max(id) FROM command WHERE node = ?", (node,)).fetchone()
    births = db.execute("SELECT message FROM node JOIN birth ON birth.id = session WHERE node.id = ?", (node,))
    return max([last or 0, *[wire.last_cmd(birth) for (birth,) in births]])


def commands(db: sqlite3.Connection, name: str, limit: int = -1) -> list[Command]:
    """Return a node's commands by id, with a `limit` the last ones. Raises StoreError for an unknown node."""
    select = f"SELECT {_COLUMNS} FROM command WHERE node = ? ORDER BY id DESC LIMIT ?"
    return [Command(*row) for row in reversed(db.execute(select, (node_id(db, name), limit)).fetchall())]


def command(db: sqlite3.Connection, name: str, number: int) -> Command:
    """Return one command of a node. Raises StoreError if there is none of that id."""
    select = f"SELECT {_COLUMNS} FROM command WHERE node = ? AND id = ?"
    row = db.execute(select, (node_id(db, name), number)).fetchone()
    if row is None:
        raise StoreError(f"node {name} has no command {number}")
    return Command(*row)


def tally(db: sqlite3.Connection, name: str) -> dict[str, int]:
    """Return how many commands of a node there are in each status that any has."""
    select = "SELECT status, count(*) FROM command JOIN node ON node.id = command.node WHERE name = ? GROUP BY status"
    return dict(db.execute(select, (name,)))


def oldest_open_ms(db: sqlite3.Connection, name: str) -> int | None:
    """Return when the oldest command was made of which more may become, None if there is none."""
    select = (
        "SELECT min(made_ms) FROM command JOIN node ON node.id = command.node WHERE name = ? AND status IN (?, ?, ?)"
    )
    return db.execute(select, (name, *_OPEN)).fetchone()[0]


def waits(db: sqlite3.Connection, node: int, birth: bytes, now_ms: int) -> bool:
    """Tell whether a command waits that the node of the BIRTH message `birth` can still take."""
    found = "SELECT 1 FROM command WHERE node = ? AND id > ? AND status IN ('waiting', 'sent') AND expires_ms > ?"
    return db.execute(found, (node, wire.last_cmd(birth), now_ms)).fetchone() is not None


def take_result(db: sqlite3.Connection, node: int, event: wire.Event, arrived_ms: int) -> None:
    """Note what a node says of a command, within the caller's transaction; also of one that a lost database knew.

    One that reached it although nobody was known to listen was sent then at the latest.
    """
    number, op = event.body["id"], event.body["op"]
    status = wire.STATUSES.get(event.body["status"], f"status {event.body['status']}")
    if number == 0:  # of messages that were no commands of ours
        return
    only = "AND status IN ('waiting', 'sent')" if status == "begun" else ""
    update = (
        "UPDATE command SET status = ?, detail = ?, sent_ms = ifnull(sent_ms, ?), answered_ms = ?"
        f" WHERE node = ? AND id = ? {only}"
    )
    if not db.execute(update, (status, event.detail, arrived_ms, arrived_ms, node, number)).rowcount:
        db.execute(
            f"INSERT OR IGNORE INTO command (node, {_COLUMNS}) VALUES (?, ?, ?, x'', ?, ?, ?, ?, NULL, ?)",
            (node, number, op, arrived_ms, arrived_ms, status, event.detail, arrived_ms),
        )


def with_open(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return (tenant, name) of the nodes that have commands of which more may become."""
    select = "SELECT DISTINCT tenant, name FROM command JOIN node ON node.id = command.node WHERE status IN (?, ?, ?)"
    return db.execute(select, _OPEN).fetchall()


def settle(db: sqlite3.Connection, name: str, now_ms: int) -> None:
    """End what no result will come of, within the caller's transaction."""
    node, session, birth = db.execute(
        "SELECT node.id, session, message FROM node LEFT JOIN birth ON birth.id = session WHERE name = ?", (name,)
    ).fetchone()
    last = 0 if birth is None else wire.last_cmd(birth)
    expire = (
        "UPDATE command SET status = 'expired', detail = ?, answered_ms = ? WHERE node = ? AND id > ?"
        " AND expires_ms <= ? AND status = ? AND ifnull(session, 0) <> ?"
    )
    db.execute(expire, ("no contact in time", now_ms, node, last, now_ms, "waiting", -1))
    db.execute(expire, ("the node did not take it", now_ms, node, last, now_ms, "sent", session))
    if birth is None:
        return
    # Whatever a node has taken it tells in ring A before its next birth; where all of that is here, nothing comes.
    ring = wire.parse_birth(birth).rings[0]
    (cum,) = db.execute(
        "SELECT cum FROM cursor WHERE node = ? AND ring = 1 AND stream = ?", (node, ring.stream)
    ).fetchone() or (0,)
    if cum >= ring.next - 1:
        db.execute(
            "UPDATE command SET status = 'unknown', detail = 'the node went past it without a word', answered_ms = ?"
            " WHERE node = ? AND id <= ? AND status IN (?, ?, ?) AND ifnull(session, 0) <> ?",
            (now_ms, node, last, *_OPEN, session),
        )


def seal_next(db: sqlite3.Connection, name: str, now_ms: int) -> Sealed | None:
    """Return the oldest command that a node can take in its present session, sealed for it; None if there is none.

    One at a time: none either while the session's last one is begun. A revoked node gets nothing.
    """
    row = db.execute(
        "SELECT node.id, tenant, kc, session, nonce, message, arrived_ms FROM node JOIN birth ON birth.id = session"
        " JOIN control_key ON control_key.node = node.id WHERE name = ? AND NOT revoked",
        (name,),
    ).fetchone()
    if row is None:
        return None
    node, tenant, key, session, nonce, birth, born_ms = row
    begun = "SELECT 1 FROM command WHERE node = ? AND status = 'begun' AND session = ?"
    if db.execute(begun, (node, session)).fetchone():
        return None
    found = db.execute(
        "SELECT id, op, args, expires_ms FROM command WHERE node = ? AND id > ? AND status IN ('waiting', 'sent')"
        " AND expires_ms > ? ORDER BY id LIMIT 1",
        (node, wire.last_cmd(birth), now_ms),
    ).fetchone()
    if found is None:
        return None
    number, op, args, expires_ms = found
    ttl_s = max(0, min((expires_ms - born_ms) // 1000, _LONGEST_WIRE_TTL_S))
    message = wire.encode_command(number, ttl_s, op, args, key=key, tenant=tenant, node=name, nonce=nonce)
    return Sealed(number, f"v1.{tenant}.{name}.dn.cmd", message, session)


def mark_sent(db: sqlite3.Connection, name: str, sealed: Sealed, now_ms: int) -> None:
    """Note that a command goes out now, within the caller's transaction."""
    db.execute(
        "UPDATE command SET status = 'sent', session = ?, sent_ms = ?"
        " WHERE node = (SELECT id FROM node WHERE name = ?) AND id = ? AND status IN ('waiting', 'sent')",
        (sealed.session, now_ms, name, sealed.id),
    )
