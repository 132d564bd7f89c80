"""The control worker: commands from the database to the nodes. It holds Kc, which ingest does not.

It hears every ACK that ingest publishes. One that says "commands wait" means that a node listens, right now, and that
its session is committed: the oldest command is sealed for that session and published. Results come back through
ingest; the database is where the two meet.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from contextlib import suppress
from pathlib import Path

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from cloud import broker, downlink, presence, store, wire
from cloud.child import until_told
from cloud.clock import Clock

POLL_S = 0.25
"""How often the database is asked whether it changed: for a node that stays connected, and for what expires."""
REPEAT_S = 2.0
"""The same command goes to the same session again at most so often; the node takes it once."""
_EXPIRY_S = 5.0
_PROBE_S = 5.0
"""How often it is looked for nodes that should have been heard of."""
_FLAGS_AT = 1


class Control:
    """One control worker over an open database, a clock and a connection that `run` makes."""

    def __init__(self, db: sqlite3.Connection, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._client = Client()
        self._sent: dict[str, tuple[int, int, float]] = {}
        """Node -> (session, command id, loop time) of what was published last."""

    async def run(self, url: str, password: str) -> None:
        """Work until cancelled. Prints "ready" once it hears the nodes."""

        async def error(problem: Exception) -> None:
            print(f"control: {type(problem).__name__}: {problem}", file=sys.stderr)

        await self._client.connect(
            url, user=broker.CONTROL_USER, password=password, max_reconnect_attempts=-1,
            reconnect_time_wait=0.05,  # type: ignore[arg-type]
            ping_interval=5, error_cb=error,
        )  # fmt: skip
        await self._client.subscribe("v1.*.*.dn.ack", cb=self._acknowledged)
        await self._client.flush()
        print("ready", flush=True)
        try:
            await self._watch()
        finally:
            await self._client.close()

    async def _acknowledged(self, ack: Msg) -> None:
        """A node listens, as ingest has just told it."""
        if len(ack.data) > _FLAGS_AT and ack.data[_FLAGS_AT] & wire.COMMANDS_WAIT:
            await self._offer(ack.subject.split(".")[2], listening=True)

    async def _watch(self) -> None:
        version, settled, probed = None, 0.0, 0.0
        while True:
            try:
                (now,) = self._db.execute("PRAGMA data_version").fetchone()
                if now != version or time.monotonic() - settled > _EXPIRY_S:
                    version, settled = now, time.monotonic()
                    for _, name in downlink.with_open(self._db):
                        with store.transaction(self._db):
                            downlink.settle(self._db, name, self._clock.now_ms())
                        await self._offer(name, listening=False)
                if time.monotonic() - probed > _PROBE_S:
                    probed = time.monotonic()
                    for name in presence.probe(self._db, self._clock.now_ms()):
                        await self._offer(name, listening=False)
            except sqlite3.OperationalError as error:
                version = None
                print(f"control: database: {error}", file=sys.stderr)
            await asyncio.sleep(POLL_S)

    async def _offer(self, name: str, *, listening: bool) -> None:
        """Publish what waits for a node. Where nobody is known to listen, once a session, and it is not called sent."""
        now_ms, now = self._clock.now_ms(), time.monotonic()
        try:
            sealed = downlink.seal_next(self._db, name, now_ms)
            if sealed is None:
                return
            session, number, at = self._sent.get(name, (0, 0, 0.0))
            if (session, number) == (sealed.session, sealed.id) and (now - at < REPEAT_S or not listening):
                return
            if listening:
                with store.transaction(self._db):
                    downlink.mark_sent(self._db, name, sealed, now_ms)
        except sqlite3.OperationalError as error:
            print(f"control: database: {error}; {name} gets its command at the next ACK", file=sys.stderr)
            return
        self._sent[name] = sealed.session, sealed.id, now
        with suppress(nats.errors.Error):
            await self._client.publish(sealed.subject, sealed.message)


async def _main(data: Path, url: str, clock: Clock) -> None:
    worker = Control(store.connect(data, create=True), clock)
    await until_told(worker.run(url, broker.control_password(data)))


def run(data: Path, url: str, clock: Clock) -> None:
    """Send what waits in the database in `data` by the broker at `url`, until SIGTERM or the end of standard input."""
    asyncio.run(_main(data, url, clock))
