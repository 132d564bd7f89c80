"""The cloud's end for the exploration: the very cloud/transaction.py on SQLite in memory, as a function from state and
batch to state. A state is a number; behind it lie the rows of the tables, and two sets that no table has.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from linknode import KEY, NAME, TENANT

from cloud import store, transaction
from cloud.clock import EPOCH_2020

NOW_MS = (EPOCH_2020 + 200_000_000) * 1000
_TABLES = ("birth", "cursor", "record", "gap", "pending_gap")
_NOTICES = ("conflict", "two_chips", "rollback")

Record = tuple[int, int, int]  # ring, stream, seq


class View(NamedTuple):
    """What invariants look at. `ever`: all that was ever committed, with its content; `purged`: given to retention."""

    cum: dict[tuple[int, int], int]
    records: dict[Record, bytes]
    gaps: frozenset[Record]
    notices: frozenset[str]
    ever: dict[Record, bytes]
    purged: frozenset[Record]
    ackno: int


class Cloud:
    """The cloud's transitions, each computed once. State 0 is a database with the node in it and no birth."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None)
        with tempfile.TemporaryDirectory() as folder:
            template = store.connect(Path(folder), create=True)
            store.add_node(template, NAME, TENANT, KEY, [(1, "air.temperature", "degC")])
            template.backup(self._db)
            template.close()
        self._number: dict[Any, int] = {}
        self._states: list[Any] = []
        self._views: list[View] = []
        self._known: dict[Any, Any] = {}
        self._at = self._keep({}, frozenset())

    def take(self, state: int, batch: tuple[tuple[str, bytes], ...]) -> tuple[int, bool]:
        """Commit a batch of (lane, message); the new state, and whether an ACK is owed."""
        key = (state, batch)
        if key not in self._known:
            view = self._views[state]
            self._restore(state)
            arrivals = [transaction.Arrival(TENANT, NAME, *pair, NOW_MS) for pair in batch]
            owed = transaction.take(self._db, arrivals)
            self._known[key] = self._keep(view.ever, view.purged), bool(owed)
        return self._known[key]

    def ack(self, state: int, hold: bool = False) -> bytes | None:
        """The ACK as the database stands."""
        key = (state, hold)
        if key not in self._known:
            self._restore(state)
            self._known[key] = transaction.ack(self._db, NAME, NOW_MS, hold=hold)
        return self._known[key]

    def ack_before_commit(self, state: int, batch: tuple[tuple[str, bytes], ...]) -> bytes | None:
        """A fault to be found: the ACK of a batch that is then rolled back."""
        return self.ack(self.take(state, batch)[0])

    def purge(self, state: int) -> int:
        """Retention deletes every record up to cum."""
        view = self._views[state]
        gone = {record for record in view.records if record[2] <= view.cum[record[:2]]}
        self._restore(state)
        self._db.execute("DELETE FROM record WHERE seq <= (SELECT cum FROM cursor WHERE id = cursor)")
        return self._keep(view.ever, view.purged | gone)

    def restored(self, state: int, backup: int) -> int:
        """The database as it was at `backup`; what had been committed since is remembered by nobody but us."""
        self._restore(backup)
        return self._keep(self._views[state].ever, self._views[backup].purged)

    def numbered(self, state: int, more: int) -> int:
        """A fault to be found: the same with an ackno that is `more` greater."""
        self._restore(state)
        self._db.execute("UPDATE node SET ackno = ackno + ?", (more,))
        return self._keep(self._views[state].ever, self._views[state].purged)

    def view(self, state: int) -> View:
        """What stands in the database."""
        return self._views[state]

    def _restore(self, state: int) -> None:
        if self._at == state:
            return
        node, notices, *tables = self._states[state][:-2]
        execute = self._db.execute
        execute("BEGIN")
        execute("UPDATE node SET ackno = ?, session = ?", node)
        for table in ("arrival", "counter", "notice", *_TABLES):
            execute(f"DELETE FROM {table}")
        self._db.executemany("INSERT INTO notice VALUES (NULL, ?, ?, '', 0)", notices)
        for table, rows in zip(_TABLES, tables, strict=True):
            if rows:
                self._db.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
        execute("COMMIT")
        self._at = state

    def _keep(self, ever: dict[Record, bytes], purged: frozenset[Record]) -> int:
        fetch = lambda sql: tuple(self._db.execute(sql).fetchall())  # noqa: E731
        tables = [fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in _TABLES]
        notices = fetch(f"SELECT DISTINCT node, kind FROM notice WHERE kind IN {_NOTICES} ORDER BY 2")
        records = {
            (ring, stream, seq): sha
            for ring, stream, seq, sha in fetch(
                "SELECT ring, stream, seq, sha256 FROM record JOIN cursor ON id = cursor ORDER BY 1, 2, 3"
            )
        }
        ever = {**records, **ever}
        node = fetch("SELECT ackno, session FROM node")[0]
        state = (node, notices, *tables, tuple(sorted(ever.items())), tuple(sorted(purged)))
        if state not in self._number:
            self._number[state] = len(self._states)
            self._states.append(state)
            gaps = frozenset(
                (ring, stream, seq)
                for ring, stream, lo, hi in fetch("SELECT ring, stream, lo, hi FROM gap JOIN cursor ON id = cursor")
                for seq in range(lo, hi + 1)
            )
            cum = {(ring, stream): cum for ring, stream, cum in fetch("SELECT ring, stream, cum FROM cursor")}
            self._views.append(View(cum, records, gaps, frozenset(kind for _, kind in notices), ever, purged, node[0]))
        self._at = self._number[state]
        return self._at


def digest(payload: bytes) -> bytes:
    """As the database keeps it."""
    return hashlib.sha256(payload).digest()
