"""Ingest workers on the two shared consumers: one amid others is killed, and what it held comes again."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cloudkit as kit
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from cloud import broker, ingest, store
from cloud.clock import SystemClock

CHANNELS = [(1, "air.temperature", "degC")]
A, F = 0xAAAA, 0xFFFF
WINDOW = 12


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Cloud]:
    """One running cloud with two workers."""
    with kit.Cloud(tmp_path_factory.mktemp("cloud"), "--workers", "2") as running:
        yield running


def payload(seq: int) -> bytes:
    """A frame with one row."""
    return kit.frame_payload(seq, 1, kit.codec_frame([(1, -2)], [(200_000_000 + 60 * seq, [seq])]))


def alarm(number: int) -> bytes:
    """An alarm."""
    return kit.event_payload(1, kit.alarm_body(1, 1, -2, number, 0), 1, 0, 200_000_000, 2)


def node_of(cloud: kit.Cloud, name: str) -> kit.MqttNode:
    """A registered node, connected."""
    node = kit.MqttNode(cloud.state["mqtt"], cloud.add(name, os.urandom(32), CHANNELS))
    node.connect()
    return node


def pids(cloud: kit.Cloud) -> list[int]:
    """The workers' present process ids."""
    state = json.loads((cloud.data / "run.json").read_text())
    return [state[name] for name in ("ingest_pid", "ingest2_pid") if name in state]


def written(pid: int) -> int:
    """Bytes that a process has written so far, to files and sockets (proc(5))."""
    return int(Path(f"/proc/{pid}/io").read_text().split("wchar:")[1].split()[0])


def rows(cloud: kit.Cloud, name: str, ring: int = 2) -> dict[int, int]:
    """Seq -> how many rows, as another process sees the database."""
    with closing(sqlite3.connect(cloud.data / "cloud.sqlite3")) as db:
        return dict(db.execute(
            "SELECT seq, count(*) FROM record JOIN cursor ON cursor.id = record.cursor JOIN node ON node.id = node"
            " WHERE ring = ? AND name = ? GROUP BY seq", (ring, name),
        ).fetchall())  # fmt: skip


def consumers(cloud: kit.Cloud) -> dict[str, str]:
    """When each consumer was made, as the broker says."""
    port = json.loads(broker.config_path(cloud.data).read_text())["listen"].rpartition(":")[2]

    async def ask() -> dict[str, str]:
        client = await nats.connect(
            f"nats://127.0.0.1:{port}", user=broker.INGEST_USER, password=broker.ingest_password(cloud.data)
        )
        try:
            made = {}
            for name in ("alerts", "rest"):
                reply = await client.request(f"$JS.API.CONSUMER.INFO.{ingest.STREAM}.{name}", b"", timeout=2)
                made[name] = json.loads(reply.data)["created"]
            return made
        finally:
            await client.close()

    return asyncio.run(ask())


def kill_amid_load(cloud: kit.Cloud) -> None:
    nodes = [node_of(cloud, f"load{number}") for number in range(4)]
    total, acked = 200, [0] * len(nodes)
    for node in nodes:
        node.born(1, 1, [(A, 1, 1), (F, 1, total + 1)])
    before = {pid: written(pid) for pid in pids(cloud)}
    assert len(before) == 2
    made = consumers(cloud)
    chance = random.Random(1)
    sent: dict[tuple[int, int], float] = {}
    kills = 0
    shares: list[int] = []
    deadline = time.monotonic() + 40
    while min(acked) < total and time.monotonic() < deadline:
        if kills < 4 and min(acked) >= 40 * (kills + 1):
            if not kills:
                shares = [written(pid) - had for pid, had in before.items()]
            os.kill(pids(cloud)[kills % 2], signal.SIGKILL)
            kills += 1
        for number, node in enumerate(nodes):
            window = list(range(acked[number] + 1, min(acked[number] + WINDOW, total) + 1))
            chance.shuffle(window)
            for seq in window:
                if time.monotonic() - sent.get((number, seq), -9) > 3:
                    node.publish("t", node.keys.data(2, F, seq, payload(seq)))
                    sent[number, seq] = time.monotonic()
        for number, node in enumerate(nodes):
            try:
                said = node.ack(lambda ack: True, wait_s=0.02)[2]
            except TimeoutError:
                continue
            acked[number] = max(acked[number], said["cum"])
            named = {said["cum"] + at + each for at, size in said["ranges"] for each in range(size)}
            assert set(rows(cloud, node.keys.node)) >= named | set(range(1, said["cum"] + 1))
    assert (acked, kills) == ([total] * len(nodes), 4)
    assert min(shares) > 5_000, shares
    for node in nodes:
        assert rows(cloud, node.keys.node) == {seq: 1 for seq in range(1, total + 1)}
        state = cloud.query("cursors", node.keys.node, "--json")
        assert (state["2"]["gaps"], state["2"]["conflicts"]) == ([], 0)
        node.close()
    assert consumers(cloud) == made


def held(cloud: kit.Cloud, node: kit.MqttNode, lane: str, worker: int, count: int) -> float:
    """Have a worker hold messages and kill it; return the seconds until all of them lie in the database."""
    kit.wait_for(lambda: len(pids(cloud)) == len(set(pids(cloud))) and all(map(kit.alive, pids(cloud))), "the workers")
    victim = pids(cloud)[worker]
    os.kill(victim, signal.SIGSTOP)
    ring, stream = (1, A) if lane in "ae" else (2, F)
    name = node.keys.node
    first = 1 + max(rows(cloud, name, ring), default=0)
    for seq in range(first, first + count):
        node.publish(lane, node.keys.data(ring, stream, seq, alarm(seq) if ring == 1 else payload(seq)))
    time.sleep(0.3)
    missing = count - sum(seq >= first for seq in rows(cloud, name, ring))
    assert missing > 0, "it held nothing"
    started = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    kit.wait_for(lambda: set(rows(cloud, name, ring)) >= set(range(first, first + count)), "what was held", 8)
    return time.monotonic() - started


@pytest.mark.parametrize(("lane", "worker"), [("a", 0), ("t", 1)])
def test_what_a_killed_worker_held_comes_to_the_other(cloud: kit.Cloud, lane: str, worker: int) -> None:
    """Within ack_wait, that of alerts is the shorter; the node sends nothing again."""
    node = node_of(cloud, f"held-{lane}")
    node.born(1, 1, [(A, 1, 21), (F, 1, 21)])
    took = held(cloud, node, lane, worker, 20)
    limit = ingest.ALERTS_ACK_WAIT_S if lane == "a" else ingest.REST_ACK_WAIT_S
    assert took < limit + 0.7
    node.close()


def test_what_the_only_worker_held_comes_at_once(tmp_path: Path) -> None:
    """It may make the consumers anew, since nobody else works on them."""
    with kit.Cloud(tmp_path) as cloud:
        node = node_of(cloud, "held")
        node.born(1, 1, [(A, 1, 21), (F, 1, 21)])
        assert held(cloud, node, "t", 0, 12) < ingest.ALERTS_ACK_WAIT_S
        node.close()


class Wire:
    """The broker's end of a worker, by hand: messages to it, and what it publishes."""

    def __init__(self) -> None:
        self.published: list[bytes] = []

    async def publish(self, subject: str, payload: bytes) -> None:
        """As the client's."""
        self.published.append(payload)

    @staticmethod
    def message(lane: str, data: bytes, deliveries: int) -> Msg:
        """One that JetStream hands out for the n-th time; it takes any answer."""

        async def answered(delay: float = 0) -> None:
            pass

        reply = f"$JS.ACK.UP.rest.{deliveries}.1.1.{time.time_ns()}.0"
        fields = {"subject": f"v1.acme.n1.up.{lane}", "data": data, "reply": reply, "ack": answered, "nak": answered}
        return cast(Msg, SimpleNamespace(**fields))


def test_any_number_of_refusals_is_passed_by_one_commit(tmp_path: Path) -> None:
    """One worker refuses eight batches, each handed out for the first time, and another commits them all at once."""
    first, second = store.connect(tmp_path, create=True), store.connect(tmp_path)
    first.execute("PRAGMA busy_timeout = 10")
    keys = kit.NodeKeys(os.urandom(32), "acme", "n1")
    store.add_node(first, "n1", "acme", keys.key, CHANNELS)
    nonce, seqs, wire = bytes(8), range(1, 9), Wire()
    client = cast(Client, wire)

    async def work() -> None:
        one, other = (ingest.Worker(db, SystemClock()) for db in (first, second))
        birth = wire.message("s", keys.birth(1, 1, [(A, 1, 1), (F, 1, 9)], nonce=nonce), 1)
        await one._commit(client, [birth])
        await one._send_acks(client)
        with closing(sqlite3.connect(store.database_path(tmp_path), isolation_level=None)) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            for seq in seqs:
                await one._commit(client, [wire.message("t", keys.data(2, F, seq, payload(seq)), 1)])
        await other._commit(client, [wire.message("t", keys.data(2, F, seq, payload(seq)), 2) for seq in seqs])
        await other._send_acks(client)

    asyncio.run(work())
    for db in (first, second):
        db.close()
    born, *holds, last = [keys.open_ack(message, nonce) or {} for message in wire.published]
    assert [(ack["flags"], ack[2]["cum"]) for ack in (born, last)] == [(0, 0), (0, 8)]
    assert [ack["flags"] for ack in holds] == [1] * 8
    assert born["ackno"] < min(ack["ackno"] for ack in holds) <= max(ack["ackno"] for ack in holds) < last["ackno"]


def test_a_hold_is_passed_by_whoever_commits(cloud: kit.Cloud) -> None:
    """The database refuses, and who said so is gone: the ACK of the commit is newer than the hold all the same."""
    node = node_of(cloud, "patient")
    node.born(1, 1, [(A, 1, 1), (F, 1, 2)])
    with closing(sqlite3.connect(cloud.data / "cloud.sqlite3", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        node.publish("t", node.keys.data(2, F, 1, payload(1)))
        hold = node.ack(lambda ack: ack["flags"] == 1)["ackno"]
        time.sleep(0.1)
        for pid in pids(cloud):
            os.kill(pid, signal.SIGKILL)
        other.execute("ROLLBACK")
    after = node.ack(lambda ack: ack["flags"] == 0)
    assert after[2]["cum"] == 1 and after["ackno"] > hold
    node.close()


@pytest.mark.beside
def test_a_worker_killed_amid_load(tmp_path: Path) -> None:
    """kill -9 of one and the other in turn: each record in once, none acknowledged before its commit, both at work."""
    with kit.Cloud(tmp_path, "--workers", "2") as cloud:
        kill_amid_load(cloud)
