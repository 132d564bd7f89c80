"""What is done to the cloud end from outside, against the real one: it holds, says so, and goes on."""

import asyncio
import json
import os
import sys
import threading
from pathlib import Path

import cloudkit as kit
import pytest

from cloud.clock import FileClock
from host_sim.clock import SimClock
from host_sim.conductor import Conductor
from host_sim.faults import cloud as faults_cloud
from host_sim.faults.cloud import CloudFaults
from host_sim.faults.log import FaultLog
from host_sim.faults.plan import Fault

START = 1_780_272_000_000_000
A, F = 0xA1, 0xF1
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) is Linux's")


class Nobody:
    """Nothing but a clock suffers."""

    data = Path()

    def pids(self) -> dict[str, int]:
        return {}

    def kill(self, what: str) -> int:
        raise AssertionError(what)

    def refused(self) -> int:
        return 0


class Outside:
    """The cloud end as `CloudFaults` wants it."""

    def __init__(self, cloud: kit.Cloud) -> None:
        self.data = cloud.data

    def pids(self) -> dict[str, int]:
        return json.loads((self.data / "run.json").read_text())

    def kill(self, what: str) -> int:
        pid = self.pids()[f"{what}_pid"]
        os.kill(pid, 9)
        return pid

    def refused(self) -> int:
        return (self.data / "cloud.log").read_text().count("ingest: database: ")


async def _strike(fault: Fault, cloud: kit.Cloud, folder: Path, log: FaultLog, begun: threading.Event) -> None:
    clock = SimClock(folder / "clock", START)
    clock.set(START, running=True)
    faults = CloudFaults([fault], Outside(cloud), clock.view(folder / "view"), Conductor(clock), log)
    faults.chunk_passed()
    await asyncio.sleep(0.05)
    begun.set()
    while faults.busy:
        await asyncio.sleep(0.05)


def during(fault: Fault, cloud: kit.Cloud, folder: Path) -> tuple[threading.Thread, FaultLog]:
    """The fault strikes in a thread of its own."""
    log, begun = FaultLog(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_strike(fault, cloud, folder, log, begun)))
    thread.start()
    assert begun.wait(10)
    return thread, log


@pytest.mark.beside(3)
@pytest.mark.parametrize("kind", ["db_locked", pytest.param("disk_full", marks=LINUX)])
def test_nothing_is_acknowledged_that_cannot_be_stored(tmp_path: Path, kind: str) -> None:
    with kit.Cloud(tmp_path / "cloud") as cloud:
        node = kit.MqttNode(cloud.state["mqtt"], cloud.add("patient", os.urandom(32), [(1, "air.temperature", "degC")]))
        node.connect()
        node.born(1, 1, [(A, 1, 1), (F, 1, 3)])
        thread, log = during(Fault(START, kind, lasts_us=2_500_000), cloud, tmp_path)
        for seq in (1, 2):
            row = kit.codec_frame([(1, -2)], [(200_000_000 + 60 * seq, [seq])])
            node.publish("t", node.keys.data(2, F, seq, kit.frame_payload(seq, 1, row)))
        held = node.ack(lambda ack: ack["flags"] == 1)
        assert thread.is_alive(), "the hold came only after the fault"
        assert (held[2]["cum"], held[2]["credit"]) == (0, 0)
        assert node.ack(lambda ack: ack["flags"] == 0 and ack[2]["cum"] == 2, wait_s=10)
        thread.join(10)
        assert cloud.query("cursors", "patient", "--json")["2"]["rows"] == 2
        assert log.strikes[0].until_us is not None
        node.close()


@pytest.mark.beside(3)
@pytest.mark.parametrize("kind", ["broker_kill", "ingest_kill", "auth_kill"])
def test_a_killed_process_is_over_when_another_stands_in_its_place(tmp_path: Path, kind: str) -> None:
    with kit.Cloud(tmp_path / "cloud") as cloud:
        before = Outside(cloud).pids()
        thread, log = during(Fault(START, kind), cloud, tmp_path)
        thread.join(15)
        after = Outside(cloud).pids()
        what = f"{kind.removesuffix('_kill')}_pid"
        assert after[what] != before[what] and kit.alive(after[what])
        assert log.strikes[0].until_us is not None


class Workers(Nobody):
    """Three ingest workers, each started again under another pid when it is killed; their disks can be full."""

    def __init__(self) -> None:
        self.running = {"broker_pid": 10, "ingest_pid": 11, "ingest2_pid": 12, "ingest3_pid": 13, "auth_pid": 14}
        self.hit = list[str]()
        self.asked = 0

    def pids(self) -> dict[str, int]:
        return self.running

    def kill(self, what: str) -> int:
        self.hit.append(what)
        old = self.running[f"{what}_pid"]
        self.running[f"{what}_pid"] += 10
        return old

    def refused(self) -> int:
        self.asked += 1
        return self.asked

    def prlimit(self, pid: int, what: int, limits: tuple[int, int] = (-1, -1)) -> tuple[int, int]:
        if limits[0] == 0:
            self.hit += [name.removesuffix("_pid") for name, each in self.running.items() if each == pid]
        return -1, -1


@pytest.mark.parametrize("kind", ["ingest_kill", "disk_full"])
def test_each_of_several_workers_has_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Who is hit is drawn, and drawn again the same."""
    monkeypatch.setattr(faults_cloud, "CATCH_UP_S", 0)

    async def scenario(folder: Path) -> list[str]:
        cloud = Workers()
        monkeypatch.setattr(faults_cloud.resource, "prlimit", cloud.prlimit)
        folder.mkdir()
        clock = SimClock(folder / "clock", START)
        plan = [Fault(START + number, kind, lasts_us=1000) for number in range(30)]
        faults = CloudFaults(plan, cloud, clock.view(folder / "view"), Conductor(clock), FaultLog())
        clock.set(START + 60, running=False)
        for _ in plan:
            faults.chunk_passed()
            while faults.busy:
                await asyncio.sleep(0.001)
        await faults.end()
        return cloud.hit

    first, again = (asyncio.run(scenario(tmp_path / name)) for name in ("first", "again"))
    assert first == again and len(first) == 30
    assert {worker: first.count(worker) > 3 for worker in set(first)} == dict.fromkeys(
        ("ingest", "ingest2", "ingest3"), True
    )


def test_the_clouds_clock_is_wrong_for_a_while_and_right_again(tmp_path: Path) -> None:
    async def scenario() -> list[tuple[int, int]]:
        clock = SimClock(tmp_path / "clock", START)
        view = clock.view(tmp_path / "view")
        shown = FileClock(tmp_path / "view")
        fault = Fault(START, "clock_jump", lasts_us=60_000_000, size=-40)
        faults = CloudFaults([fault], Nobody(), view, Conductor(clock), FaultLog())
        errors = []
        for second in (0, 30, 90):
            clock.set(START + second * 1_000_000, running=False)
            faults.chunk_passed()
            errors.append((second, shown.now_ms() - clock.now() // 1000))
        assert faults.shifts == [(START, -40_000_000), (START + 90_000_000, 0)]
        return errors

    assert asyncio.run(scenario()) == [(0, -40_000), (30, -40_000), (90, 0)]
