"""The cloud's certificate authority, and who may be what over mutual TLS."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cloudkit as kit
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cloud import broker, pki, store

CHANNELS = [(1, "air.temperature", "degC")]
A, F = 0xAAAA, 0xFFFF


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Cloud]:
    """One running cloud."""
    with kit.Cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


def committed(cloud: kit.Cloud, name: str) -> int:
    """Records of a node in the database."""
    with sqlite3.connect(cloud.data / "cloud.sqlite3") as db:
        return db.execute(
            "SELECT count(*) FROM record JOIN cursor ON cursor.id = record.cursor JOIN node ON node.id = cursor.node"
            " WHERE name = ?",
            (name,),
        ).fetchone()[0]


def server_certificate(address: str, folder: Path) -> x509.Certificate:
    """What the broker shows."""
    host, port = address.split(":")
    context = kit.tls_context(folder)
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        context.wrap_socket(plain, server_hostname=host) as wrapped,
    ):
        shown = wrapped.getpeercert(True)
    assert shown
    return x509.load_der_x509_certificate(shown)


def test_certificates_are_made_once_and_keys_are_private(tmp_path: Path) -> None:
    """The CA stays; a node's key is kept nowhere; what a node carries is DER, its key PKCS #8 on P-256."""
    first, second = pki.Authority(tmp_path), pki.Authority(tmp_path)
    given = first.node("n-1")
    assert given.ca == second.node("n-1").ca
    assert given.certificate != second.node("n-1").certificate
    given.write(tmp_path / "node")
    for path in tmp_path.rglob("*"):
        if path.name in ("ca.key", "server.key", "pkey"):
            assert path.stat().st_mode & 0o777 == 0o600, path
        if path.is_file() and path.parent.name == "pki":
            assert given.key not in path.read_bytes()
    found = x509.load_der_x509_certificate((tmp_path / "node" / "cert").read_bytes())
    found.verify_directly_issued_by(x509.load_der_x509_certificate(given.ca))
    key = serialization.load_der_private_key(given.key, None)
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert key.public_key().public_bytes(*form) == found.public_key().public_bytes(*form)
    assert found.subject.rfc4514_string() == pki.user_of("n-1") == "CN=n-1"
    assert found.not_valid_before_utc == datetime(2020, 1, 1, tzinfo=timezone.utc)


def test_the_server_certificate_is_renewed_when_it_must_be(tmp_path: Path) -> None:
    """For other names, for another CA, and in its last year; kept otherwise."""
    now = datetime(2026, 6, 1, tzinfo=timezone.utc)
    authority = pki.Authority(tmp_path, now)
    path, _ = authority.server(["192.0.2.1", "cloud.example"])
    first = path.read_bytes()
    names = x509.load_pem_x509_certificate(first).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name.value) for name in names} == {"192.0.2.1", "cloud.example"}
    assert x509.load_pem_x509_certificate(first).not_valid_before_utc == pki.NOT_BEFORE

    def kept(names: list[str], when: datetime = now) -> bool:
        before = path.read_bytes()
        pki.Authority(tmp_path, when).server(names)
        return path.read_bytes() == before

    assert kept(["cloud.example", "192.0.2.1", "cloud.example"])
    assert not kept(["cloud.example"])
    last_year = now + timedelta(days=pki.SERVER_DAYS - pki.RENEW_DAYS)
    assert kept(["cloud.example"], last_year - timedelta(days=1))
    assert not kept(["cloud.example"], last_year)
    for name in ("ca.key", "ca.pem"):
        (tmp_path / "pki" / name).unlink()
    assert not kept(["cloud.example"], last_year)


def test_the_configuration_demands_certificates(tmp_path: Path) -> None:
    """Handshakes get the time a board needs, and no secret of a node stands in the configuration."""
    with store.connect(tmp_path, create=True) as db:
        store.add_node(db, "n1", "acme", os.urandom(32), CHANNELS)
        text = broker.write_config(db, tmp_path, "127.0.0.1", 1, 2, ["127.0.0.1"]).read_text()
    db.close()
    assert '"verify": true' in text and '"auth_callout"' in text
    assert broker.TLS_TIMEOUT_S >= 10
    assert text.count('"password"') == 3  # of ingest, control and the callout service


def test_who_is_refused(cloud: kit.Cloud, tmp_path: Path) -> None:
    """No certificate, another CA's, a node that is not registered, no TLS."""
    keys = cloud.add("member", os.urandom(32), CHANNELS)
    node = kit.MqttNode(cloud.state["mqtt"], keys)
    node.connect()
    with pytest.raises(OSError):
        node.connect(certificate=False)
    foreign = pki.Authority(tmp_path / "other").node("member")
    assert keys.credentials
    ours = (keys.credentials / "ca").read_bytes()
    pki.Credentials(ours, foreign.certificate, foreign.key).write(tmp_path / "foreign")
    with pytest.raises(OSError):
        node.connect(credentials=tmp_path / "foreign")
    pki.Authority(cloud.data).node("nobody").write(tmp_path / "nobody")
    with pytest.raises(ConnectionError):
        node.connect(credentials=tmp_path / "nobody")
    host, port = cloud.state["mqtt"].split(":")
    with socket.create_connection((host, int(port)), 2) as plain:
        plain.sendall(b"\x10\x12\0\4MQTT\4\2\0\x3c\0\6member")
        assert plain.recv(1) != b"\x20"  # CONNACK
    node.connect()
    node.close()


def test_another_nodes_certificate_does_not_speak_for_it(cloud: kit.Cloud) -> None:
    """The client id and the user name give no right: subjects belong to the certificate."""
    victim = cloud.add("victim", os.urandom(32), CHANNELS)
    thief = cloud.add("thief", os.urandom(32), CHANNELS)
    node = kit.MqttNode(cloud.state["mqtt"], victim)
    with pytest.raises(ConnectionError, match="CONNACK 20 0005"):
        node.connect(credentials=thief.credentials)
    with pytest.raises(ConnectionError, match="SUBACK"):
        node.connect(credentials=thief.credentials, client_id="thief")
    for user in ("CN=victim", "victim", "ingest", "auth"):
        with pytest.raises(ConnectionError, match="CONNACK 20 0005"):
            node.connect(credentials=thief.credentials, client_id="thief", user=user)
    node.connect("v1/acme/thief/dn/+", credentials=thief.credentials, client_id="thief")
    frame = kit.frame_payload(1, 1, kit.codec_frame([(1, -2)], [(200_000_000, [1])]))
    node.publish("t", victim.data(2, F, 1, frame))
    node.publish("t", thief.data(2, F, 1, frame), topic="v1/acme/thief/up/t")
    kit.wait_for(lambda: committed(cloud, "thief"), "the thief's own record")
    assert committed(cloud, "victim") == 0
    node.connect()
    assert node.born(1, 1, [(A, 1, 1), (F, 1, 2)])[2]["cum"] == 0
    node.close()


def test_the_certificate_has_the_names_it_was_asked_for(tmp_path: Path) -> None:
    """A restart with another --name adds it, one without any keeps all; nodes keep their trust, for the CA stays."""
    with kit.Cloud(tmp_path / "data", "--name", "192.0.2.7") as cloud:
        keys = cloud.add("n1", os.urandom(32), CHANNELS)
        assert keys.credentials
        first = server_certificate(cloud.state["mqtt"], keys.credentials)
    with kit.Cloud(tmp_path / "data", "--name", "192.0.2.8") as cloud:
        second = server_certificate(cloud.state["mqtt"], keys.credentials)
    with kit.Cloud(tmp_path / "data") as cloud:
        third = server_certificate(cloud.state["mqtt"], keys.credentials)
    names = [
        {str(name.value) for name in shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value}
        for shown in (first, second)
    ]
    assert names == [{"127.0.0.1", "192.0.2.7"}, {"127.0.0.1", "192.0.2.7", "192.0.2.8"}]
    assert third == second
