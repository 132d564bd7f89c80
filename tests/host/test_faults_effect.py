"""What is done to the cloud end, felt by processes that stand for it."""

import asyncio
import sqlite3
import struct
import subprocess
import sys
import time

import pytest

from host_sim.clock import SimClock
from host_sim.conductor import Conductor
from host_sim.faults.cloud import CloudFaults
from host_sim.faults.log import FaultLog
from host_sim.faults.plan import Fault
from host_sim.node import SimulationError

S = 1_000_000
START = 1_780_272_000 * S

WRITER = """
import sys
for line in sys.stdin:
    try:
        with open(sys.argv[1], "a") as file:
            file.write(line)
        print("written", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""


class Victim:
    """A data folder with a database, and a process that writes to a file there when it is told to."""

    def __init__(self, folder):
        self.data = folder
        self.refusals = 0
        self.database = sqlite3.connect(folder / "cloud.sqlite3", timeout=0, isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder / "written")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self.write() == "written"

    def pids(self):
        return {"broker_pid": 0, "ingest_pid": self.writer.pid}

    def kill(self, what):
        raise NotImplementedError(what)

    def refused(self):
        return self.refusals

    def write(self):
        assert self.writer.stdin and self.writer.stdout
        self.writer.stdin.write("line\n")
        self.writer.stdin.flush()
        return self.writer.stdout.readline().strip()

    def lock(self):
        """Takes the write lock for an instant."""
        self.database.execute("BEGIN IMMEDIATE")
        self.database.execute("ROLLBACK")

    def end(self):
        self.writer.kill()
        self.writer.communicate()
        self.database.close()


@pytest.fixture
def victim(tmp_path):
    made = Victim(tmp_path)
    yield made
    made.end()


class Stage:
    """Cloud faults at a clock that stands still at START."""

    def __init__(self, victim, *faults):
        self.clock = SimClock(victim.data / "clock", START)
        self.view = self.clock.view(victim.data / "cloud-clock")
        self.conductor = Conductor(self.clock)
        self.log = FaultLog()
        self.faults = CloudFaults(faults, victim, self.view, self.conductor, self.log)

    async def over(self):
        deadline = time.monotonic() + 10
        while self.conductor.held and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    def cloud_time(self):
        """What the cloud reads, simulated microseconds."""
        return struct.unpack_from("<q", self.view.path.read_bytes(), 8)[0] // 1000


def test_a_locked_database_takes_no_writer_until_it_is_over(victim):
    async def scenario():
        stage = Stage(victim, Fault(START, "db_locked", "", S // 2, count=1))
        stage.faults.chunk_passed()
        assert not stage.log.strikes and not stage.conductor.held
        stage.faults.chunk_passed(calm=False)
        assert not stage.log.strikes
        stage.faults.chunk_passed()
        await asyncio.sleep(0.1)
        assert stage.conductor.held and not stage.log.strikes
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            victim.lock()
        victim.refusals += 1
        await stage.over()
        victim.lock()
        (strike,) = stage.log.strikes
        assert strike.until_us is not None
        await stage.faults.end()

    asyncio.run(scenario())


@pytest.mark.skipif(sys.platform != "linux", reason="sets the limits of another process")
def test_a_full_disk_takes_no_write_until_it_is_over(victim):
    async def scenario():
        stage = Stage(victim, Fault(START, "disk_full", "", S // 2))
        stage.faults.chunk_passed()
        await asyncio.sleep(0.1)
        assert victim.write() == "File too large"
        await stage.over()
        assert victim.write() == "written"
        await stage.faults.end()

    asyncio.run(scenario())


def test_what_nobody_met_has_not_struck_and_comes_again(victim):
    """Ingest had nothing to write while its database was locked."""

    async def scenario():
        stage = Stage(victim, Fault(START, "db_locked", "", S // 5))
        for refused in (0, 1):
            stage.faults.chunk_passed()
            await asyncio.sleep(0.05)
            victim.refusals += refused
            await stage.over()
            assert len(stage.log.strikes) == refused
        stage.faults.chunk_passed()
        assert not stage.conductor.held
        await stage.faults.end()

    asyncio.run(scenario())


def test_a_fault_that_cannot_be_made_fails_the_run(victim):
    """It counts as struck, and its proof would be none."""

    async def scenario():
        stage = Stage(victim, Fault(START, "db_locked", "", S))
        (victim.data / "cloud.sqlite3").rename(victim.data / "gone")
        stage.faults.chunk_passed()
        await asyncio.sleep(0.1)
        await stage.over()
        with pytest.raises(SimulationError, match="fault db_locked could not be made"):
            await stage.faults.end()

    asyncio.run(scenario())


def test_the_clouds_clock_is_wrong_from_one_contact_to_another(victim):
    async def scenario():
        stage = Stage(victim, Fault(START + S, "clock_jump", "", 3600 * S, size=-40))
        for passed, wrong in ((0, 0), (2, -40), (3000, -40), (3700, 0)):
            stage.clock.set(START + passed * S, running=False)
            stage.faults.chunk_passed()
            assert stage.cloud_time() == START + (passed + wrong) * S
        assert stage.faults.shifts == [(START + 2 * S, -40 * S), (START + 3700 * S, 0)]

    asyncio.run(scenario())
