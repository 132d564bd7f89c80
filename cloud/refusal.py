"""Who was refused by the broker, how often and why: counted in memory, written at most once a second.

A refusal costs no commit of its own, so that a flood of them takes nothing from ingest. They lie in the table `counter`
as refused_REASON, with the node whose certificate was used, or node 0 where that is none of ours.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections import Counter

from cloud.clock import Clock
from cloud.store import transaction

PREFIX = "refused_"
REASONS = ("client_id", "database", "no_certificate", "revoked", "service_user", "subject", "unanswered", "unknown",
           "user_name")  # fmt: skip
"""client_id: of another node than the certificate; database: it could not be read; unanswered: the callout service did
not answer in time; service_user: a user name of the cloud's own, refused without asking; subject: published or
subscribed what is not the node's; unknown: a certificate of no registered node; user_name: one that no node has."""
FLUSH_S = 1.0

_DENIED = re.compile(r'mid:\d+ - "([a-z0-9_-]{1,32})" - (?:Publish|Subscription) Violation')
_ANSWERED = "Auth callout service returned an error"
_REFUSED = "unable to connect: authentication error"
_USER = 'authentication error - User "'


class Tally:
    """Refusals that are not written yet, and what the cloud has to say of them."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._words: set[tuple[str, str]] = set()

    def add(self, node: str, reason: str, text: str = "") -> None:
        """Count one; `node` is "" for none of ours. `text` becomes a notice about the node, once."""
        self._counts[node, reason] += 1
        if node and text:
            self._words.add((node, text))

    def take(self) -> Tally:
        """Return what was counted so far, and begin anew."""
        taken = Tally()
        taken._counts, self._counts = self._counts, taken._counts
        taken._words, self._words = self._words, taken._words
        return taken

    def put_back(self, taken: Tally) -> None:
        """Count again what could not be written."""
        self._counts.update(taken._counts)
        self._words |= taken._words

    def write(self, db: sqlite3.Connection, now_ms: int) -> None:
        """Write all of it. Raises sqlite3.OperationalError (locked, disk full) with nothing written."""
        if not self._counts:
            return
        with transaction(db):
            known = dict(db.execute("SELECT name, id FROM node"))
            for (node, reason), count in self._counts.items():
                db.execute(
                    "INSERT INTO counter VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET count = count + ?3",
                    (known.get(node, 0), PREFIX + reason, count),
                )
            for node, text in self._words:
                if node in known:
                    notice = "INSERT OR IGNORE INTO notice (node, kind, text, at_ms) VALUES (?, 'refused', ?, ?)"
                    db.execute(notice, (known[node], text, now_ms))


async def keep_writing(tally: Tally, db: sqlite3.Connection, clock: Clock) -> None:
    """Write what `tally` counts, every FLUSH_S, in a thread of its own, until cancelled; `db` is nobody else's.

    A database that refuses loses nothing: it is written the next time.
    """
    while True:
        await asyncio.sleep(FLUSH_S)
        taken = tally.take()
        try:
            await asyncio.get_running_loop().run_in_executor(None, taken.write, db, clock.now_ms())
        except sqlite3.OperationalError:
            tally.put_back(taken)


class BrokerLog:
    """Counts what the broker refuses without the callout service's word, from what it logs."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._answered = 0
        """Refusals that the service has counted and that the broker has yet to carry out."""
        self._user = ""

    def line(self, text: str, service_users: tuple[str, ...]) -> bool:
        """Take one line of its log; tell whether it belongs to a refusal that is counted, here or by the service."""
        denied = _DENIED.search(text)
        if denied:
            # The client id is the certificate's, or it would not be connected.
            self._tally.add(denied[1], "subject", "published or subscribed what is not its own")
        elif _ANSWERED in text:
            self._answered += 1
        elif _USER in text:
            self._user = text.partition(_USER)[2].rstrip('"')
        elif _REFUSED in text:
            if self._answered:
                self._answered -= 1
            else:
                self._tally.add("", "service_user" if self._user in service_users else "unanswered")
            self._user = ""
        else:
            return False
        return True


def counted(db: sqlite3.Connection, node: int) -> dict[str, int]:
    """Return reason -> refusals of a node (its database id; 0: of no node), 0 for those that never came."""
    select = "SELECT substr(name, ?), count FROM counter WHERE node = ? AND name LIKE 'refused\\_%' ESCAPE '\\'"
    return {**dict.fromkeys(REASONS, 0), **dict(db.execute(select, (len(PREFIX) + 1, node)))}
