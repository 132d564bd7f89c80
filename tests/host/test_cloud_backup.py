"""Backup of a running cloud, its restore elsewhere, and the nodes that refill what the backup did not have."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import cloudkit as kit
import pytest

CHANNELS = [(1, "air.temperature", "degC")]
A, F = 0xAAAA, 0xFFFF


def payload(seq: int) -> bytes:
    """A frame with one row."""
    return kit.frame_payload(seq, 1, kit.codec_frame([(1, -2)], [(200_000_000 + 60 * seq, [seq])]))


def send(node: kit.MqttNode, seqs: range) -> None:
    """Send frames until they are acknowledged."""
    for seq in seqs:
        node.publish("t", node.keys.data(2, F, seq, payload(seq)))
    node.ack(lambda ack: ack[2]["cum"] == seqs[-1])


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[kit.Cloud]:
    """A running cloud."""
    with kit.Cloud(tmp_path / "data") as running:
        yield running


def test_a_restored_cloud_is_refilled(cloud: kit.Cloud, tmp_path: Path) -> None:
    """Records sent after the backup come again: the node's own certificate and key still hold, its contact goes on."""
    keys = cloud.add("n1", os.urandom(32), CHANNELS)
    node = kit.MqttNode(cloud.state["mqtt"], keys)
    node.connect()
    node.born(1, 1, [(A, 1, 1), (F, 1, 11)])
    send(node, range(1, 6))
    file = tmp_path / "backup.tar.gz"
    assert kit.command("backup", file, "--data", cloud.data).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    send(node, range(6, 11))
    node.close()
    cloud.stop(kit.signal.SIGKILL)
    restored = tmp_path / "restored"
    done = kit.command("restore", file, "--data", restored)
    assert done.returncode == 0, done.stderr
    with kit.Cloud(restored) as later:
        node = kit.MqttNode(later.state["mqtt"], keys)
        node.connect()
        # The node still has records 3 to 10 in its ring: what it lacks is what the ACK lacks.
        ack = node.born(1, 2, [(A, 1, 1), (F, 3, 11)])
        assert ack[2]["cum"] == 5
        send(node, range(ack[2]["cum"] + 1, 11))
        node.close()
        readings = later.query("query", "n1", "--format", "jsonl", "--raw")
        assert [reading["journal_seq"] for reading in readings] == list(range(1, 11))
        cursor = later.query("cursors", "n1", "--json")["2"]
        assert (cursor["gaps"], cursor["conflicts"]) == ([], 0)


def test_what_the_node_no_longer_has_is_a_declared_gap(cloud: kit.Cloud, tmp_path: Path) -> None:
    """Readings that died with the old cloud and were overwritten on the node are not lost silently."""
    keys = cloud.add("n1", os.urandom(32), CHANNELS)
    node = kit.MqttNode(cloud.state["mqtt"], keys)
    node.connect()
    node.born(1, 1, [(A, 1, 1), (F, 1, 9)])
    send(node, range(1, 3))
    kit.command("backup", tmp_path / "b", "--data", cloud.data)
    send(node, range(3, 9))
    node.close()
    kit.command("restore", tmp_path / "b", "--data", tmp_path / "restored")
    with kit.Cloud(tmp_path / "restored") as later:
        node = kit.MqttNode(later.state["mqtt"], keys)
        node.connect()
        assert node.born(1, 2, [(A, 1, 1), (F, 7, 9)])[2]["cum"] == 6
        send(node, range(7, 9))
        node.close()
        assert later.query("cursors", "n1", "--json")["2"]["gaps"] == [{"lo": 3, "hi": 6, "reason": 0}]


def test_a_backup_under_load_is_consistent(cloud: kit.Cloud, tmp_path: Path) -> None:
    """Taken while frames are committed: whole, its cursor agrees with its records, and nobody was held up for long."""
    keys = cloud.add("n1", os.urandom(32), CHANNELS)
    node = kit.MqttNode(cloud.state["mqtt"], keys)
    node.connect()
    node.born(1, 1, [(A, 1, 1), (F, 1, 10_000)])
    stop = threading.Event()
    sent = [0]

    def load() -> None:
        while not stop.is_set():
            send(node, range(sent[0] + 1, sent[0] + 9))
            sent[0] += 8

    thread = threading.Thread(target=load)
    thread.start()
    try:
        kit.wait_for(lambda: sent[0] >= 40, "some load")
        before = sent[0]
        for number in range(3):
            assert kit.command("backup", tmp_path / f"b{number}", "--data", cloud.data).returncode == 0
        assert sent[0] > before
    finally:
        stop.set()
        thread.join()
    node.close()
    for number in range(3):
        folder = tmp_path / f"r{number}"
        assert kit.command("restore", tmp_path / f"b{number}", "--data", folder).returncode == 0
        with sqlite3.connect(folder / "cloud.sqlite3") as db:
            (cum,) = db.execute("SELECT cum FROM cursor WHERE ring = 2").fetchone()
            seqs = [seq for (seq,) in db.execute("SELECT seq FROM record ORDER BY seq")]
        db.close()
        assert seqs == list(range(1, cum + 1)) and cum >= before


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a cloud that never ran."""
    folder = tmp_path_factory.mktemp("whole")
    add = ("add", "n1", "--tenant", "acme", "--key", "00" * 32, "--credentials", folder / "n1", "--data", folder / "d")
    assert kit.command(*add).returncode == 0
    assert kit.command("backup", folder / "b", "--data", folder / "d").returncode == 0
    return folder / "b"


def refused(*arguments: str | Path) -> str:
    """The one line of a refusal."""
    done = kit.command(*arguments)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1), done
    return done.stderr


def test_nothing_is_overwritten(whole: Path, tmp_path: Path) -> None:
    """Neither a folder with anything in it nor a file."""
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "x").write_text("mine")
    assert "overwrites nothing" in refused("restore", whole, "--data", tmp_path / "d")
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["x"]
    assert "overwrites nothing" in refused("backup", whole, "--data", tmp_path / "d")
    (tmp_path / "empty").mkdir()
    assert kit.command("restore", whole, "--data", tmp_path / "empty").returncode == 0
    assert "no database" in refused("backup", tmp_path / "b", "--data", tmp_path / "nowhere")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "later", "without a key"])
def test_a_damaged_backup_makes_no_folder(whole: Path, tmp_path: Path, damage: str) -> None:
    """Whatever is wrong with it."""
    content = bytearray(whole.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    elif damage == "foreign":
        content = bytearray(b"PK\3\4")
    else:
        buffer = io.BytesIO()
        with tarfile.open(whole) as old, tarfile.open(fileobj=buffer, mode="w:gz") as new:
            for member in old:
                file = old.extractfile(member)
                assert file
                data = file.read()
                if member.name == "pki/ca.key" and damage == "without a key":
                    continue
                if member.name == "manifest.json" and damage == "later":
                    data = json.dumps(json.loads(data) | {"schema": 99}).encode()
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
        content = bytearray(buffer.getvalue())
    (tmp_path / "b").write_bytes(content)
    assert "no whole backup" in refused("restore", tmp_path / "b", "--data", tmp_path / "d")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_archive_cannot_write_elsewhere(whole: Path, tmp_path: Path) -> None:
    """Names that a backup does not have are not looked at, nor are links."""
    buffer = io.BytesIO()
    with tarfile.open(whole) as old, tarfile.open(fileobj=buffer, mode="w:gz") as new:
        for member in old:
            new.addfile(member, old.extractfile(member))
        evil = tarfile.TarInfo("../evil")
        evil.size = 4
        new.addfile(evil, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("pki/server.pem")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        new.addfile(link)
    (tmp_path / "b").write_bytes(buffer.getvalue())
    assert kit.command("restore", tmp_path / "b", "--data", tmp_path / "deep" / "d").returncode == 0
    assert not list(tmp_path.rglob("evil"))
    assert not (tmp_path / "deep" / "d" / "pki" / "server.pem").exists()
    for path in (tmp_path / "deep" / "d").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
