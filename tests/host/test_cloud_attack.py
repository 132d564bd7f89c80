"""A running cloud under attack: what is not right is refused, counted and reported; nothing is lost, and a node that
does no wrong notices nothing of it.

Whose certificate, client id and subjects are refused is shown in test_cloud_auth.py and test_cloud_tls.py; what the
node refuses in tests/device (test_wire, test_node_commands, test_mqtt_attack) and test_chip_tls.py.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import struct
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timezone
from pathlib import Path

import cloudkit as kit
import nats
import pytest

from cloud import broker, ingest, pki, refusal, store

CHANNELS = [(1, "air.temperature", "degC")]
A, F = 0xAAAA, 0xFFFF


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Cloud]:
    """One running cloud, with its page."""
    with kit.Cloud(tmp_path_factory.mktemp("cloud"), "--web", "127.0.0.1:0") as running:
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


def counters(cloud: kit.Cloud, name: str) -> dict[str, int]:
    """The counters of a node that are not 0."""
    found = cloud.query("cursors", name, "--json")["counters"]
    return {name: count for name, count in found.items() if count}


def metric(cloud: kit.Cloud, name: str, reason: str) -> int:
    """What Prometheus is told of a node's irregular messages."""
    with urllib.request.urlopen(f"http://{cloud.state['web']}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    line = re.search(
        rf'^fieldnode_irregular_messages_total{{(?=[^}}]*node="{name}")(?=[^}}]*reason="{reason}")[^}}]*}} ([\d.]+)',
        text, re.MULTILINE,
    )  # fmt: skip
    return int(float(line[1])) if line else 0


def notices(cloud: kit.Cloud, name: str) -> set[str]:
    """The kinds of what is told about a node."""
    return {event["kind"] for event in cloud.query("alerts", name, "--json")}


def seqs(cloud: kit.Cloud, name: str) -> list[int]:
    """The frames of a node in the database, one for each row."""
    with closing(sqlite3.connect(cloud.data / "cloud.sqlite3")) as db:
        return [seq for (seq,) in db.execute(
            "SELECT seq FROM record JOIN cursor ON cursor.id = record.cursor JOIN node ON node.id = node"
            " WHERE ring = 2 AND name = ? ORDER BY seq", (name,),
        )]  # fmt: skip


def refused(cloud: kit.Cloud, name: str | None) -> dict[str, int]:
    """What was refused of a node, or of none of ours, by reason."""
    with closing(sqlite3.connect(cloud.data / "cloud.sqlite3")) as db:
        found = refusal.counted(db, 0 if name is None else store.node_id(db, name))
    return {reason: count for reason, count in found.items() if count}


class Bystander:
    """A node that does no wrong: the same connection all the time, an alarm now and then, `worst_s` until its ACK."""

    def __init__(self, cloud: kit.Cloud, name: str) -> None:
        self.node = node_of(cloud, name)
        self.node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
        self.sent = 0
        self.worst_s = 0.0

    def alarms(self, count: int, pause_s: float = 0.0) -> None:
        """Raise alarms, one after another."""
        for _ in range(count):
            self.sent += 1
            began = time.monotonic()
            self.node.publish("a", self.node.keys.data(1, A, self.sent, alarm(self.sent)))
            self.node.ack(lambda ack: ack[1]["cum"] >= self.sent)
            self.worst_s = max(self.worst_s, time.monotonic() - began)
            time.sleep(pause_s)


@pytest.fixture(scope="module")
def bystander(cloud: kit.Cloud) -> Bystander:
    return Bystander(cloud, "bystander")


@pytest.fixture(autouse=True)
def undisturbed(bystander: Bystander) -> Iterator[None]:
    """After each attack the bystander is as it was, on its old connection."""
    yield
    bystander.alarms(1)


# What a message can be

Attack = Callable[[kit.MqttNode, bytes], tuple[str, bytes]]


def _forged(message: bytes) -> bytes:
    return message[:-1] + bytes([message[-1] ^ 1])


def _other_seq(node: kit.MqttNode, stranger: bytes) -> tuple[str, bytes]:
    message = node.keys.data(2, F, 2, payload(2))
    return "t", message[:6] + struct.pack("<I", 3) + message[10:]


def _of_another_name(node: kit.MqttNode, stranger: bytes) -> tuple[str, bytes]:
    keys = kit.NodeKeys(node.keys.key, node.keys.tenant, "somebody")
    return "t", keys.data(2, F, 2, payload(2))


def _gap(node: kit.MqttNode) -> bytes:
    return node.keys.data(1, A, 1, kit.event_payload(5, kit.gap_body(2, 1, 100, 1, 100), 1))


# Name: lane and message, and how it is counted.
MESSAGES: dict[str, tuple[Attack, str]] = {
    "forged birth": (
        lambda node, _: ("s", _forged(node.keys.birth(2, 1, [(A, 1, 1), (F, 1, 1)], nonce=b"attacker"))), "bad_tag"),
    "forged data": (lambda node, _: ("t", _forged(node.keys.data(2, F, 2, payload(2)))), "bad_tag"),
    "data under another seq": (_other_seq, "bad_tag"),
    "data sealed by another node": (lambda _, stranger: ("t", stranger), "bad_tag"),
    "data sealed for another name": (_of_another_name, "bad_tag"),
    "forged gap": (lambda node, _: ("e", _forged(_gap(node))), "bad_tag"),
    "nothing at all": (lambda node, _: ("t", b""), "bad_tag"),
    "oversize data": (lambda node, _: ("t", node.keys.data(2, F, 2, bytes(1007))), "malformed"),
    "data of seq 0": (lambda node, _: ("t", node.keys.data(2, F, 0, payload(2))), "malformed"),
    "frame on the alarms' lane": (lambda node, _: ("a", node.keys.data(2, F, 2, payload(2))), "malformed"),
    "birth of another length": (lambda node, _: ("s", b"\x10\0" + node.keys.tag(b"\x10\0")), "malformed"),
    "replayed data": (lambda node, _: ("t", node.keys.data(2, F, 1, payload(1))), "duplicate"),
    "another content": (lambda node, _: ("t", node.keys.data(2, F, 1, payload(2))), "conflict"),
    "replayed birth": (
        lambda node, _: ("s", node.keys.birth(1, 1, [(A, 1, 1), (F, 1, 9)], nonce=bytes(8))), "stale_birth"),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_that_is_not_right(cloud: kit.Cloud, name: str) -> None:
    """It changes no cursor, no row and no session, and is counted; a wrong tag and an old birth get no answer."""
    attack, reason = MESSAGES[name]
    called = name.replace(" ", "-").replace("'", "")
    node = node_of(cloud, called)
    node.born(1, 1, [(A, 1, 1), (F, 1, 9)])
    node.publish("t", node.keys.data(2, F, 1, payload(1)))
    node.ack(lambda ack: ack[2]["cum"] == 1)
    node.born(1, 2, [(A, 1, 1), (F, 1, 9)])
    stranger = kit.NodeKeys(os.urandom(32), "acme", called).data(2, F, 2, payload(2))
    node.publish(*attack(node, stranger))
    kit.wait_for(lambda: counters(cloud, called) == {reason: 1}, "its counting")
    if reason in ("bad_tag", "stale_birth"):
        with pytest.raises(TimeoutError):
            node.hear(0.3)
    assert seqs(cloud, called) == [1]
    node.publish("t", node.keys.data(2, F, 2, payload(2)))
    said = node.ack(lambda ack: ack[2]["cum"] == 2)
    assert said[2] == {"stream": F, "cum": 2, "credit": 12, "ranges": []}
    state = cloud.query("cursors", called, "--json")
    assert [gap for ring in "12" for gap in state.get(ring, {"gaps": []})["gaps"]] == []
    assert metric(cloud, called, reason) == 1
    assert notices(cloud, called) == ({reason} if reason in ("conflict", "malformed") else set())
    node.close()


def test_a_clone_is_told(cloud: kit.Cloud) -> None:
    """Two chips under one name, each with a ring of its own: both are heard, and somebody is told."""
    node = node_of(cloud, "cloned")
    node.born(1, 1, [(A, 1, 1), (F, 1, 9)], chip=1)
    node.publish("t", node.keys.data(2, F, 1, payload(1)))
    node.ack(lambda ack: ack[2]["cum"] == 1)
    other = kit.MqttNode(cloud.state["mqtt"], node.keys)
    other.persist()  # the broker knows one connection of a client id
    other.born(1, 1, [(A + 1, 1, 1), (F + 1, 1, 9)], chip=2)
    other.publish("t", other.keys.data(2, F + 1, 1, payload(2)))
    assert other.ack(lambda ack: ack[2]["cum"] == 1)[2]["stream"] == F + 1
    assert seqs(cloud, "cloned") == [1, 1]
    assert notices(cloud, "cloned") == {"two_chips"}
    other.close()
    node.close()


# What a connection can be

def _ended_by(node: kit.MqttNode, octets: bytes) -> bool:
    """Write bytes into the node's TLS connection; whether the broker ends it within two seconds."""
    sock = node._socket
    assert sock is not None
    try:
        sock.sendall(octets)
        sock.settimeout(2)
        while sock.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


PACKETS = {
    "not a packet": b"GET / HTTP/1.1\r\n\r\n",
    "a length without an end": b"\x30\xff\xff\xff\xff\xff",
    "a second CONNECT": b"\x10\x0d\0\4MQTT\4\2\0\x3c\0\1x",
    "a reserved type": b"\xf0\0",
    "a topic beyond the packet": b"\x30\x04\x00\xff\x00\x00",
    "more than the broker takes": b"\x30\x80\x80\x08" + b"\0\6v1/x/y" + bytes(131072 - 8),
}


@pytest.mark.parametrize("name", PACKETS)
def test_a_packet_that_is_not_right_ends_its_connection_only(cloud: kit.Cloud, name: str) -> None:
    """The node that sent it may come again at once."""
    called = name.replace(" ", "-").lower()
    node = node_of(cloud, called)
    node.born(1, 1, [(A, 1, 1), (F, 1, 2)])
    assert _ended_by(node, PACKETS[name])
    node.persist()
    node.born(1, 2, [(A, 1, 1), (F, 1, 2)])
    node.publish("t", node.keys.data(2, F, 1, payload(1)))
    node.ack(lambda ack: ack[2]["cum"] == 1)
    node.close()


def test_an_expired_certificate_is_refused(cloud: kit.Cloud, tmp_path: Path) -> None:
    """Of our own CA, the node's own name, and over."""
    node = node_of(cloud, "expired")
    assert node.keys.credentials
    pki.Authority(cloud.data, datetime(2004, 1, 1, tzinfo=timezone.utc)).node("expired").write(tmp_path / "old")
    stranger = kit.MqttNode(cloud.state["mqtt"], node.keys)
    with pytest.raises(OSError, match="(?i)expired|closed|reset|EOF|pipe"):
        stranger.connect(credentials=tmp_path / "old")
    log = cloud.data / "cloud.log"
    kit.wait_for(lambda: re.search("TLS handshake error.*expired", log.read_text()), "the broker's word about it")
    node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    node.close()


# What the broker writes down

def test_a_topic_of_64_kib(cloud: kit.Cloud) -> None:
    """The broker logs the whole of it in one line."""
    node = node_of(cloud, "long-winded")
    before = cloud.children()
    node.publish("t", b"x", topic="v1/" + 65500 * "x")
    kit.wait_for(lambda: refused(cloud, "long-winded") == {"subject": 1}, "its counting")
    assert cloud.children() == before and all(map(kit.alive, (*before, cloud.state["pid"])))
    node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    node.close()


@pytest.mark.parametrize(("user", "client_id"), [("\x01" * 60000, None), (None, "y" * 65000)])
def test_a_revoked_node_with_a_name_of_60_kb(cloud: kit.Cloud, user: str | None, client_id: str | None) -> None:
    """One CONNECT of four times as much in the broker's log; whoever comes after it is counted as what he is."""
    called = "leaver-by-user" if user else "leaver-by-id"
    node, other = node_of(cloud, called), node_of(cloud, f"{called}-too")
    before = cloud.children()
    assert kit.command("revoke", called, "--data", cloud.data).returncode == 0
    with pytest.raises(OSError):
        node.connect(user=user, client_id=client_id)
    kit.wait_for(lambda: refused(cloud, called) == {"revoked": 1}, "its counting")
    already = refused(cloud, None).get("service_user", 0)
    with pytest.raises(OSError):
        other.connect(user="ingest")
    kit.wait_for(lambda: refused(cloud, None).get("service_user", 0) == already + 1, "the counting of another")
    assert cloud.children() == before and all(map(kit.alive, (*before, cloud.state["pid"])))
    other.persist()
    other.close()


def test_what_is_counted_fills_no_log(cloud: kit.Cloud) -> None:
    """Thousands of refused messages, short ones and long ones: all are counted, none has a line."""
    node, log = node_of(cloud, "scribbler"), cloud.data / "cloud.log"
    before = log.stat().st_size
    for _ in range(3000):
        node.publish("t", b"x", topic="v1/acme/victim/up/t")
    for _ in range(50):
        node.publish("t", b"x", topic="v1/" + 60000 * "y")
    kit.wait_for(lambda: refused(cloud, "scribbler") == {"subject": 3050}, "their counting")
    assert log.stat().st_size - before < 1000
    node.close()


# Too much of it

def test_a_flood_leaves_the_others_their_time(cloud: kit.Cloud, bystander: Bystander) -> None:
    """A node that sends as fast as it can, authentic frames and junk on all its lanes: another's alarms are in within
    a second each, and it is still heard itself.
    """
    node = node_of(cloud, "flooder")
    node.born(1, 1, [(A, 1, 1), (F, 1, 9)])
    junk = _forged(node.keys.data(1, A, 1, alarm(1)))
    full = node.keys.data(2, F, 1, payload(1))
    stop = threading.Event()
    flooded = [0]

    def flood() -> None:
        while not stop.is_set():
            with suppress(OSError):
                for lane in "saetb":
                    for _ in range(20):
                        node.publish(lane, full if lane in "tb" else junk)
                        flooded[0] += 1

    before, bystander.worst_s = bystander.sent, 0.0
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        bystander.alarms(30, 0.1)
    finally:
        stop.set()
        thread.join(10)
    assert bystander.sent == before + 30 and bystander.worst_s < 1.0, bystander.worst_s
    counted = counters(cloud, "flooder")
    assert flooded[0] > 5000 and counted["bad_tag"] > 100 and counted["duplicate"] > 100, (flooded, counted)
    assert metric(cloud, "flooder", "bad_tag") >= counted["bad_tag"]
    node.persist()
    node.born(1, 2, [(A, 1, 1), (F, 1, 9)])
    node.publish("t", node.keys.data(2, F, 2, payload(2)))
    node.ack(lambda ack: ack[2]["cum"] == 2)
    assert seqs(cloud, "flooder") == [1, 2]
    node.close()


def waiting(cloud: kit.Cloud) -> dict[str, int]:
    """Subject -> messages that the broker holds."""
    port = json.loads(broker.config_path(cloud.data).read_text())["listen"].rpartition(":")[2]

    async def ask() -> dict[str, int]:
        client = await nats.connect(
            f"nats://127.0.0.1:{port}", user=broker.INGEST_USER, password=broker.ingest_password(cloud.data)
        )
        try:
            wanted = json.dumps({"subjects_filter": ">"}).encode()
            reply = await client.request(f"$JS.API.STREAM.INFO.{ingest.STREAM}", wanted, timeout=2)
            return json.loads(reply.data)["state"].get("subjects") or {}
        finally:
            await client.close()

    return asyncio.run(ask())


def test_the_broker_keeps_32_of_each_subject_and_refuses_what_is_newer(cloud: kit.Cloud) -> None:
    """While ingest stands still: the flooder has its share and no more, another node's message has its place."""
    flooder, other = node_of(cloud, "greedy"), node_of(cloud, "modest")
    for node in (flooder, other):
        node.born(1, 1, [(A, 1, 9), (F, 1, 600)])
    kit.wait_for(lambda: not waiting(cloud), "an empty stream")
    worker = cloud.children()[1]
    os.kill(worker, signal.SIGSTOP)
    try:
        for seq in range(1, 501):
            flooder.publish("t", flooder.keys.data(2, F, seq, payload(seq)))
        other.publish("t", other.keys.data(2, F, 1, payload(1)))
        other.publish("a", other.keys.data(1, A, 1, alarm(1)))
        there = kit.wait_for(lambda: (found := waiting(cloud)) and len(found) == 3 and found, "what was sent")
        assert there == {"v1.acme.greedy.up.t": 32, "v1.acme.modest.up.t": 1, "v1.acme.modest.up.a": 1}
    finally:
        os.kill(worker, signal.SIGCONT)
    other.ack(lambda ack: ack[1]["cum"] == 1 and ack[2]["cum"] == 1)
    kit.wait_for(lambda: len(seqs(cloud, "greedy")) == 32, "the flooder's share")
    assert seqs(cloud, "greedy") == list(range(1, 33))  # the oldest are kept: cum goes on without a hole
    flooder.publish("t", flooder.keys.data(2, F, 33, payload(33)))
    flooder.ack(lambda ack: ack[2]["cum"] == 33)
    flooder.close()
    other.close()
