"""Commands in the cloud: how they wait, are sealed for a session, and end; by functions, and as processes that die."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudkit as kit
import pytest

from cloud import downlink, query, store, transaction
from cloud.clock import EPOCH_2020
from cloud.web import metrics

KEYS = kit.NodeKeys(bytes(range(32)), "acme", "n1")
A, F = 0xAAAA, 0xFFFF
NOW_S = 200_000_000
NOW_MS = (EPOCH_2020 + NOW_S) * 1000
READ, IDENTIFY = 1, 6


class Site:
    """A database with node n1, and what the node sends; `at` seconds after NOW_MS."""

    def __init__(self, folder: Path) -> None:
        self.db = store.connect(folder, create=True)
        store.add_node(self.db, "n1", "acme", KEYS.key, [])
        self.conn = 0
        self.events = 0
        self.nonce = b""

    def take(self, lane: str, message: bytes, at: float) -> int:
        """Commit a message; return the flags of the ACK."""
        now_ms = NOW_MS + int(at * 1000)
        transaction.take(self.db, [transaction.Arrival("acme", "n1", lane, message, now_ms)])
        opened = KEYS.open_ack(transaction.ack(self.db, "n1", now_ms) or b"", self.nonce)
        assert opened
        return opened["flags"]

    def born(self, at: float, last_cmd: int = 0, untold: int = 0) -> int:
        """A birth; `untold` events lie in ring A that are not here yet. Returns the flags of its ACK."""
        self.conn += 1
        self.nonce = KEYS.nonce(1, self.conn, bytes(16))
        rings = [(A, 1, self.events + untold + 1), (F, 1, 1)]
        return self.take("s", KEYS.birth(1, self.conn, rings, nonce=self.nonce, last_cmd=last_cmd), at)

    def result(self, at: float, number: int, status: int, detail: bytes = b"", op: int = READ) -> int:
        """A result; returns the flags of its ACK."""
        self.events += 1
        payload = kit.event_payload(6, kit.result_body(number, op, status, detail), 1, 0, NOW_S + int(at), 2)
        return self.take("e", KEYS.data(1, A, self.events, payload), at)

    def send(self, at: float, op: int = READ, ttl_s: int = 3600, args: bytes = b"") -> int:
        """As the command does."""
        return downlink.enqueue(self.db, "n1", op, args, ttl_s, NOW_MS + int(at * 1000))

    def offer(self, at: float) -> downlink.Sealed | None:
        """As the control worker does for a node that listens."""
        now_ms = NOW_MS + int(at * 1000)
        with store.transaction(self.db):
            downlink.settle(self.db, "n1", now_ms)
            sealed = downlink.seal_next(self.db, "n1", now_ms)
            if sealed:
                downlink.mark_sent(self.db, "n1", sealed, now_ms)
        return sealed

    def statuses(self) -> list[str]:
        """Of all commands, by id."""
        return [command.status for command in downlink.commands(self.db, "n1")]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A fresh database."""
    made = Site(tmp_path)
    yield made
    made.db.close()


def test_one_at_a_time_in_order_and_each_sealed_for_its_session(site: Site) -> None:
    assert site.born(0) == 0
    first, second = site.send(10), site.send(10, IDENTIFY, 30, b"\x05")
    assert (first, second) == (NOW_S + 10, NOW_S + 11)
    assert site.born(20) == 4
    sealed = site.offer(20)
    assert sealed and sealed.subject == "v1.acme.n1.dn.cmd"
    assert sealed.message == KEYS.command(site.nonce, first, 3590, READ)
    assert site.statuses() == ["sent", "waiting"]
    site.born(30)  # the connection broke before the node had it
    again = site.offer(30)
    assert again and again.message == KEYS.command(site.nonce, first, 3580, READ) and again.message != sealed.message
    assert site.result(31, first, 2, b"row 5: 1.0") == 4
    sealed = site.offer(31)
    assert sealed and sealed.message == KEYS.command(site.nonce, second, 10, IDENTIFY, b"\x05")
    assert site.result(32, second, 4, b"no light", IDENTIFY) == 0
    assert site.offer(32) is None and site.statuses() == ["done", "refused"]
    command = downlink.commands(site.db, "n1")[0]
    assert (command.detail, command.answered_ms) == ("row 5: 1.0", NOW_MS + 31000)


def test_nothing_more_while_one_is_begun(site: Site) -> None:
    first, second = site.send(0, 3), site.send(0)
    site.born(1)
    assert site.offer(1)
    site.result(2, first, 1, op=3)
    assert site.statuses() == ["begun", "waiting"] and site.offer(2) is None
    assert site.born(60, last_cmd=first, untold=1) == 4
    sealed = site.offer(60)
    assert sealed and sealed.id == second
    site.result(61, first, 2, op=3)
    site.result(62, first, 1, op=3)  # resent, from before
    assert site.statuses() == ["done", "sent"]


def test_a_node_that_listened_unknown_to_the_cloud_was_sent_it(site: Site) -> None:
    site.born(0)
    number = site.send(1)
    site.result(3, number, 2)  # control published it in case, and nothing told that anybody would hear it
    command = downlink.commands(site.db, "n1")[0]
    assert (command.status, command.sent_ms, command.answered_ms) == ("done", NOW_MS + 3000, NOW_MS + 3000)


def test_expiry(site: Site) -> None:
    """By the cloud only where it is certain that the node never took it."""
    site.born(0)
    never, late = site.send(1, ttl_s=5), site.send(2, ttl_s=600)
    assert site.born(30) == 4
    sealed = site.offer(30)
    assert sealed and sealed.id == late and site.statuses() == ["expired", "sent"]
    site.offer(5000)
    assert site.statuses() == ["expired", "sent"], "the node may have it"
    assert site.born(7200, last_cmd=0) == 0
    assert site.offer(7200) is None and site.statuses() == ["expired", "expired"]
    site.result(7201, late, 5)
    site.result(7202, never, 5)
    assert site.statuses() == ["expired", "expired"]


def test_a_lost_result_becomes_unknown_and_a_late_one_counts(site: Site) -> None:
    number = site.send(0)
    site.born(1)
    site.offer(1)
    assert site.born(60, last_cmd=number, untold=1) == 0, "the node must not stay awake for what it has taken"
    site.offer(61)
    assert site.statuses() == ["sent"], "its result may be in ring A"
    site.events += 1
    site.take("e", KEYS.data(1, A, 1, kit.event_payload(2, b"\0\1", 1, 0, NOW_S, 2)), 62)
    site.offer(63)
    assert site.statuses() == ["unknown"]
    site.result(64, number, 2)
    assert site.statuses() == ["done"]


def test_ids_grow_over_the_loss_of_the_database(site: Site, tmp_path: Path) -> None:
    """Two commands, a backup between them, and the database of before: no id comes twice, nothing is done twice."""
    before = site.send(0)
    site.born(1)
    with sqlite3.connect(tmp_path / "backup") as copy:
        site.db.backup(copy)
    copy.close()
    site.offer(1)
    site.result(2, before, 2)
    lost = site.send(3)
    restored = sqlite3.connect(tmp_path / "backup", isolation_level=None)
    old_db, site.db = site.db, restored
    fresh = site.send(60)
    assert fresh > lost > before
    site.events = 0
    assert site.born(61, last_cmd=lost, untold=2) == 4
    sealed = site.offer(61)
    assert sealed and sealed.id == fresh, "an id that the node has taken is not offered again"
    site.result(62, before, 2)
    site.result(63, lost, 2)
    assert [(c.id, c.status) for c in downlink.commands(site.db, "n1")] == [
        (before, "done"), (lost, "done"), (fresh, "sent")
    ]  # fmt: skip
    site.born(70, last_cmd=0xFFFFFFF0)
    assert site.send(71) == 0xFFFFFFF1, "whatever the cloud's clock says"
    old_db.close()


def test_what_cannot_be_sent(site: Site) -> None:
    for op, args, ttl_s in ((0, b"", 60), (256, b"", 60), (1, bytes(65), 60), (1, b"", 0), (1, b"", 10**9)):
        with pytest.raises(store.StoreError):
            downlink.enqueue(site.db, "n1", op, args, ttl_s, NOW_MS)
    for _ in range(downlink.MOST_WAITING):
        site.send(0)
    with pytest.raises(store.StoreError, match="wait"):
        site.send(0)
    store.revoke_node(site.db, "n1")
    with pytest.raises(store.StoreError, match="revoked"):
        site.send(0)
    assert len(set(command.id for command in downlink.commands(site.db, "n1"))) == downlink.MOST_WAITING


def test_a_revoked_node_gets_nothing(site: Site) -> None:
    site.born(0)
    site.send(1)
    store.revoke_node(site.db, "n1")
    assert downlink.seal_next(site.db, "n1", NOW_MS) is None


def test_forged_results_change_nothing(site: Site) -> None:
    """Another key, another node's, a replay into another stream's place; an authentic one with nonsense in it."""
    number = site.send(0)
    site.born(1)
    site.offer(1)
    payload = kit.event_payload(6, kit.result_body(number, READ, 2), 1, 0, NOW_S, 2)
    thief = kit.NodeKeys(bytes(32), "acme", "n1")
    other = kit.NodeKeys(KEYS.key, "acme", "n2")
    for keys in (thief, other):
        site.take("e", keys.data(1, A, 1, payload), 2)
    assert site.statuses() == ["sent"] and query.cursors(site.db, "n1")["counters"]["bad_tag"] == 2
    site.take("e", KEYS.data(1, A, 1, kit.event_payload(6, struct.pack("<IB", number, READ))), 3)
    site.take("e", KEYS.data(1, A, 2, payload + bytes(65)), 4)
    assert site.statuses() == ["sent"] and query.cursors(site.db, "n1")["counters"]["undecodable"] == 2


def test_results_are_told_as_events(site: Site) -> None:
    site.born(0)
    site.result(0, 0, 4, b"tag 3", 0)
    site.result(1, 9, 2, b"row 5: 1.0")
    told = query.alerts(site.db, "n1")
    assert [event["text"] for event in told] == [
        "messages refused that were no commands: tag 3", "command 9 read: done (row 5: 1.0)"
    ]  # fmt: skip
    assert (told[1]["kind"], told[1]["id"], told[1]["status"], told[1]["detail"]) == ("result", 9, 2, "row 5: 1.0")


def test_metrics_tell_what_became_of_commands(site: Site) -> None:
    def values() -> dict[tuple[str, str], float]:
        families = metrics._Nodes(site.db, NOW_MS + 60000, 0).collect()
        samples = [each for family in families for each in family.samples if "command" in each.name]
        return {(each.name.removeprefix("fieldnode_"), each.labels.get("status", "")): each.value for each in samples}

    assert values() == {("oldest_command_age_seconds", ""): 0}
    site.born(0)
    done, _, _ = site.send(10), site.send(20), site.send(30, ttl_s=5)
    site.result(11, done, 2)
    site.offer(40)
    expected = {("commands", "done"): 1, ("commands", "sent"): 1, ("commands", "expired"): 1}
    assert values() == expected | {("oldest_command_age_seconds", ""): 40}


# As processes


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Cloud]:
    """One running cloud; each test adds a node of its own."""
    with kit.Cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


def node_of(cloud: kit.Cloud, name: str) -> kit.MqttNode:
    """A registered node, connected."""
    node = kit.MqttNode(cloud.state["mqtt"], cloud.add(name, os.urandom(32), [(1, "air.temperature", "degC")]))
    node.connect()
    return node


def answer(node: kit.MqttNode, seq: int, number: int, status: int, detail: bytes = b"") -> None:
    """A result, as event `seq`."""
    node.publish("e", node.keys.data(1, A, seq, kit.event_payload(6, kit.result_body(number, READ, status, detail))))


def sent(cloud: kit.Cloud, name: str, *words: str) -> dict[str, Any]:
    """`send --json`."""
    return cloud.query("send", name, *words, "--json")


def test_a_sleeper_gets_it_at_its_next_contact(cloud: kit.Cloud) -> None:
    """Through the commands, broker, ingest and control; the time from the ACK to the CMD is no wait of ours."""
    node = node_of(cloud, "sleeper")
    node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    node.close()
    command = sent(cloud, "sleeper", "read")
    assert command["status"] == "waiting"
    time.sleep(0.4)
    assert cloud.query("node", "sleeper", "--json")["commands"][0]["status"] == "waiting", "nobody listens"
    node.connect()
    assert node.born(1, 2, [(A, 1, 1), (F, 1, 1)])["flags"] == 4
    start = time.monotonic()
    heard = node.command()
    assert time.monotonic() - start < 1
    assert (heard["id"], heard["op"], heard["args"]) == (command["id"], READ, b"") and 86000 > heard["ttl_s"] > 65000
    answer(node, 1, heard["id"], 2, b"row 2: 1.5")
    assert node.ack(lambda ack: ack[1]["cum"] == 1)["flags"] == 0
    (said,) = cloud.query("node", "sleeper", "--json")["commands"]
    assert (said["status"], said["detail"]) == ("done", "row 2: 1.5")
    assert "read: done (row 2: 1.5)" in kit.command("node", "sleeper", "--data", cloud.data).stdout


def test_a_connected_node_gets_it_at_once_and_send_waits_for_the_result(cloud: kit.Cloud) -> None:
    node = node_of(cloud, "mains")
    node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    line = [sys.executable, "-m", "cloud", "send", "mains", "identify", "3", "--wait", "10", "--data", str(cloud.data)]
    with subprocess.Popen(line, cwd=kit.ROOT, stdout=subprocess.PIPE, text=True) as waiting:
        heard = node.command()
        assert (heard["op"], heard["args"]) == (IDENTIFY, b"\x03")
        answer(node, 1, heard["id"], 2, b"6 blinks")
        said, _ = waiting.communicate(timeout=10)
    assert waiting.returncode == 0 and "done (6 blinks)" in said


def test_commands_follow_one_another_in_one_session(cloud: kit.Cloud) -> None:
    node = node_of(cloud, "busy")
    ids = [sent(cloud, "busy", "read")["id"] for _ in range(4)]
    node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    for seq, number in enumerate(ids, 1):
        assert node.command()["id"] == number
        answer(node, seq, number, 2)
    with pytest.raises(TimeoutError):
        node.command(0.5)


def test_control_is_killed(cloud: kit.Cloud) -> None:
    """kill -9 before and after it has sent: the node is offered it again, in this session or the next."""
    node = node_of(cloud, "stubborn")
    node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    for conn in range(2, 5):
        pid = json.loads((cloud.data / "run.json").read_text())["control_pid"]
        os.kill(pid, signal.SIGKILL)
        number = sent(cloud, "stubborn", "read")["id"]
        kit.wait_for(lambda pid=pid: json.loads((cloud.data / "run.json").read_text())["control_pid"] != pid, "control")
        node.connect()
        node.born(1, conn, [(A, 1, conn), (F, 1, 1)])
        assert node.command()["id"] == number
        answer(node, conn - 1, number, 2)
        node.ack(lambda ack, conn=conn: ack[1]["cum"] == conn - 1)
    assert [said["status"] for said in cloud.query("node", "stubborn", "--json")["commands"]] == ["done"] * 3


def test_nobody_else_hears_or_sends_commands(cloud: kit.Cloud) -> None:
    """A node of the same tenant cannot subscribe another's dn, nor publish there."""
    victim, thief = node_of(cloud, "victim"), node_of(cloud, "thief")
    victim.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    with pytest.raises(ConnectionError, match="SUBACK"):
        kit.MqttNode(cloud.state["mqtt"], thief.keys).connect("v1/acme/victim/dn/cmd")
    thief.connect()
    forged = victim.keys.command(victim.nonce, 1, 60, 3)
    thief.publish("", forged, topic="v1/acme/victim/dn/cmd")
    with pytest.raises((TimeoutError, ValueError)):
        assert victim.command(0.7)["id"] != 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nobody", "read"], "no node 'nobody'"),
        (["plain", "dance"], "no operation 'dance'"),
        (["plain", "read", "now"], "takes no argument"),
        (["plain", "identify", "999"], "identify 999"),
        (["plain", "200", "xyz"], "200 xyz"),
        (["plain", "read", "--ttl", "0"], "--ttl"),
    ],
)
def test_bad_input_is_one_line_and_status_2(cloud: kit.Cloud, words: list[str], says: str) -> None:
    if not store.registration(store.connect(cloud.data), "plain"):
        cloud.add("plain", os.urandom(32), [])
    done = kit.command("send", *words, "--data", cloud.data)
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_wait_that_ends_without_a_result_is_no_success(cloud: kit.Cloud) -> None:
    cloud.add("asleep", os.urandom(32), [])
    done = kit.command("send", "asleep", "read", "--wait", "0.3", "--data", cloud.data)
    assert done.returncode == 1 and "waiting" in done.stdout
