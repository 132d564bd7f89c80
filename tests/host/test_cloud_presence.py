"""Who is expected, overdue or lost; and the probe: for a sleeper at its next poll, for a connected node at once."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cloudkit as kit
import pytest

from cloud import downlink, presence, status, store, transaction
from cloud.clock import EPOCH_2020

KEYS = kit.NodeKeys(bytes(range(32)), "acme", "n1")
A, F = 0xAAAA, 0xFFFF
NOW_MS = (EPOCH_2020 + 200_000_000) * 1000
HOUR = 3600
DAY = 86_400
REPORT = 2


class Site:
    """A database with node n1; moments in seconds after NOW_MS."""

    def __init__(self, folder: Path) -> None:
        self.db = store.connect(folder, create=True)
        store.add_node(self.db, "n1", "acme", KEYS.key, [])
        self.conn = 0

    def take(self, lane: str, message: bytes, at: float) -> None:
        """Commit a message."""
        transaction.take(self.db, [transaction.Arrival("acme", "n1", lane, message, NOW_MS + int(at * 1000))])

    def born(self, at: float, next_contact: int = HOUR) -> None:
        """A birth."""
        self.conn += 1
        rings = [(A, 1, 1), (F, 1, 1)]
        nonce = KEYS.nonce(1, self.conn, bytes(16))
        self.take("s", KEYS.birth(1, self.conn, rings, nonce=nonce, next_contact=next_contact), at)

    def state(self, at: float) -> str:
        """The word for it."""
        found = status.node_status(self.db, "n1", NOW_MS + int(at * 1000))
        assert found
        return found.state

    def probe(self, at: float) -> list[str]:
        """As the control worker does."""
        return presence.probe(self.db, NOW_MS + int(at * 1000))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A database."""
    made = Site(tmp_path)
    yield made
    made.db.close()


def test_states(site: Site) -> None:
    """By the announced moment, with a minute of grace; any authentic message is as good as a birth."""
    assert site.state(0) == "new"
    site.born(0)
    assert [site.state(at) for at in (1, HOUR + 60, HOUR + 61, HOUR + DAY, HOUR + DAY + 1)] == [
        "expected", "expected", "overdue", "overdue", "lost",
    ]  # fmt: skip
    payload = kit.frame_payload(1, 1, kit.codec_frame([(1, -2)], [(200_000_000, [1])]))
    good = KEYS.data(2, F, 1, payload)
    site.take("t", good[:-1] + bytes([good[-1] ^ 1]), HOUR)
    assert site.state(HOUR + 61) == "overdue", "a bad tag is no word of the node's"
    site.take("t", good, HOUR)
    assert [site.state(at) for at in (2 * HOUR + 60, 2 * HOUR + 61)] == ["expected", "overdue"]
    site.born(2 * HOUR, next_contact=7 * DAY)
    assert [site.state(2 * HOUR + DAY * days + 61) for days in (6, 7, 27, 28)] == [
        "expected", "overdue", "overdue", "lost",
    ]  # fmt: skip
    site.born(30 * DAY, next_contact=0)
    assert site.state(3000 * DAY) == "expected"
    store.revoke_node(site.db, "n1")
    assert site.state(3000 * DAY) == "revoked"


def test_a_silent_node_is_probed_once(site: Site) -> None:
    """Again only after it was heard of and fell silent anew; never if it is revoked or announced nothing."""
    assert site.probe(0) == []
    site.born(0)
    assert [site.probe(at) for at in (1, HOUR, HOUR + 1, HOUR + 2, 50 * DAY)] == [[], [], ["n1"], [], []]
    (command,) = downlink.commands(site.db, "n1")
    assert (command.op, command.status) == (REPORT, "waiting")
    site.born(5 * HOUR)
    assert [site.probe(at) for at in (6 * HOUR, 6 * HOUR + 1, 7 * HOUR)] == [[], ["n1"], []]
    site.born(9 * HOUR, next_contact=0)
    assert site.probe(99 * HOUR) == []
    site.born(100 * HOUR)
    store.revoke_node(site.db, "n1")
    assert site.probe(200 * HOUR) == []


def test_a_full_queue_is_no_error(site: Site) -> None:
    """What waits asks the node already."""
    site.born(0)
    for _ in range(downlink.MOST_WAITING):
        downlink.enqueue(site.db, "n1", 1, b"", HOUR, NOW_MS)
    assert site.probe(HOUR + 1) == []


def test_sleeper_and_connected_node_in_a_running_cloud(tmp_path: Path) -> None:
    """The connected one is asked at once and its answer counts; the sleeper finds the question at its next poll."""
    with kit.Cloud(tmp_path) as cloud:
        mains, sleeper = (cloud.add(name, os.urandom(32), []) for name in ("mains", "sleeper"))
        node, other = kit.MqttNode(cloud.state["mqtt"], mains), kit.MqttNode(cloud.state["mqtt"], sleeper)
        node.connect()
        node.born(1, 1, [(A, 1, 1), (F, 1, 1)], next_contact=1)
        other.connect()
        other.born(1, 1, [(A, 1, 1), (F, 1, 1)], next_contact=1)
        other.close()
        asked = node.command(wait_s=10)
        assert asked["op"] == REPORT
        db = sqlite3.connect(cloud.data / "cloud.sqlite3")
        heard = "SELECT heard_ms FROM node WHERE name = 'mains'"
        (before,) = db.execute(heard).fetchone()
        payload = kit.event_payload(6, kit.result_body(asked["id"], REPORT, 2, b""), 1, 0, 200_000_000, 2)
        node.publish("e", mains.data(1, A, 1, payload))
        kit.wait_for(lambda: db.execute(heard).fetchone()[0] > before, "the answer")
        db.close()
        other.connect()
        other.born(1, 2, [(A, 1, 1), (F, 1, 1)], next_contact=HOUR)
        assert other.command()["op"] == REPORT
        listed = json.loads(kit.command("nodes", "--json", "--data", tmp_path).stdout)
        found = {facts["node"]: facts for facts in listed}["sleeper"]
        assert found["state"] == "expected" and found["silent_s"] < 30 and found["refused"] == 0
        node.close()
        other.close()
