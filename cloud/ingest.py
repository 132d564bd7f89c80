"""The ingest worker: messages from the broker's work queue into the database, and ACKs back.

What is there is committed as one group, alerts first; then JetStream is told, then the nodes. The database works in a
thread of its own, so that alerts which arrive during a commit stand first in the next one.

Any number of workers share the two consumers: each message goes to one of them, and to another if that one has not
acknowledged it in time. The database, not the broker, keeps a record from being taken twice.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from cloud import broker, store, transaction, wire
from cloud.child import until_told
from cloud.clock import Clock

STREAM = "UP"
MESSAGES_PER_SUBJECT = 32
BATCH = 256
COALESCE_S = 0.050
"""The longest that an ACK waits for more frames of the same node."""
RETRY_S = 0.5
"""Pause after the database refused a batch; the batch comes again after it."""
_PULL_S = 5.0
ALERTS_ACK_WAIT_S = 2.0
"""What a killed worker held comes again after so long: before the node itself sends it again (3 s), and later than a
commit may wait for a lock (store.BUSY_TIMEOUT_S), lest messages come again while they are taken."""
REST_ACK_WAIT_S = 4.0


class _Pull:
    """One consumer, drained into `queue`: one pull request is always open at the broker while there is room."""

    def __init__(self, name: str, lanes: tuple[str, ...], ack_wait_s: float, arrived: asyncio.Event) -> None:
        self.config = ConsumerConfig(
            durable_name=name,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ack_wait_s,
            filter_subjects=[f"v1.*.*.up.{lane}" for lane in lanes],
            # No bound but the pulls': what a killed worker holds must not keep the others waiting.
            max_ack_pending=-1,
        )
        self.name = name
        self.queue: deque[Msg] = deque()
        self._arrived = arrived
        self._room = asyncio.Event()
        self._done = asyncio.Event()
        self._open = 0
        self._inbox = ""

    async def run(self, client: Client) -> None:
        """Keep a pull request open, for ever."""
        self._inbox = client.new_inbox()
        await client.subscribe(self._inbox, cb=self._receive)
        request = json.dumps({"batch": BATCH, "expires": int(_PULL_S * 1e9)}).encode()
        while True:
            while len(self.queue) >= BATCH:
                self._room.clear()
                await self._room.wait()
            self._open = BATCH
            self._done.clear()
            with suppress(nats.errors.Error):
                await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{self.name}", request, self._inbox)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._done.wait(), _PULL_S + 1)

    def renew(self) -> None:
        """Drop the open request, which the broker has lost, and make another."""
        self._done.set()

    def take(self, limit: int) -> list[Msg]:
        """Remove and return up to `limit` messages."""
        taken = [self.queue.popleft() for _ in range(min(limit, len(self.queue)))]
        self._room.set()
        return taken

    async def _receive(self, message: Msg) -> None:
        if not message.reply:
            status = (message.headers or {}).get("Status", "")
            if status not in ("404", "408"):
                await asyncio.sleep(0.1)
            self._done.set()
            return
        self.queue.append(message)
        self._arrived.set()
        self._open -= 1
        if self._open == 0:
            self._done.set()


class Worker:
    """One ingest worker over an open database, a clock and a connection that `run` makes.

    `alone` says that no other works on the same consumers, so that this one may make them anew.
    """

    def __init__(self, db: sqlite3.Connection, clock: Clock, *, alone: bool = False) -> None:
        self._db = db
        self._clock = clock
        self._alone = alone
        self._arrived = asyncio.Event()
        self._alerts = _Pull("alerts", wire.URGENT_LANES, ALERTS_ACK_WAIT_S, self._arrived)
        self._rest = _Pull("rest", ("t", "b", "l"), REST_ACK_WAIT_S, self._arrived)
        self._owed: dict[str, float] = {}
        """Node -> loop time by which its ACK must have gone."""
        self._tenant: dict[str, str] = {}

    async def run(self, url: str, password: str) -> None:
        """Work until cancelled. Prints "ready" once the consumers stand."""
        client = Client()
        setup = asyncio.Event()
        setup.set()

        async def reconnected() -> None:
            setup.set()

        async def error(problem: Exception) -> None:
            print(f"ingest: {type(problem).__name__}: {problem}", file=sys.stderr)

        await client.connect(
            url,
            user=broker.INGEST_USER,
            password=password,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.05,  # type: ignore[arg-type]
            ping_interval=5,
            reconnected_cb=reconnected,
            error_cb=error,
        )
        # What a killed worker held comes again at once, not after ack_wait.
        await self._declare(client, afresh=self._alone)
        tasks = [asyncio.create_task(pull.run(client)) for pull in (self._alerts, self._rest)]
        tasks.append(asyncio.create_task(self._work(client)))
        print("ready", flush=True)
        setup.clear()
        try:
            while True:
                waiter = asyncio.create_task(setup.wait())
                await asyncio.wait([waiter, *tasks], return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    if task.done():
                        task.result()
                setup.clear()
                await self._declare(client, afresh=False)
                self._alerts.renew()
                self._rest.renew()
        finally:
            for task in tasks:
                task.cancel()
            await client.close()

    async def _declare(self, client: Client, *, afresh: bool) -> None:
        """Make stream and consumers, until it succeeds; `afresh` gives the consumers up first."""
        stream = StreamConfig(
            name=STREAM,
            subjects=["v1.*.*.up.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            max_msgs_per_subject=MESSAGES_PER_SUBJECT,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
        )
        jetstream = client.jetstream(timeout=1)
        while True:
            try:
                await jetstream.add_stream(stream)
                for pull in (self._alerts, self._rest):
                    if afresh:
                        with suppress(NotFoundError):
                            await jetstream.delete_consumer(STREAM, pull.name)
                    await jetstream.add_consumer(STREAM, pull.config)
                return
            except (nats.errors.Error, APIError, asyncio.TimeoutError) as error:
                print(f"ingest: stream not ready: {type(error).__name__}: {error}", file=sys.stderr)
                await asyncio.sleep(0.1)

    async def _work(self, client: Client) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._arrived.clear()
            batch = self._next_batch()
            if batch:
                await self._commit(client, batch)
            await self._send_acks(client)
            if not self._alerts.queue and not self._rest.queue:
                wait = min(self._owed.values(), default=None)
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), None if wait is None else max(0, wait - loop.time()))

    def _next_batch(self) -> list[Msg]:
        batch = self._alerts.take(BATCH)
        return batch + self._rest.take(BATCH - len(batch))

    async def _commit(self, client: Client, batch: list[Msg]) -> None:
        loop = asyncio.get_running_loop()
        arrivals = [self._arrival(message) for message in batch]
        try:
            owed = await loop.run_in_executor(None, transaction.take, self._db, arrivals)
        except sqlite3.OperationalError as error:
            print(f"ingest: database: {error}; {len(batch)} messages wait", file=sys.stderr)
            await self._hold(client, arrivals)
            for message in batch:
                with suppress(nats.errors.Error):
                    await message.nak(delay=RETRY_S)
            return
        for message in batch:
            with suppress(nats.errors.Error):
                await message.ack()
        now = loop.time()
        for arrival in arrivals:
            if arrival.node in owed:
                self._tenant[arrival.node] = arrival.tenant
                due = now if arrival.lane in wire.URGENT_LANES else now + COALESCE_S
                self._owed[arrival.node] = min(due, self._owed.get(arrival.node, due))

    def _arrival(self, message: Msg) -> transaction.Arrival:
        _, tenant, node, _, lane = message.subject.split(".")
        stored_ns = int(_token(message, 7))
        waited_ms = max(0, (time.time_ns() - stored_ns) // 1_000_000)
        return transaction.Arrival(tenant, node, lane, message.data, self._clock.now_ms() - waited_ms)

    async def _send_acks(self, client: Client) -> None:
        """Send the ACKs that are due, and those of all nodes of which nothing more stands in the queue."""
        if not self._owed:
            return
        now = asyncio.get_running_loop().time()
        coming = Counter(message.subject.split(".")[2] for message in self._rest.queue)
        for node in [node for node, due in self._owed.items() if due <= now or not coming[node]]:
            await self._publish_ack(client, self._tenant[node], node)
            del self._owed[node]

    async def _publish_ack(self, client: Client, tenant: str, node: str, *, hold: bool = False) -> None:
        try:
            message = transaction.ack(self._db, node, self._clock.now_ms(), hold=hold)
        except sqlite3.OperationalError as error:
            print(f"ingest: database: {error}; no ACK for {node}", file=sys.stderr)
            return
        if message is not None:
            with suppress(nats.errors.Error):
                await client.publish(f"v1.{tenant}.{node}.dn.ack", message)

    async def _hold(self, client: Client, arrivals: list[transaction.Arrival]) -> None:
        for tenant, node in sorted({(arrival.tenant, arrival.node) for arrival in arrivals}):
            await self._publish_ack(client, tenant, node, hold=True)


def _token(message: Msg, index: int) -> str:
    """Return a part of $JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<time in ns>.<pending>.

    There may be two more in front, and one behind. Msg.metadata would make a datetime of it for every message.
    """
    parts = message.reply.split(".")
    return parts[index if len(parts) == 9 else index + 2]


async def _main(data: Path, url: str, clock: Clock, alone: bool) -> None:
    worker = Worker(store.connect(data, create=True), clock, alone=alone)
    await until_told(worker.run(url, broker.ingest_password(data)))


def run(data: Path, url: str, clock: Clock, *, alone: bool = False) -> None:
    """Ingest from the broker at `url` into the database in `data` until SIGTERM or the end of standard input."""
    asyncio.run(_main(data, url, clock, alone))
