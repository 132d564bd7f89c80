"""Faults at each stage of a connection: they strike there and nowhere else, the node's client tells them in bounded
time, and no other task of its loop waits 200 ms for it.
"""

import asyncio
import json
import os
import socket
import ssl
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path as Folder
from typing import Any, cast

import cloudkit as kit
import pytest

from cloud import pki
from host_sim.clock import SimClock
from host_sim.conductor import Conductor
from host_sim.faults.air import Air
from host_sim.faults.kinds import CONN_CLOSE, CONN_RESET, DNS_OUT, DRIP, HALF_OPEN, REFUSED, SLOW, STALL
from host_sim.faults.log import FaultLog
from host_sim.faults.path import Ended, Passage, Path
from host_sim.faults.plan import Fault
from host_sim.faults.stage import ACK, BIRTH, CONNACK, DATA, HANDSHAKE, RECORD, STAGES, SUBACK, Stages
from host_sim.proxy import Proxy
from tools.load.torture import RealTime

ROOT = Folder(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "device" / "mqttattacked.py"
S = 1_000_000
START = 1_780_272_000 * S
STEP_MS = 200
A, F = 0xAAAA, 0xFFFF


def record(kind: int, size: int) -> bytes:
    """A TLS record of `size` bytes and its header."""
    return bytes([kind, 3, 3]) + size.to_bytes(2, "big") + bytes(size)


def test_a_stage_is_told_by_records_however_they_are_cut() -> None:
    """By their types, order and sizes; what is no TLS has no stage."""
    said = [
        (True, record(22, 200)), (False, record(22, 900) + record(20, 1)), (True, record(23, 60) + record(23, 200)),
        (False, record(23, 28) + record(23, 29)), (False, record(23, 130)), (True, record(23, 1000)),
        (False, record(21, 26)),
    ]  # fmt: skip
    for size in (1, 3, 7, 4096):
        stages = Stages()
        found: dict[bool, list[str]] = {True: [], False: []}
        for up, octets in said:
            passed = b""
            for at in range(0, len(octets), size):
                for stage, part in stages.parts(octets[at : at + size], up):
                    passed += part
                    found[up].append(stage)
            assert passed == octets
        order = {up: [stage for stage in dict.fromkeys(found[up]) if stage] for up in found}
        assert order == {True: [HANDSHAKE, BIRTH, DATA], False: [HANDSHAKE, CONNACK, SUBACK, ACK]}
    assert list(Stages().parts(b"GET / HTTP/1.1", True)) == [("", b"GET / HTTP/1.1")]


class Way:
    """A proxy with one fault in front of `upstream`, in real time."""

    def __init__(self, folder: Folder, upstream: tuple[str, int], *faults: Fault) -> None:
        clock = SimClock(folder / f"clock{id(self)}", START)
        clock.set(START, running=True)
        self.log = FaultLog()
        self.path = Path(faults, log=self.log)
        self.proxy = Proxy(upstream, cast(Conductor, RealTime(clock)), self.path)

    async def __aenter__(self) -> Proxy:
        await self.proxy.start()
        return self.proxy

    async def __aexit__(self, *_: object) -> None:
        await self.proxy.stop()


# Against the real broker

@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One running cloud."""
    with kit.Cloud(tmp_path_factory.mktemp("cloud")) as running:
        yield running


# How far a node comes (as `_talk` counts) that is reset at a stage. This one writes its birth by itself, as data, and
# the broker may answer its CONNECT and SUBSCRIBE in one record.
REACHED = {HANDSHAKE: [0], BIRTH: [1], CONNACK: [1], SUBACK: [1, 2], DATA: [3], ACK: [3], RECORD: [1]}


def _talk(keys: kit.NodeKeys, port: int, conn: int) -> int:
    """How far a contact comes: 1 the handshake, 2 CONNACK, 3 SUBACK, 4 the birth's ACK, 5 that of its frame."""
    node = kit.MqttNode(f"127.0.0.1:{port}", keys)
    came = 0
    up = node._receive

    def counted(wait_s: float) -> tuple[int, bytes]:
        nonlocal came
        came = max(came, 1)
        packet = up(min(wait_s, 1.5))
        came = {0x20: 2, 0x90: 3}.get(packet[0], came)
        return packet

    node._receive = counted  # type: ignore[method-assign]
    with suppress(OSError):
        node.connect()
        node.born(1, conn, [(A, 1, 1), (F, 1, 2)])
        came = 4
        node.publish("t", keys.data(2, F, 1, kit.frame_payload(1, 1, kit.codec_frame([(1, -2)], [(200_000_000, [1])]))))
        node.ack(lambda ack: ack[2]["cum"] == 1)
        came = 5
    node.close()
    return came


@pytest.mark.parametrize("stage", STAGES)
def test_it_strikes_at_its_stage_and_the_next_contact_is_whole(cloud: kit.Cloud, tmp_path: Folder, stage: str) -> None:
    """nats-server and a whole contact; what came before the stage has come, nothing after it."""
    keys = cloud.add(f"stage-{stage}", os.urandom(32), [(1, "air.temperature", "degC")])
    host, port = cloud.state["mqtt"].split(":")

    async def contacts() -> list[int]:
        way = Way(tmp_path, (host, int(port)), Fault(START, CONN_RESET, "n", stage=stage))
        async with way as proxy:
            found = []
            for conn in (1, 2):
                found.append(await asyncio.to_thread(_talk, keys, proxy.port, conn))
        assert [strike.fault.stage for strike in way.log.strikes] == [stage]
        return found

    came, again = asyncio.run(contacts())
    assert again == 5
    assert came in REACHED[stage]


# Against the node's own client

def _broker(authority: pki.Authority) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """Says CONNACK, SUBACK, and an ACK's worth after every piece that comes, each in a record of its own."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            if await reader.read(65536):
                for answer in (b"\x20\x02\x00\x00", b"\x90\x03\x00\x01\x00"):
                    writer.write(answer)
                    await writer.drain()
                    await asyncio.sleep(0.05)
            while await reader.read(65536):
                writer.write(b"\x30\x3e\x00\x05d/ack" + bytes(55))
                await writer.drain()
        writer.close()

    return talk


async def _meet(folder: Folder, authority: pki.Authority, *faults: Fault) -> tuple[dict[str, Any], FaultLog]:
    """What the client in a VM said of a contact with such faults, and what struck."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server(["127.0.0.1"]))
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    server = await asyncio.start_server(_broker(authority), "127.0.0.1", 0, ssl=context)
    way = Way(folder, server.sockets[0].getsockname()[:2], *faults)
    path = ":".join(str(ROOT / each) for each in ("firmware", "lib", "tests/device"))
    async with way as proxy:
        vm = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "micropython_unix", "-X", "heapsize=96K", SCRIPT, "own", str(proxy.port),
            str(authority.folder / "n1"), str(socket.SO_SNDBUF), env=os.environ | {"MICROPYPATH": f"{path}:.frozen"},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await asyncio.wait_for(vm.communicate(), 30)
    server.close()
    assert vm.returncode == 0, out.decode()
    return json.loads(out), way.log


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pki.Authority:
    """A CA with the certificate of n1."""
    return _authority(tmp_path_factory.mktemp("ca"))


def _authority(folder: Folder) -> pki.Authority:
    made = pki.Authority(folder)
    made.node("n1").write(made.folder / "n1")
    return made


# A stage, a fault there, and how the client may tell it, in words of MqttError.
SILENT = {"dial", "connack", "write", "ack"}
CASES: list[tuple[str, str, set[str]]] = [
    ("", REFUSED, {"dial", "eof", "socket"}),
    *[(stage, kind, {"dial", "eof", "socket"}) for stage in STAGES for kind in (CONN_RESET, CONN_CLOSE)],
    # Once all is answered MQTT alone notices silence by its ping, after a minute; the session's own RTO is sooner.
    *[(stage, HALF_OPEN, SILENT | ({"none"} if stage in (ACK, DATA) else set())) for stage in STAGES],
    (RECORD, STALL, SILENT), (HANDSHAKE, DRIP, {"dial", "connack"}), (BIRTH, SLOW, {"none", "connack", "write"}),
]  # fmt: skip


@pytest.mark.beside(4)
@pytest.mark.parametrize(("stage", "kind", "words"), CASES, ids=lambda part: part if isinstance(part, str) else "")
def test_no_task_waits(tmp_path: Folder, authority: pki.Authority, stage: str, kind: str, words: set[str]) -> None:
    """The longest step stands in what is printed."""
    said, log = asyncio.run(_meet(tmp_path, authority, Fault(START, kind, "n", lasts_us=60 * S, stage=stage)))
    print(f"{kind} at {stage or 'connect'}: {said}")
    assert log.counts() == {kind: 1}
    assert said["what"] in words, said
    assert said["longest_ms"] < STEP_MS, said
    assert said["ms"] < 6000 and said["grown"] < 4096, said


def test_without_a_name_server_no_name_resolves_for_a_while() -> None:
    """It strikes when somebody asks, and is told once."""
    log = FaultLog()
    air = Air([Fault(START, DNS_OUT, "n", 60 * S)], log)
    assert air.resolves(START - 1) and not log.strikes
    assert not air.resolves(START + 5 * S) and not air.resolves(START + 64 * S)
    assert air.resolves(START + 65 * S) and air.resolves(START + 66 * S) and len(log.strikes) == 1
    assert air.out_until(START + 10 * S) is None


def test_what_is_lost_is_lost_for_one_connection() -> None:
    """Both ways, for good; another connection over the same path is whole."""
    path = Path([Fault(START, HALF_OPEN, "n")])
    gone, other = Passage(), Passage()
    assert path.pieces(b"x", START, passage=gone) == []
    assert path.pieces(b"x", START + 900 * S, passage=gone) == []
    assert path.pieces(b"x", START + S, passage=other) == [b"x"]


def test_a_close_is_no_reset() -> None:
    """Half a packet, then the end."""
    with pytest.raises(Ended) as caught:
        Path([Fault(START, CONN_CLOSE, "n")]).pieces(b"x" * 101, START)
    assert (type(caught.value), caught.value.passed) == (Ended, 50)


def _table(folder: Folder) -> None:
    """Print what each fault costs the client, stage by stage."""
    made = _authority(folder)
    print("| stage | fault | is told as | after ms | longest step ms |\n|---|---|---|---|---|")
    for stage, kind, _ in CASES:
        said, _log = asyncio.run(_meet(folder, made, Fault(START, kind, "n", lasts_us=60 * S, stage=stage)))
        row = (stage or "connect", kind, said["what"], said["ms"], said["longest_ms"])
        print("|", " | ".join(map(str, row)), "|", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        _table(Folder(scratch))
