"""The cloud for real boards: names in its certificate, who is admitted and cut off, and every process killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cloudkit as kit
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cloud import pki, serve

CHANNELS = [(1, "air.temperature", "degC")]
A, F = 0xAAAA, 0xFFFF


def payload(seq: int) -> bytes:
    """A frame with one row."""
    return kit.frame_payload(seq, 1, kit.codec_frame([(1, -2)], [(200_000_000 + 60 * seq, [seq])]))


def added(cloud: kit.Cloud, name: str, *options: str, key: bytes = bytes(32)) -> dict[str, object]:
    """What `add --json` says."""
    folder = cloud.data / "handed out" / name
    done = kit.command("add", name, "--tenant", "acme", "--key", key.hex(), "--channels", json.dumps(CHANNELS),
                       "--credentials", folder, "--json", *options, "--data", cloud.data)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_every_process_is_killed_in_turn_and_nothing_is_lost(tmp_path: Path) -> None:
    """Broker, ingest, page, and the supervisor, which is started again on the same port as a person would."""
    port, key, total = free_port(), os.urandom(32), 400
    options = ("--listen", f"127.0.0.1:{port}", "--web", "127.0.0.1:0")
    cloud = kit.Cloud(tmp_path / "data", *options)
    cloud.__enter__()
    try:
        node = kit.MqttNode(f"127.0.0.1:{port}", cloud.add("n1", key, CHANNELS))
        node.connect()
        node.born(1, 1, [(A, 1, 1), (F, 1, total + 1)])
        acked, conn = 0, 1
        victims = ["broker_pid", "ingest_pid", "web_pid", "pid", "broker_pid", "pid"]
        sent_at: dict[int, float] = {}
        while acked < total:
            if victims and acked >= total * (6 - len(victims)) // 7 + 20:
                victim = victims.pop(0)
                state = json.loads((cloud.data / "run.json").read_text())
                os.kill(state[victim], signal.SIGKILL)
                if victim == "pid":
                    cloud.stop(signal.SIGKILL)
                    cloud = kit.Cloud(tmp_path / "data", *options)
                    kit.wait_for(lambda: not any(kit.alive(state[who]) for who in state if who.endswith("_pid")), "end")  # noqa: B023
                    cloud.__enter__()
            try:
                for seq in range(acked + 1, min(acked + 12, total) + 1):
                    if time.monotonic() - sent_at.get(seq, -9) > 0.5:
                        node.publish("t", node.keys.data(2, F, seq, payload(seq)))
                        sent_at[seq] = time.monotonic()
                acked = node.ack(lambda ack: ack[2]["cum"] > acked, wait_s=0.3)[2]["cum"]  # noqa: B023
            except TimeoutError:
                continue
            except OSError:
                node.persist()
                conn += 1
                sent_at.clear()
                node.publish("s", node.keys.birth(1, conn, [(A, 1, 1), (F, 1, total + 1)], nonce=node.nonce))
        node.close()
        assert not victims
        readings = cloud.query("query", "n1", "--format", "jsonl", "--raw")
        assert [reading["journal_seq"] for reading in readings] == list(range(1, total + 1))
        cursor = cloud.query("cursors", "n1", "--json")["2"]
        assert (cursor["gaps"], cursor["conflicts"]) == ([], 0)
    finally:
        cloud.stop(signal.SIGTERM)


def test_add_says_what_it_did_and_again_changes_nothing(tmp_path: Path) -> None:
    """On a running cloud, known to the broker at once; the key also by standard input; credentials kept while good."""
    with kit.Cloud(tmp_path / "data") as cloud:
        first = added(cloud, "n1")
        assert first == {"node": "n1", "tenant": "acme", "did": "added", "credentials": "written", "running": True}
        files = {path.name: path.read_bytes() for path in (cloud.data / "handed out" / "n1").iterdir()}
        keys = kit.NodeKeys(bytes(32), "acme", "n1", cloud.data / "handed out" / "n1")
        node = kit.MqttNode(cloud.state["mqtt"], keys)
        node.connect()
        node.born(1, 1, [(A, 1, 1), (F, 1, 2)])
        assert added(cloud, "n1") == first | {"did": "unchanged", "credentials": "kept"}
        assert files == {path.name: path.read_bytes() for path in keys.credentials.glob("[cp]*[!m]")}  # type: ignore[union-attr]
        node.publish("t", keys.data(2, F, 1, payload(1)))
        node.ack(lambda ack: ack[2]["cum"] == 1)
        assert added(cloud, "n1", key=b"k" * 32)["did"] == "updated"
        assert added(cloud, "n1", "--renew", key=b"k" * 32)["credentials"] == "written"
        (cloud.data / "handed out" / "n1" / "pkey").write_bytes(b"half")
        assert added(cloud, "n1", key=b"k" * 32)["credentials"] == "written"
        node.connect()
        node.close()
    line = [sys.executable, "-m", "cloud", "add", "n2", "--tenant", "acme", "--key", "-", "--data", str(cloud.data)]
    done = subprocess.run(line, cwd=kit.ROOT, input="ab" * 32 + "\n", capture_output=True, text=True, timeout=30)
    assert done.stdout == "n2 of acme: added; the cloud is not running; it will know when it starts\n"


def test_credentials_of_another_node_or_cloud_are_not_kept(tmp_path: Path) -> None:
    """Nor any that end within a year, nor a key that is not the certificate's."""
    authority, other = pki.Authority(tmp_path / "a"), pki.Authority(tmp_path / "b")
    folder = tmp_path / "node"
    assert not authority.holds(folder, "n1")
    authority.node("n1").write(folder)
    assert authority.holds(folder, "n1")
    assert not authority.holds(folder, "n2")
    assert not authority.holds(folder, "n1", 1)
    assert not other.holds(folder, "n1")
    years = pki.timedelta(days=pki.NODE_DAYS - pki.RENEW_DAYS)
    assert not pki.Authority(tmp_path / "a", pki.datetime.now(pki.timezone.utc) + years).holds(folder, "n1")
    (folder / "pkey").write_bytes(authority.node("n1").key)
    assert not authority.holds(folder, "n1")


def test_a_revoked_node_is_cut_off_and_its_certificate_never_good_again(tmp_path: Path) -> None:
    """At once, in its session; what it sent stays. Admitted again it needs new credentials. Others go on."""
    with kit.Cloud(tmp_path / "data") as cloud:
        keys = cloud.add("n1", os.urandom(32), CHANNELS)
        other = kit.MqttNode(cloud.state["mqtt"], cloud.add("n2", os.urandom(32), CHANNELS))
        node = kit.MqttNode(cloud.state["mqtt"], keys)
        for one in (node, other):
            one.connect()
            one.born(1, 1, [(A, 1, 1), (F, 1, 9)])
        node.publish("t", keys.data(2, F, 1, payload(1)))
        node.ack(lambda ack: ack[2]["cum"] == 1)
        assert keys.credentials
        old = tmp_path / "old"
        old.mkdir()
        for name in ("ca", "cert", "pkey"):
            (old / name).write_bytes((keys.credentials / name).read_bytes())
        for did in ("revoked", "unchanged"):
            done = kit.command("revoke", "n1", "--json", "--data", cloud.data)
            assert json.loads(done.stdout)["did"] == did
        with pytest.raises(OSError):
            node.ack(lambda _: False, 3)
        with pytest.raises(ConnectionError):
            node.connect()
        other.publish("t", other.keys.data(2, F, 1, payload(1)))
        other.ack(lambda ack: ack[2]["cum"] == 1)
        assert len(cloud.query("query", "n1", "--format", "jsonl", "--raw")) == 1
        assert added(cloud, "n1", key=keys.key) | {"running": 0} == {
            "node": "n1", "tenant": "acme", "did": "readmitted", "credentials": "written", "running": 0,
        }  # fmt: skip
        with pytest.raises(ConnectionError):
            node.connect(credentials=old)
        node.connect()
        assert node.born(1, 2, [(A, 1, 1), (F, 1, 9)])[2]["cum"] == 1
        node.close()
        other.close()


def test_all_addresses_need_a_name(tmp_path: Path) -> None:
    """Whoever listens on all addresses says by which name nodes call; the certificate remembers it."""
    serving = ("serve", "--data", tmp_path / "data", "--listen", "0.0.0.0:0")
    done = kit.command(*serving)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "ADDR=" in done.stderr
    assert not (tmp_path / "data").exists()
    with kit.Cloud(tmp_path / "data", "--listen", "0.0.0.0:0", "--name", "cloud.example") as cloud:
        assert cloud.state["names"] == ["127.0.0.1", "cloud.example"]
        ca = (tmp_path / "data" / "pki" / "ca.pem").read_bytes()
    with kit.Cloud(tmp_path / "data", "--listen", "0.0.0.0:0", "--name", "192.0.2.1") as cloud:
        assert cloud.state["names"] == ["127.0.0.1", "192.0.2.1", "cloud.example"]
        keys = cloud.add("n1", bytes(32), CHANNELS)
        node = kit.MqttNode(cloud.state["mqtt"].replace("0.0.0.0", "127.0.0.1"), keys)
        node.connect()
        node.close()
    assert (tmp_path / "data" / "pki" / "ca.pem").read_bytes() == ca


def test_a_kill_between_key_and_certificate_is_repaired(tmp_path: Path) -> None:
    """The key of one and the certificate of another would keep the broker from starting for ever."""
    authority = pki.Authority(tmp_path)
    certificate, key = authority.server(["127.0.0.1"])
    stranger = pki.ec.generate_private_key(pki.ec.SECP256R1())
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(stranger.private_bytes(*form))
    pki.Authority(tmp_path).server(["127.0.0.1"])
    shown = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    assert shown == pki.serialization.load_pem_private_key(key.read_bytes(), None).public_key()


def test_the_guide_says_what_comes_next(tmp_path: Path) -> None:
    """In words: addresses, the page, how to add a node. What it says about adding is what works."""
    line = [sys.executable, "-m", "cloud", "serve", "--guide", "--data", str(tmp_path / "d"), "--listen",
            "127.0.0.1:0", "--name", "cloud.example", "--web", "127.0.0.1:0"]  # fmt: skip
    process = subprocess.Popen(line, cwd=kit.ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        said = [process.stdout.readline() for _ in range(6)]
        text = "".join(said)
        assert said[0] == "The cloud is up; Ctrl-C ends it.\n"
        state = json.loads((tmp_path / "d" / "run.json").read_text())
        assert f"http://{state['web']}/" in text and "cloud.example" in text and state["mqtt"].split(":")[1] in text
        words = next(line for line in said if "fieldnode provision" in line).split("fieldnode ", 1)[1].split()[:4]
        (tmp_path / "n1.toml").write_text((kit.ROOT / "nodes" / "greenhouse.toml").read_text())
        filled = {"NODE.toml": str(tmp_path / "n1.toml")}
        line = [sys.executable, "-m", "tools.cli", *(filled.get(word) or word for word in words)]
        done = subprocess.run(line, cwd=kit.ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "certificate made" in done.stdout, done.stderr
        known = json.loads(kit.command("nodes", "--json", "--data", str(tmp_path / "d")).stdout)
        assert [each["node"] for each in known] == ["greenhouse"]
    finally:
        process.terminate()
        process.wait(kit.WAIT_S)
        if process.stdout:
            process.stdout.close()


def test_own_address_is_one() -> None:
    """Or none, without a network."""
    found = serve.own_address()
    assert found is None or socket.inet_aton(found)
