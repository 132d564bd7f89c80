"""The callout service under the real broker: certificate, client id and subjects are one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudkit as kit
import pytest

from cloud import auth, broker, nkey, pki, refusal, serve, store

CHANNELS = [(1, "air.temperature", "degC")]
A, F = 0xAAAA, 0xFFFF


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Cloud]:
    """One running cloud."""
    with kit.Cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


def refusals(cloud: kit.Cloud, node: str | None = None) -> dict[str, int]:
    """What was counted for a node, or for none; those that never came left out."""
    with sqlite3.connect(cloud.data / "cloud.sqlite3") as db:
        found = refusal.counted(db, 0 if node is None else store.node_id(db, node))
    return {reason: count for reason, count in found.items() if count}


def connected(node: kit.MqttNode) -> bool:
    """Whether the broker keeps the connection."""
    try:
        node.hear(0.2)
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


def connected_nodes(cloud: kit.Cloud, count: int) -> list[kit.MqttNode]:
    """Nodes of one tenant, m0 and so on, registered without the command, and connected."""
    db, authority, found = store.connect(cloud.data), pki.Authority(cloud.data), []
    cloud.add("m", os.urandom(32), CHANNELS, tenant="many")
    for number in range(count):
        name, key = f"m{number}", os.urandom(32)
        store.add_node(db, name, "many", key, CHANNELS)
        authority.node(name).write(cloud.data / name)
        found.append(kit.MqttNode(cloud.state["mqtt"], kit.NodeKeys(key, "many", name, cloud.data / name)))
        found[-1].connect()
    db.close()
    return found


def pid_of(cloud: kit.Cloud, child: str) -> int:
    """The present process id of a child."""
    return json.loads((cloud.data / "run.json").read_text())[f"{child}_pid"]


def test_a_jwt_is_what_it_should_be() -> None:
    """The nkey of a known seed, and claims that come back."""
    issuer = nkey.Issuer(bytes(range(32)))
    assert len(issuer.name) == 56 and issuer.name[0] == "A"
    found = nkey.claims(issuer.sign({"sub": "x"}).encode())
    assert (found["sub"], found["iss"]) == ("x", issuer.name)
    for broken in (b"", b"a.b", b"a.!!!.c", b"a.W10.c"):
        with pytest.raises(ValueError):
            nkey.claims(broken)


def test_who_closes_between_two_pages_hides_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker's list is read page by page while connections come and go."""

    class Broker:
        open_ids = list(range(1, 8))

        async def request(self, subject: str, payload: bytes, timeout: float) -> Any:
            asked = json.loads(payload)
            page = self.open_ids[asked["offset"] :][: asked["limit"]]
            data = {"server_id": "s", "total": len(self.open_ids), "connections": [
                {"cid": cid, "type": "mqtt"} for cid in page]}  # fmt: skip
            self.open_ids = self.open_ids[1:]  # the oldest goes
            return SimpleNamespace(data=json.dumps({"data": data}).encode())

    monkeypatch.setattr(auth, "_PAGE", 2)
    service = auth.Auth(sqlite3.connect(":memory:"), nkey.Issuer(bytes(32)), refusal.Tally())
    monkeypatch.setattr(service, "_client", Broker())
    found = {one["cid"] for _, one in asyncio.run(service._connections())}
    assert found >= set(Broker.open_ids[4:]), "one of those that stayed was not seen"


def test_a_locked_database_loses_no_count(tmp_path: Path) -> None:
    """It is written when the lock is gone; an unknown name counts for none."""
    db = store.connect(tmp_path, create=True)
    store.add_node(db, "n1", "acme", os.urandom(32), CHANNELS)
    other = sqlite3.connect(store.database_path(tmp_path), isolation_level=None)
    tally = refusal.Tally()
    tally.add("n1", "client_id", "a word")
    tally.add("gone", "client_id", "a word")
    other.execute("BEGIN IMMEDIATE")
    db.execute("PRAGMA busy_timeout = 1")
    taken = tally.take()
    tally.add("n1", "client_id", "a word")
    with pytest.raises(sqlite3.OperationalError):
        taken.write(db, 1)
    tally.put_back(taken)
    other.execute("ROLLBACK")
    other.close()
    tally.take().write(db, 1)
    tally.take().write(db, 1)
    assert refusal.counted(db, store.node_id(db, "n1"))["client_id"] == 2
    assert refusal.counted(db, 0)["client_id"] == 1
    assert db.execute("SELECT kind, text FROM notice").fetchall() == [("refused", "a word")]
    db.close()


def test_what_the_broker_refuses_by_itself(tmp_path: Path) -> None:
    """Told from what the service has refused, by the broker's own lines."""
    db = store.connect(tmp_path, create=True)
    store.add_node(db, "n1", "acme", os.urandom(32), CHANNELS)
    tally = refusal.Tally()
    log = refusal.BrokerLog(tally)
    by_service = [
        '127.0.0.1:1 - mid:27 - "n1" - authentication error - User "x"',
        "Auth callout service returned an error: client_id",
        '127.0.0.1:1 - mid:27 - "n1" - authentication error - User "x"',
        '127.0.0.1:1 - mid:27 - "n1" - unable to connect: authentication error',
    ]
    by_itself = [
        '127.0.0.1:1 - mid:28 - "n1" - authentication error - User "ingest"',
        '127.0.0.1:1 - mid:28 - "n1" - unable to connect: authentication error',
        '127.0.0.1:1 - mid:29 - "n1" - authentication error',
        '127.0.0.1:1 - mid:29 - "n1" - unable to connect: authentication error',
        '127.0.0.1:1 - mid:30 - "n1" - Publish Violation - Subject "v1.acme.n2.up.t"',
        '127.0.0.1:1 - mid:30 - "n1" - Subscription Violation - Subject "v1.acme.n2.dn.*", SID x',
    ]
    for line in by_service + by_itself:
        log.line(line, broker.SERVICE_USERS)
    tally.take().write(db, 1)
    found = [{key: count for key, count in refusal.counted(db, node).items() if count} for node in (0, 1)]
    assert found == [{"service_user": 1, "unanswered": 1}, {"subject": 2}]
    db.close()


def test_another_nodes_client_id_is_refused_and_the_victim_stays(cloud: kit.Cloud) -> None:
    """Counted for the thief and told of it; with an id of nobody's, too."""
    victim, thief = (cloud.add(name, os.urandom(32), CHANNELS) for name in ("victim", "thief"))
    node, other = kit.MqttNode(cloud.state["mqtt"], victim), kit.MqttNode(cloud.state["mqtt"], thief)
    node.connect()
    node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    for client_id in ("victim", "victim", "invented"):
        with pytest.raises(ConnectionError, match="CONNACK 20 0005"):
            other.connect(client_id=client_id)
    assert connected(node)
    other.connect()
    other.publish("t", b"x", topic="v1/acme/victim/up/t")
    other.publish("t", b"x", topic="v1/acme/thief/up/x")
    kit.wait_for(lambda: refusals(cloud, "thief") == {"client_id": 3, "subject": 2}, "what the thief did")
    assert refusals(cloud, "victim") == {}
    told = [event["text"] for event in cloud.query("alerts", "thief", "--json")]
    assert sorted(told) == [
        "its certificate came with a client id of no node", "its certificate came with the client id of victim",
        "published or subscribed what is not its own",
    ]  # fmt: skip
    assert connected(node) and connected(other)
    node.close()
    other.close()


def test_a_flood_of_refusals_disturbs_nobody(cloud: kit.Cloud) -> None:
    """All are counted, and meanwhile each frame of another node is acknowledged in time."""
    quiet, noisy = (cloud.add(name, os.urandom(32), CHANNELS) for name in ("quiet", "noisy"))
    node, other = kit.MqttNode(cloud.state["mqtt"], quiet), kit.MqttNode(cloud.state["mqtt"], noisy)
    node.connect()
    node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    ended = threading.Event()

    def flood() -> None:
        for _ in range(100):
            with suppress(OSError):
                other.connect(client_id="quiet")
        ended.set()

    thread = threading.Thread(target=flood)
    thread.start()
    seq = 0
    while not ended.is_set():
        seq += 1
        frame = kit.frame_payload(seq, 1, kit.codec_frame([(1, -2)], [(200_000_000 + seq, [1])]))
        node.publish("t", quiet.data(2, F, seq, frame))
        node.ack(lambda ack: ack[2]["cum"] == seq, wait_s=2)  # noqa: B023
    thread.join()
    assert seq > 1
    kit.wait_for(lambda: refusals(cloud, "noisy") == {"client_id": 100}, "all that was refused")
    node.close()


def test_who_is_still_shaking_hands_is_left_alone(cloud: kit.Cloud) -> None:
    """A board's handshake takes seconds; that others are added and revoked meanwhile is nothing to it."""
    keys = cloud.add("slow", os.urandom(32), CHANNELS)
    node = kit.MqttNode(cloud.state["mqtt"], keys)

    def meanwhile() -> None:
        cloud.add("gone", os.urandom(32), CHANNELS)
        assert kit.command("revoke", "gone", "--data", cloud.data).returncode == 0

    node.connect(before_handshake=meanwhile)
    assert connected(node)
    node.close()


def test_others_are_counted_by_reason(cloud: kit.Cloud, tmp_path: Path) -> None:
    """Not registered, revoked, with a user name, with one of the cloud's own."""
    before = refusals(cloud)
    pki.Authority(cloud.data).node("nobody").write(tmp_path / "nobody")
    keys = cloud.add("leaver", os.urandom(32), CHANNELS)
    node = kit.MqttNode(cloud.state["mqtt"], keys)
    with pytest.raises(ConnectionError):
        node.connect(credentials=tmp_path / "nobody")
    for user in ("auth", "leaver"):
        with pytest.raises(ConnectionError):
            node.connect(user=user)
    node.connect()
    assert kit.command("revoke", "leaver", "--data", cloud.data).returncode == 0
    assert not connected(node)
    with pytest.raises(ConnectionError):
        node.connect()
    kit.wait_for(lambda: refusals(cloud, "leaver") == {"revoked": 1, "user_name": 1}, "what was counted")

    def grown() -> dict[str, int]:
        return {reason: count - before.get(reason, 0) for reason, count in refusals(cloud).items()}

    kit.wait_for(lambda: grown() == {"unknown": 1, "service_user": 1}, "what was counted for none")


def test_while_the_service_is_away_nobody_new_comes_in_and_nobody_goes(tmp_path: Path) -> None:
    """Connected nodes go on, and the refusal is counted; afterwards all is as before.

    A new tenant, for which the broker must load its configuration, waits for the service and disconnects nobody.
    """
    with kit.Cloud(tmp_path) as cloud:
        first, second = (cloud.add(name, os.urandom(32), CHANNELS) for name in ("first", "second"))
        node, other = kit.MqttNode(cloud.state["mqtt"], first), kit.MqttNode(cloud.state["mqtt"], second)
        node.connect()
        node.born(1, 1, [(A, 1, 1), (F, 1, 3)])
        os.kill(pid_of(cloud, "auth"), signal.SIGSTOP)
        key, credentials = os.urandom(32), tmp_path / "handed out" / "third"
        options = ("--tenant", "other", "--key", key.hex(), "--credentials", credentials, "--data", tmp_path)
        adding = threading.Thread(target=kit.command, args=("add", "third", *options))
        try:
            adding.start()
            started = time.monotonic()
            with pytest.raises(OSError):
                other.connect()
            assert time.monotonic() - started < kit.WAIT_S
            frame = kit.frame_payload(1, 1, kit.codec_frame([(1, -2)], [(200_000_000, [1])]))
            node.publish("t", first.data(2, F, 1, frame))
            node.ack(lambda ack: ack[2]["cum"] == 1)
            # Longer than the broker would wait for the service's word on each node, did it load anything now.
            time.sleep(max(0, started + 4 - time.monotonic()))
            assert connected(node)
        finally:
            os.kill(pid_of(cloud, "auth"), signal.SIGCONT)
        adding.join(30)
        third = kit.MqttNode(cloud.state["mqtt"], kit.NodeKeys(key, "other", "third", credentials))
        third.persist()
        third.born(1, 1, [(A, 1, 1), (F, 1, 1)])
        assert connected(node)
        third.close()
        other.persist()
        kit.wait_for(lambda: refusals(cloud).get("unanswered"), "what was counted")
        node.publish("t", first.data(2, F, 2, frame))
        node.ack(lambda ack: ack[2]["cum"] == 2)
        os.kill(pid_of(cloud, "auth"), signal.SIGKILL)
        other.persist()
        assert connected(node)
        node.close()
        other.close()


@pytest.mark.parametrize("victim", ["broker", "auth"])
def test_a_new_tenant_is_admitted_though_a_process_dies_over_it(tmp_path: Path, victim: str) -> None:
    """Killed just when it was to take the news: whoever is started in its place has it, and `add` says so."""
    with kit.Cloud(tmp_path / "data") as cloud:
        nodes = connected_nodes(cloud, 20)
        config, old = broker.config_path(cloud.data), pid_of(cloud, victim)
        key, credentials, done = os.urandom(32), tmp_path / "handed out", []
        options = ("--tenant", "late", "--key", key.hex(), "--credentials", credentials, "--data", cloud.data)
        adding = threading.Thread(target=lambda: done.append(kit.command("add", "n1", *options)))
        if victim == "auth":
            os.kill(old, signal.SIGSTOP)
        adding.start()
        try:
            if victim == "auth":
                kit.wait_for((credentials / "pkey").exists, "the registration")
                time.sleep(0.3)
            else:
                # At once when its new configuration lies there: it is told in a moment, and has 20 nodes to ask about.
                before, deadline = config.stat().st_ino, time.monotonic() + kit.WAIT_S
                while config.stat().st_ino == before:
                    assert time.monotonic() < deadline
        finally:
            os.kill(old, signal.SIGKILL)
        adding.join(30)
        assert (done[0].returncode, done[0].stderr) == (0, "")
        node = kit.MqttNode(cloud.state["mqtt"], kit.NodeKeys(key, "late", "n1", credentials))
        node.persist()
        node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
        node.close()
        started = time.monotonic()
        cloud.add("n2", os.urandom(32), CHANNELS, tenant="later")
        assert time.monotonic() - started < 4
        for each in nodes:
            each.close()


def test_many_tenants_at_once_on_a_running_cloud(tmp_path: Path) -> None:
    """Each is admitted within the time of one, although the registry grows while the broker loads the one before."""
    with kit.Cloud(tmp_path) as cloud:
        node = kit.MqttNode(cloud.state["mqtt"], cloud.add("first", os.urandom(32), CHANNELS))
        node.connect()
        took = list[float]()

        def admit(number: int) -> None:
            db = store.connect(tmp_path)
            for index in range(10):
                started = time.monotonic()
                version = store.add_node(db, f"n{number}-{index}", f"t{number}-{index}", os.urandom(32), CHANNELS)
                if serve.announce(tmp_path, version):
                    took.append(time.monotonic() - started)
            db.close()

        threads = [threading.Thread(target=admit, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(took) == 40
        assert sorted(took)[20] < 1 and max(took) < 5
        assert connected(node)
        node.close()
