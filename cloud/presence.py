"""Who is to be heard of by when, and what is done about those who are not.

Every birth announces the latest moment of the next contact. A node must be heard of again, by whatever authentic
message, within that time of the last one. When that moment passes, a command is left that asks for a report, once: a
node that is connected gets it at once and answers, so it was a ping; a sleeper finds it at its next poll. After
LATE_S without a word the node is overdue, after a day and three such times it is lost.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from cloud import downlink, wire
from cloud.store import StoreError

LATE_S = 60
"""A contact may be this much later than announced before the node counts as overdue: dialling takes time."""
_LOST_S = 86_400
_LOST_TIMES = 3
_REPORT = 2

State = Literal["expected", "overdue", "lost"]


@dataclass(frozen=True)
class Presence:
    """When a node was heard of, and for how long it may be silent; Unix milliseconds and seconds."""

    heard_ms: int
    silence_s: int
    """As its last birth announced; 0 if it announced nothing, and then it is never late."""

    @property
    def due_ms(self) -> int:
        """When it must have been heard of again."""
        return self.heard_ms + 1000 * self.silence_s

    def state(self, now_ms: int) -> State:
        """Return expected, overdue or lost."""
        late_s = (now_ms - self.due_ms) / 1000
        if not self.silence_s or late_s <= LATE_S:
            return "expected"
        return "lost" if late_s > max(_LOST_S, _LOST_TIMES * self.silence_s) else "overdue"


def presence(heard_ms: int | None, birth: bytes | None) -> Presence | None:
    """Return what follows from a node's row and its session's BIRTH message; None for a node that never called."""
    if heard_ms is None or birth is None:
        return None
    return Presence(heard_ms, wire.next_contact(birth))


def probe(db: sqlite3.Connection, now_ms: int) -> list[str]:
    """Leave a command for each node that is silent beyond its moment and has none since; return their names."""
    rows = db.execute(
        "SELECT name, heard_ms, message, (SELECT max(made_ms) FROM command WHERE command.node = node.id AND op = ?)"
        " FROM node JOIN birth ON birth.id = session WHERE NOT revoked",
        (_REPORT,),
    ).fetchall()
    probed = []
    for name, heard_ms, birth, asked_ms in rows:
        found = presence(heard_ms, birth)
        if found is None or not found.silence_s or now_ms <= found.due_ms:
            continue
        if asked_ms is None or asked_ms < found.due_ms:
            with suppress(StoreError):  # as many commands wait as may: they ask it, too
                downlink.enqueue(db, name, _REPORT, b"", downlink.LONGEST_TTL_S, now_ms)
                probed.append(name)
    return probed
