"""What goes wrong at the cloud end: its processes are killed, its database is locked, its disk is full, its clock is
wrong. Done to it from outside, as the world does it.
"""

import asyncio
import contextlib
import random
import re
import resource
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from host_sim.clock import ClockView
from host_sim.conductor import Conductor
from host_sim.faults import kinds
from host_sim.faults.kinds import KINDS
from host_sim.faults.log import FaultLog, Strike
from host_sim.faults.plan import Fault
from host_sim.node import SimulationError

CATCH_UP_S = 0.3  # real time that ingest gets after an outage, before simulated time may jump again

_PROCESS = {
    kinds.BROKER_KILL: "broker", kinds.AUTH_KILL: "auth", kinds.INGEST_KILL: "ingest", kinds.DISK_FULL: "ingest",
}  # fmt: skip
_KILLS = {kinds.BROKER_KILL, kinds.AUTH_KILL, kinds.INGEST_KILL}


class Sufferer(Protocol):
    """What is done to. `data` is its data folder."""

    data: Path

    def pids(self) -> dict[str, int]:
        """The processes as they are now: {"broker_pid": .., "ingest_pid": .., "ingest2_pid": ..}."""
        ...

    def kill(self, what: str) -> int:
        """kill -9 of `ingest`, `ingest2`, `broker` or `auth`; returns the pid it had."""
        ...

    def refused(self) -> int:
        """How often its database has refused ingest a write so far."""
        ...


class CloudFaults:
    """Strikes in the middle of a contact, once the plan's moment has come; the clock jumps without one. One fault at a
    time. While it lasts simulated time does not jump, so the outage takes the time it takes. A database locked, or a
    disk full, while ingest has nothing to write has not struck: it comes again with the next piece of data.
    """

    def __init__(
        self, faults: Iterable[Fault], cloud: Sufferer, clock: ClockView, conductor: Conductor, log: FaultLog
    ) -> None:
        own = [fault for fault in faults if KINDS[fault.kind].hits == kinds.CLOUD]
        self._waiting = sorted((each for each in own if each.kind != kinds.CLOCK_JUMP), key=lambda each: each.at_us)
        self._jumps = sorted((each for each in own if each.kind == kinds.CLOCK_JUMP), key=lambda each: each.at_us)
        self._cloud = cloud
        self._clock = clock
        self._conductor = conductor
        self._log = log
        self._counted = 0
        self._task: asyncio.Task[None] | None = None
        self._failed: SimulationError | None = None
        self._wrong_until = 0
        self.shifts: list[tuple[int, int]] = []
        """When the cloud's clock was set to another error, and to which; both microseconds."""

    @property
    def busy(self) -> bool:
        """Whether one is at work, or its aftermath."""
        return self._task is not None

    def chunk_passed(self, calm: bool = True) -> None:
        """Called ahead of each piece of data on any node's way to the broker. A way with a fault of its own is not
        `calm`: what strikes there may be over before anything comes through.
        """
        now = self._conductor.clock.now()
        self._turn_clock(now)
        if not calm or not self._waiting or now < self._waiting[0].at_us or self._task is not None:
            return
        self._counted += 1
        if self._counted > self._waiting[0].count:
            self._counted = 0
            fault = self._waiting.pop(0)
            strike = killed = None
            victim = self._victim(fault)
            if fault.kind in _KILLS:
                strike = self._log.struck(fault, now)
                killed = self._cloud.kill(victim)
            self._task = asyncio.ensure_future(self._last(fault, victim, strike, killed))

    def _victim(self, fault: Fault) -> str:
        """The process that a fault hits: of several ingest workers one that is drawn."""
        process = _PROCESS.get(fault.kind, "")
        if process != "ingest":
            return process
        found = (re.fullmatch(r"(ingest\d*)_pid", name) for name in sorted(self._cloud.pids()))
        return random.Random(fault.at_us).choice([each[1] for each in found if each])

    async def _last(self, fault: Fault, victim: str, strike: Strike | None, killed: int | None) -> None:
        self._conductor.hold(True)
        try:
            if strike is not None:
                while self._cloud.pids()[f"{victim}_pid"] == killed:
                    await asyncio.sleep(0.01)
            elif fault.kind == kinds.DB_LOCKED:
                strike = await self._lock(fault)
            else:
                strike = await self._fill(fault, victim)
            if strike is None:
                self._waiting.insert(0, fault)
            else:
                strike.until_us = self._conductor.clock.now()
            await asyncio.sleep(CATCH_UP_S)
        except (OSError, sqlite3.Error, ValueError) as error:
            self._failed = SimulationError(f"fault {fault.kind} could not be made: {error}")
        finally:
            self._conductor.hold(False)
            self._task = None

    async def _endure(self, fault: Fault) -> Strike | None:
        """The time it lasts; None if ingest was refused nothing in it."""
        before, began = self._cloud.refused(), self._conductor.clock.now()
        until = time.monotonic() + fault.lasts_us / 1e6
        strike = None
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.05))
            if strike is None and self._cloud.refused() > before:
                strike = self._log.struck(fault, began)
        return strike

    async def _lock(self, fault: Fault) -> Strike | None:
        """As a database shell with an open transaction."""
        (database,) = self._cloud.data.glob("*.sqlite3")
        connection = sqlite3.connect(database, timeout=0, isolation_level=None)
        try:
            while not _begun(connection):
                await asyncio.sleep(0.005)
            strike = await self._endure(fault)
            connection.execute("ROLLBACK")
            return strike
        finally:
            connection.close()

    async def _fill(self, fault: Fault, victim: str) -> Strike | None:
        """A file size limit of 0 (getrlimit(2)): every write of that worker to a file fails, as on a full disk.

        Linux only.
        """
        if not hasattr(resource, "prlimit"):
            raise OSError("another process can be kept from writing on Linux only")
        pid = self._cloud.pids()[f"{victim}_pid"]
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            return await self._endure(fault)
        finally:
            with contextlib.suppress(ProcessLookupError):  # the one that was started in its place has no limit
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)

    def _turn_clock(self, now: int) -> None:
        if self._wrong_until and now >= self._wrong_until:
            self._shift(now, 0)
            self._wrong_until = 0
        while self._jumps and now >= self._jumps[0].at_us:
            fault = self._jumps.pop(0)
            self._wrong_until = now + fault.lasts_us
            self._shift(now, fault.size * 1_000_000)
            self._log.struck(fault, now, self._wrong_until)

    def _shift(self, now: int, by: int) -> None:
        self._clock.shift(by)
        self.shifts.append((now, by))

    async def end(self) -> None:
        """What is under way is undone. Raises SimulationError if a fault that counts as struck could not be made."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._failed is not None:
            raise self._failed


def _begun(connection: sqlite3.Connection) -> bool:
    """Whether it has the write lock now; False while somebody else holds it."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        return False
    return True
