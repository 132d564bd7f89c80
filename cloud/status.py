"""How the nodes are: what the page, the API and the metrics say of each, as of one moment."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from cloud import refusal, wire
from cloud.presence import Presence, State, presence

RESETS = ("unknown", "power on", "brown-out", "deep-sleep wake", "restart asked for", "watchdog", "crash", "external")
COUNTERS: tuple[str, ...] = (
    "bad_tag", "conflict", "duplicate", "late", "malformed", "stale_birth", "undecodable",
)  # fmt: skip
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
    last_heard_s: int | None
    """When its last authentic message came, of any kind."""
    presence: State
    """As presence.py has it; "expected" for a node that never called, or is revoked."""
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
    missing: dict[str, int]
    """Ring name -> records in gaps, of all streams."""
    counters: dict[str, int]
    refused: dict[str, int]
    """Reason (refusal.REASONS) -> connections and messages of this node that the broker refused."""
    commits: int
    """Grows with every commit of this node's messages."""

    @property
    def state(self) -> str:
        """One word: revoked, new (never called), expected, overdue or lost."""
        if self.revoked:
            return "revoked"
        if self.last_contact_s is None:
            return "new"
        return self.presence

    @property
    def overdue(self) -> bool:
        """Whether it should have been heard of; a lost one is overdue, too."""
        return self.presence != "expected"


def names(db: sqlite3.Connection) -> list[str]:
    """Return the names of all nodes, in order."""
    return [name for (name,) in db.execute("SELECT name FROM node ORDER BY name")]


def node_status(db: sqlite3.Connection, name: str, now_ms: int) -> NodeStatus | None:
    """Return how a node is at the moment `now_ms` (Unix milliseconds), or None for an unknown name."""
    row = db.execute(
        "SELECT node.id, tenant, revoked, ackno, heard_ms, message, arrived_ms"
        " FROM node LEFT JOIN birth ON birth.id = session WHERE name = ?",
        (name,),
    ).fetchone()
    if row is None:
        return None
    node, tenant, revoked, commits, heard_ms, message, arrived_ms = row
    birth = None if message is None else wire.parse_birth(message)
    last = None if birth is None else arrived_ms // 1000
    due = None if birth is None or last is None or not birth.next_contact else last + birth.next_contact
    stored: dict[str, int] = {"A": 0, "F": 0}
    missing: dict[str, int] = {"A": 0, "F": 0}
    cum: dict[tuple[int, int], int] = {}
    rings = db.execute("SELECT id, ring, stream, cum FROM cursor WHERE node = ?", (node,)).fetchall()
    for cursor, ring, stream, committed in rings:
        cum[ring, stream] = committed
        (count,) = db.execute("SELECT count(*) FROM record WHERE cursor = ?", (cursor,)).fetchone()
        stored[wire.RING_NAMES[ring]] += count
        gaps = "SELECT ifnull(sum(hi - lo + 1), 0) FROM gap WHERE cursor = ?"
        missing[wire.RING_NAMES[ring]] += db.execute(gaps, (cursor,)).fetchone()[0]
    counters: dict[str, int] = dict.fromkeys(COUNTERS, 0)
    found = db.execute("SELECT name, count FROM counter WHERE node = ?", (node,))
    counters.update({name: count for name, count in found if not name.startswith(refusal.PREFIX)})
    here: Presence | None = None if revoked else presence(heard_ms, message)
    facts = birth or _NO_BIRTH
    return NodeStatus(
        node=name, tenant=tenant, revoked=bool(revoked), last_contact_s=last, next_contact_s=due,
        last_heard_s=None if heard_ms is None else heard_ms // 1000,
        presence="expected" if here is None else here.state(now_ms),
        battery_mv=facts.battery_mv or None,
        firmware=None if birth is None else "{}.{}.{}".format(*birth.firmware.to_bytes(4, "big")[1:]),
        boot=None if birth is None else birth.boot, conn=None if birth is None else birth.conn,
        reset=None if birth is None else _reset(birth.reset),
        flags=tuple(text for bit, text in _FLAGS.items() if facts.flags & bit),
        backlog={
            wire.RING_NAMES[ring.ring]: max(0, ring.next - 1 - cum.get((ring.ring, ring.stream), ring.oldest - 1))
            for ring in facts.rings
        },
        stored=stored, missing=missing, counters=counters, refused=refusal.counted(db, node), commits=commits,
    )  # fmt: skip


_NO_BIRTH = wire.Birth(0, 0, 0, b"", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ())


def _reset(reason: int) -> str:
    return RESETS[reason] if reason < len(RESETS) else f"reason {reason}"
