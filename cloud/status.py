"""How the nodes are: what the page, the API and the metrics say of each, as of one moment."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from cloud import wire

LATE_S = 60
"""A contact may be this much later than announced before the node counts as overdue: dialling takes time."""
RESETS = ("unknown", "power on", "brown-out", "deep-sleep wake", "restart asked for", "watchdog", "crash", "external")
COUNTERS: tuple[str, ...] = ("bad_tag", "conflict", "duplicate", "malformed", "stale_birth", "undecodable")
_FLAGS = {1: "safe mode", 2: "trial", 4: "ring formatted"}


@dataclass(frozen=True)
class NodeStatus:
    """One node. Moments in Unix seconds, None where it never called; numbers of records where not said otherwise."""

    node: str
    tenant: str
    revoked: bool
    last_contact_s: int | None
    next_contact_s: int | None
    """The latest moment of the next contact, as the last birth announced it; None if it announced none."""
    overdue: bool
    battery_mv: int | None
    firmware: str | None
    boot: int | None
    conn: int | None
    reset: str | None
    flags: tuple[str, ...]
    backlog: dict[str, int]
    """Ring name (A, F) -> records that the last birth announced and that are neither committed nor given up."""
    stored: dict[str, int]
    """Ring name -> records in the database, of all streams."""
    counters: dict[str, int]
    commits: int
    """Grows with every commit of this node's messages."""

    @property
    def state(self) -> str:
        """One word: revoked, new (never called), overdue or ok."""
        if self.revoked:
            return "revoked"
        if self.last_contact_s is None:
            return "new"
        return "overdue" if self.overdue else "ok"


def names(db: sqlite3.Connection) -> list[str]:
    """Return the names of all nodes, in order."""
    return [name for (name,) in db.execute("SELECT name FROM node ORDER BY name")]


def node_status(db: sqlite3.Connection, name: str, now_ms: int) -> NodeStatus | None:
    """Return how a node is at the moment `now_ms` (Unix milliseconds), or None for an unknown name."""
    row = db.execute(
        "SELECT node.id, tenant, revoked, ackno, message, arrived_ms FROM node LEFT JOIN birth ON birth.id = session"
        " WHERE name = ?",
        (name,),
    ).fetchone()
    if row is None:
        return None
    node, tenant, revoked, commits, message, arrived_ms = row
    birth = None if message is None else wire.parse_birth(message)
    last = None if birth is None else arrived_ms // 1000
    due = None if birth is None or last is None or not birth.next_contact else last + birth.next_contact
    stored: dict[str, int] = {"A": 0, "F": 0}
    cum: dict[tuple[int, int], int] = {}
    rings = db.execute("SELECT id, ring, stream, cum FROM cursor WHERE node = ?", (node,)).fetchall()
    for cursor, ring, stream, committed in rings:
        cum[ring, stream] = committed
        (count,) = db.execute("SELECT count(*) FROM record WHERE cursor = ?", (cursor,)).fetchone()
        stored[wire.RING_NAMES[ring]] += count
    counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
    counters.update(db.execute("SELECT name, count FROM counter WHERE node = ?", (node,)))
    facts = birth or _NO_BIRTH
    return NodeStatus(
        node=name, tenant=tenant, revoked=bool(revoked), last_contact_s=last, next_contact_s=due,
        overdue=not revoked and due is not None and now_ms // 1000 > due + LATE_S,
        battery_mv=facts.battery_mv or None,
        firmware=None if birth is None else "{}.{}.{}".format(*birth.firmware.to_bytes(4, "big")[1:]),
        boot=None if birth is None else birth.boot, conn=None if birth is None else birth.conn,
        reset=None if birth is None else _reset(birth.reset),
        flags=tuple(text for bit, text in _FLAGS.items() if facts.flags & bit),
        backlog={
            wire.RING_NAMES[ring.ring]: max(0, ring.next - 1 - cum.get((ring.ring, ring.stream), ring.oldest - 1))
            for ring in facts.rings
        },
        stored=stored, counters=counters, commits=commits,
    )  # fmt: skip


_NO_BIRTH = wire.Birth(0, 0, 0, b"", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ())


def _reset(reason: int) -> str:
    return RESETS[reason] if reason < len(RESETS) else f"reason {reason}"
