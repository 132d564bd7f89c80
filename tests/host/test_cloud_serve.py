"""The cloud as it is run: a node on a socket, broker and ingest as processes that get killed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cloudkit as kit
import pytest

from cloud import store, wire
from cloud.child import Child
from cloud.log import Log
from cloud.serve import Supervisor

CHANNELS = [(1, "air.temperature", "degC")]
A, F = 0xAAAA, 0xFFFF


def payload(seq: int) -> bytes:
    """A frame with one row."""
    return kit.frame_payload(seq, 1, kit.codec_frame([(1, -2)], [(200_000_000 + 60 * seq, [seq])]))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Cloud]:
    """One running cloud for the tests that leave it in order; each adds a node of its own."""
    with kit.Cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


def node_of(cloud: kit.Cloud, name: str, tenant: str = "acme") -> kit.MqttNode:
    """A registered node, connected."""
    node = kit.MqttNode(cloud.state["mqtt"], cloud.add(name, os.urandom(32), CHANNELS, tenant))
    node.connect()
    return node


def committed(data: Path, name: str) -> set[int]:
    """The seqs of ring 2 that another process sees in the database."""
    with sqlite3.connect(data / "cloud.sqlite3") as db:
        rows = db.execute(
            "SELECT seq FROM record JOIN cursor ON cursor.id = record.cursor JOIN node ON node.id = cursor.node"
            " WHERE ring = 2 AND name = ?",
            (name,),
        ).fetchall()
    return {seq for (seq,) in rows}


def test_birth_data_ack(cloud: kit.Cloud) -> None:
    """A node added while the cloud runs; records are readable when their ACK comes; alerts and events too."""
    node = node_of(cloud, "plain")
    ack = node.born(1, 1, [(A, 1, 3), (F, 1, 4)])
    assert abs(ack["now"] + 1_577_836_800 - time.time()) < 5
    alarm = kit.event_payload(1, kit.alarm_body(1, 1, -2, 3125, 3000), 1, 0, 200_000_000, 2)
    node.publish("a", node.keys.data(1, A, 1, alarm))
    assert node.ack(lambda ack: ack[1]["cum"] == 1)[2]["cum"] == 0
    for seq in (1, 2, 3):
        node.publish("tb"[seq % 2], node.keys.data(2, F, seq, payload(seq)))
        node.ack(lambda ack, seq=seq: ack[2]["cum"] == seq)
        assert committed(cloud.data, "plain") == set(range(1, seq + 1))
    readings = cloud.query("query", "plain", "--format", "jsonl", "--raw")
    assert [(r["journal_seq"], r["value"]) for r in readings] == [(1, 1), (2, 2), (3, 3)]
    assert [event["kind"] for event in cloud.query("alerts", "plain", "--json")] == ["alarm"]


def test_authorisation(cloud: kit.Cloud) -> None:
    """Nobody speaks for a node but itself, not even with a message that it sealed."""
    node = node_of(cloud, "narrow")
    node.born(1, 1, [(A, 1, 1), (F, 1, 5)])
    for seq, tenant in ((1, "acme"), (2, "other")):
        stranger = node_of(cloud, f"stranger{seq}", tenant)
        stranger.publish("t", node.keys.data(2, F, seq, payload(seq)), topic="v1/acme/narrow/up/t")
        assert stranger.born(1, 1, [(A, 1, 1), (F, 1, 1)])
        with pytest.raises(ConnectionError, match="SUBACK"):
            stranger.connect("v1/acme/narrow/dn/+")
        stranger.close()
    node.publish("t", node.keys.data(2, F, 4, payload(4)))
    assert node.ack(lambda ack: ack[2]["ranges"])[2]["ranges"] == [(4, 1)]
    assert committed(cloud.data, "narrow") == {4}


def test_adding_a_node_disturbs_no_other(cloud: kit.Cloud) -> None:
    """The broker's configuration is reloaded under a live session."""
    node = node_of(cloud, "steady")
    node.born(1, 1, [(A, 1, 1), (F, 1, 2)])
    node_of(cloud, "newcomer").born(1, 1, [(A, 1, 1), (F, 1, 1)])
    node.publish("t", node.keys.data(2, F, 1, payload(1)))
    assert node.ack(lambda ack: ack[2]["cum"] == 1)


def test_bad_tag_duplicate_conflict_gap_replay(cloud: kit.Cloud) -> None:
    """What the transaction does (test_cloud_transaction.py), through the broker."""
    node = node_of(cloud, "odd")
    node.born(1, 1, [(A, 1, 1), (F, 1, 9)])
    good = node.keys.data(2, F, 1, payload(1))
    node.publish("t", good[:-1] + bytes([good[-1] ^ 1]))
    node.publish("t", good)
    node.publish("b", good)
    node.publish("t", node.keys.data(2, F, 1, payload(5)))
    node.publish("t", node.keys.data(2, F, 2, b"no frame"))
    node.publish("e", node.keys.data(1, A, 1, kit.event_payload(5, kit.gap_body(2, 3, 4, 1, 2))))
    node.publish("t", node.keys.data(2, F, 6, payload(6)))
    node.ack(lambda ack: ack[2]["cum"] == 4 and ack[2]["ranges"] == [(2, 1)])
    first = node.nonce
    ack = node.born(1, 2, [(A, 1, 2), (F, 6, 9)])
    assert ack[2]["cum"] == 6
    node.publish("s", node.keys.birth(1, 1, [(A, 1, 1), (F, 1, 9)], nonce=first))
    node.publish("t", node.keys.data(2, F, 7, payload(7)))
    node.ack(lambda ack: ack[2]["cum"] == 7)
    found = cloud.query("cursors", "odd", "--json")
    counters = {name: count for name, count in found["counters"].items() if count}
    assert counters == {"bad_tag": 1, "duplicate": 1, "conflict": 1, "undecodable": 1, "stale_birth": 1}
    assert [(g["lo"], g["hi"], g["reason"]) for g in found["2"]["gaps"]] == [(3, 4, 1), (5, 5, 0)]


def test_database_locked_holds_and_recovers(cloud: kit.Cloud) -> None:
    """A hold without credit while the database refuses; nothing is lost; the next ACK is newer."""
    node = node_of(cloud, "patient")
    node.born(1, 1, [(A, 1, 1), (F, 1, 2)])
    with sqlite3.connect(cloud.data / "cloud.sqlite3", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        node.publish("t", node.keys.data(2, F, 1, payload(1)))
        held = node.ack(lambda ack: ack["flags"] == 1)
        other.execute("ROLLBACK")
    other.close()
    assert (held[2]["cum"], held[2]["credit"]) == (0, 0)
    after = node.ack(lambda ack: ack["flags"] == 0 and ack[2]["cum"] == 1)
    assert after["ackno"] > held["ackno"]


@pytest.mark.parametrize("victim", [0, 1], ids=["broker", "ingest"])
def test_kill_in_mid_stream(tmp_path: Path, victim: int) -> None:
    """kill -9 three times: every record is in once, whatever an ACK named was committed before it, and ACKs are back
    within 3 s of each kill.
    """
    with kit.Cloud(tmp_path) as cloud:
        kill_in_mid_stream(cloud, victim)


def kill_in_mid_stream(cloud: kit.Cloud, victim: int) -> None:
    node = node_of(cloud, f"survivor{victim}")
    total, acked, conn, kills = 240, 0, 1, 0
    node.born(1, conn, [(A, 1, 1), (F, 1, total + 1)])
    sent_at = dict[int, float]()
    killed_at, recovered = 0.0, True
    while acked < total:
        if kills < 3 and acked >= 60 * (kills + 1):
            old = cloud.children()[victim]
            os.kill(old, signal.SIGKILL)
            kills += 1
            killed_at, recovered = time.monotonic(), False
        try:
            for seq in range(acked + 1, min(acked + 12, total) + 1):
                if time.monotonic() - sent_at.get(seq, -9) > 0.5:
                    node.publish("t", node.keys.data(2, F, seq, payload(seq)))
                    sent_at[seq] = time.monotonic()
            acked = node.ack(lambda ack: ack[2]["cum"] > acked, wait_s=0.3)[2]["cum"]  # noqa: B023
            assert committed(cloud.data, node.keys.node) >= set(range(1, acked + 1))
            if not recovered and acked > 60 * kills + 24:
                recovered = True
                assert time.monotonic() - killed_at < 3
        except TimeoutError:
            continue
        except OSError:
            node.persist()
            conn += 1
            sent_at.clear()
            node.publish("s", node.keys.birth(1, conn, [(A, 1, 1), (F, 1, total + 1)], nonce=node.nonce))
    assert kills == 3
    readings = cloud.query("query", node.keys.node, "--format", "jsonl", "--raw")
    assert [r["frame_seq"] for r in readings] == list(range(1, total + 1))
    cursor = cloud.query("cursors", node.keys.node, "--json")["2"]
    assert (cursor["rows"], cursor["gaps"], cursor["conflicts"]) == (total, [], 0)


def test_session_survives_ingest(cloud: kit.Cloud) -> None:
    """A new worker answers under the nonce of a birth that an older one took."""
    node = node_of(cloud, "session")
    node.born(1, 1, [(A, 1, 1), (F, 1, 2)])
    old = cloud.children()[1]
    os.kill(old, signal.SIGKILL)
    node.publish("t", node.keys.data(2, F, 1, payload(1)))
    assert node.ack(lambda ack: ack[2]["cum"] == 1)
    assert cloud.children()[1] != old
    assert not kit.alive(old)


def test_a_broker_that_dies_instead_of_loading_has_loaded_when_it_is_back(tmp_path: Path) -> None:
    """The new configuration lay there when it was started again; it is not waited for any longer."""
    program = "import time, signal as s; s.signal(s.SIGHUP, s.SIG_IGN); print('Server is ready'); time.sleep(60)"
    command = [sys.executable, "-uc", program]

    async def scenario() -> None:
        supervisor = Supervisor(tmp_path, ("127.0.0.1", 0), [], None)
        supervisor._db = store.connect(tmp_path, create=True)
        supervisor._names = {"127.0.0.1"}
        version = store.add_node(supervisor._db, "n1", "acme", os.urandom(32), CHANNELS)
        children = [Child(name, command, "ready", Log(tmp_path / "log")) for name in ("broker", "auth")]
        supervisor._broker, supervisor._auth = children
        running = [asyncio.create_task(child.run(lambda: None)) for child in children]
        for child in children:
            await asyncio.wait_for(child.ready.wait(), 5)
        assert not await supervisor._load(version), "the callout service has not spoken yet"
        supervisor._enforced = version
        loading = asyncio.create_task(supervisor._load(version))
        await asyncio.sleep(0.2)
        assert not loading.done()
        supervisor._broker.signal(signal.SIGKILL)
        assert await asyncio.wait_for(loading, 5)
        for task in running:
            task.cancel()
        for child in children:
            await child.end()
        supervisor._db.close()

    asyncio.run(scenario())


def test_port_taken(tmp_path: Path) -> None:
    """One line, status 2, nothing started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = kit.command("serve", "--data", tmp_path / "d", "--listen", f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert str(port) in done.stderr
    assert not (tmp_path / "d").exists()


def test_folder_in_use(cloud: kit.Cloud) -> None:
    """One cloud per folder; the first goes on."""
    done = kit.command("serve", "--data", cloud.data, "--listen", "127.0.0.1:0")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "another process" in done.stderr
    assert all(map(kit.alive, cloud.children()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left(tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM, and a supervisor that is killed: all children gone within 2 s."""
    with kit.Cloud(tmp_path) as cloud:
        children = cloud.children()
        assert all(map(kit.alive, children))
        start = time.monotonic()
        status = cloud.stop(number)
        try:
            kit.wait_for(lambda: not any(map(kit.alive, children)), "the children to end", 2)
            assert time.monotonic() - start < 2
        finally:
            for child in filter(kit.alive, children):
                os.kill(child, signal.SIGKILL)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)


def test_restart_with_records_and_simulated_clock(tmp_path: Path) -> None:
    """What was committed and registered is there after a restart; ACKs carry the simulated time."""
    page = tmp_path / "clock"
    page.write_bytes(struct.pack("<4q", 0, (1_577_836_800 + 300_000_000) * 10**9, 0, 0))
    data = tmp_path / "data"
    with kit.Cloud(data, "--clock", f"file:{page}") as cloud:
        keys = cloud.add("n1", bytes(32), CHANNELS)
        node = kit.MqttNode(cloud.state["mqtt"], keys)
        node.connect()
        assert node.born(1, 1, [(A, 1, 1), (F, 1, 2)])["now"] == 300_000_000
        node.publish("t", keys.data(2, F, 1, payload(1)))
        node.ack(lambda ack: ack[2]["cum"] == 1)
        node.close()
    with kit.Cloud(data) as cloud:
        node = kit.MqttNode(cloud.state["mqtt"], keys)
        node.connect()
        assert node.born(1, 2, [(A, 1, 1), (F, 1, 2)])[2]["cum"] == 1
        node.close()


def test_a_clock_before_2020(tmp_path: Path) -> None:
    """Nothing is started by it; if it falls back while all runs, ACKs say 2020-01-01 until it is right again."""
    page = tmp_path / "clock"

    def show(seconds: int) -> None:
        page.write_bytes(struct.pack("<4q", 0, (1_577_836_800 + seconds) * 10**9, 0, 0))

    show(-1)
    clock = ("--clock", f"file:{page}")
    done = kit.command("serve", "--data", tmp_path / "d", "--listen", "127.0.0.1:0", *clock)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "2019-12-31 23:59:59 UTC" in done.stderr
    assert not (tmp_path / "d").exists()
    show(300_000_000)
    with kit.Cloud(tmp_path / "d", *clock) as cloud:
        workers = cloud.children()
        node = node_of(cloud, "n1")
        for conn, (shown, said) in enumerate([(300_000_000, 300_000_000), (-1_500_000_000, 0), (5, 5)]):
            show(shown)
            ack = node.born(1, conn, [(A, 1, 1), (F, 1, 9)])
            assert (ack["now"], ack["ms"]) == (said, 0)
            node.publish("t", node.keys.data(2, F, 1 + conn, payload(1 + conn)))
            node.ack(lambda ack, conn=conn: ack[2]["cum"] == 1 + conn)
        assert cloud.children() == workers
        node.close()


@pytest.mark.parametrize(("now_ms", "said"), [(-1, (0, 0)), (1 << 50, (0xFFFFFFFF, 999)), (1234567, (1234, 567))])
def test_an_ack_says_the_nearest_time_that_it_can(now_ms: int, said: tuple[int, int]) -> None:
    """And nothing that its fields cannot hold."""
    message = wire.encode_ack(
        flags=0, ackno=1, now_ms=now_ms, config=0, rings=[], key=bytes(32), tenant="t", node="n", nonce=bytes(8)
    )
    assert struct.unpack_from("<IH", message, 6) == said


def test_the_worker_ends_with_its_supervisor_on_any_system(cloud: kit.Cloud) -> None:
    """Its standard input is a pipe from the supervisor; at its end it goes."""
    line = [sys.executable, "-m", "cloud", "ingest", "--data", cloud.data, "--url", "nats://127.0.0.1:1"]
    worker = subprocess.Popen(line, cwd=kit.ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        time.sleep(0.6)
        assert worker.poll() is None
        worker.communicate(timeout=2)
        assert worker.returncode == 0
    finally:
        worker.kill()
        worker.wait()


def test_latency(cloud: kit.Cloud) -> None:
    """A DATA on loopback is committed and acknowledged without any wait of ours: median under 25 ms."""
    node = node_of(cloud, "quick")
    node.born(1, 1, [(A, 1, 1), (F, 1, 1)])
    took = []
    for seq in range(1, 22):
        start = time.monotonic()
        node.publish("t", node.keys.data(2, F, seq, payload(seq)))
        node.ack(lambda ack, seq=seq: ack[2]["cum"] == seq)
        took.append(time.monotonic() - start)
    assert sorted(took)[10] < 0.025
