"""Frames through a way and a cloud end that fail all the time, and the account of what became of each.

The nodes are the firmware's own uplink and session in the unix VM (tools/benchmarks/vm_scripts/linknode.py), killed now
and then; each comes by a proxy of host_sim with resets, stalls, drips and slow stretches; broker, ingest and callout
service are killed with kill -9, the database is locked, the disk is full (host_sim/faults). Time is real. Whenever a
node says that it released a record, the database must have it by then; at the end each frame must be one row of the
right content, or be given up in a gap event that lies in the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import sqlite3
import struct
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from host_sim.clock import SimClock
from host_sim.cloudend import CloudEnd
from host_sim.conductor import Conductor
from host_sim.faults import kinds
from host_sim.faults.cloud import CloudFaults
from host_sim.faults.kinds import KINDS
from host_sim.faults.log import FaultLog
from host_sim.faults.path import Path as FaultPath
from host_sim.faults.plan import Fault
from host_sim.faults.stage import STAGES
from host_sim.proxy import Proxy
from tools.catalogue import ROOT
from tools.load import frames, vm
from tools.load.admit import TENANT, admit

_START_US = 1_800_000_000_000_000
_ROWS = 20
_AWAKE_CAP_S = 20
_GAP, _EVENT_SIZE = 5, 14
PATH_FAULTS = {
    kinds.CONN_RESET: 0.0, kinds.CONN_CLOSE: 0.0, kinds.HALF_OPEN: 0.0, kinds.REFUSED: 0.5, kinds.STALL: 1.0,
    kinds.DRIP: 1.0, kinds.SLOW: 1.0,
}  # fmt: skip
"""How long they last at most, in times of that from one to the next."""
_RARE = {kinds.HALF_OPEN: 0.2}
"""Each costs a deadline of 15 s, in which nothing else can strike."""
_LEAST_S = {kinds.DB_LOCKED: 1.5}
"""Ingest waits a second for a lock: a shorter one strikes nothing, is tried again and again, and no other comes."""
_STAGED = {kinds.CONN_RESET, kinds.CONN_CLOSE, kinds.HALF_OPEN, kinds.STALL}
CLOUD_FAULTS = {
    kinds.BROKER_KILL: 0.0, kinds.INGEST_KILL: 0.0, kinds.AUTH_KILL: 0.0, kinds.DB_LOCKED: 0.5, kinds.DISK_FULL: 0.3,
}  # fmt: skip


class RealTime:
    """Stands in for a `Conductor` where nothing is simulated: the clock runs, nothing is held."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock

    async def sleep_until(self, at: int) -> None:
        """Until the clock shows `at`."""
        await asyncio.sleep(max(0.0, (at - self.clock.now()) / 1e6))

    def hold(self, held: bool) -> None:
        """It never jumps."""

    def settle(self, seconds: float) -> None:
        """It never jumps."""


@dataclass
class Findings:
    """What a section found. `faults`: how often each kind struck; `wrong`: rows of other content;
    `unfinished`: 1 if the nodes were not rid of all in the time they had.
    """

    frames: int = 0
    rows: int = 0
    given_up: int = 0
    lost: int = 0
    duplicates: int = 0
    wrong: int = 0
    early_acks: int = 0
    unfinished: int = 0
    resent: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        """Nothing lost, doubled, wrong or acknowledged before its commit."""
        return not (self.lost or self.duplicates or self.wrong or self.early_acks or self.unfinished)


def _drawn(chance: random.Random, among: dict[str, float], every_s: float, until_s: float) -> list[Fault]:
    """Faults one after another, about `every_s` apart."""
    found = []
    at = chance.uniform(0, every_s / 4)
    while at < until_s:
        (kind,) = chance.choices(list(among), [_RARE.get(each, 1.0) for each in among])
        lasts = max(_LEAST_S.get(kind, 0.0), chance.uniform(0.2, 1.0) * among[kind] * every_s)
        count = chance.randrange(KINDS[kind].reach)
        stage = chance.choice(("", *STAGES)) if kind in _STAGED else ""
        found.append(Fault(_START_US + int(at * 1e6), kind, lasts_us=int(lasts * 1e6), count=count, stage=stage))
        at += lasts + chance.uniform(0.5, 1.5) * every_s
    return found


class TorturedNode:
    """A node with `count` frames; what it said is kept, so that it can go on after a kill -9."""

    def __init__(self, number: int, folder: Path, count: int, seed: int, silent_purge: bool) -> None:
        self.name = f"node{number:04}"
        self.count = count
        self.streams = (1000 + 2 * number, 1001 + 2 * number)
        self.released = [0, 0]
        self.raised = 0
        self.gave_up: list[tuple[int, int, int]] = []
        self.killed = 0
        self._folder = folder
        self._chance = random.Random(seed)
        self._silent_purge = silent_purge
        self._boot = 0

    async def live(self, port: int, pool: Path, kill_every_s: float, check: Any) -> None:
        """Until all is committed; `check(node, ring, seq)` is called with each release."""
        while True:
            self._boot += 1
            job = {
                "kind": "torture", "node": self.name, "tenant": TENANT, "cloud": ["127.0.0.1", port], "rows": _ROWS,
                "boot": self._boot, "pool": str(pool), "frames": self.count, "streams": self.streams,
                "seed": self._chance.randrange(1 << 30), "awake_cap": _AWAKE_CAP_S, "silent_purge": self._silent_purge,
                "resume": {"released": self.released, "raised": self.raised, "gave_up": self.gave_up},
            }  # fmt: skip
            ends_at = asyncio.get_running_loop().time() + self._chance.uniform(0.3, 2.0) * kill_every_s
            async with vm.Vm(self._folder, job) as machine:
                try:
                    while True:
                        left = ends_at - asyncio.get_running_loop().time()
                        said = await asyncio.wait_for(machine.said(), max(0.01, left))
                        if said is None:
                            return
                        self._take(said, check)
                except asyncio.TimeoutError:
                    self.killed += 1

    def _take(self, said: dict[str, Any], check: Any) -> None:
        if "released" in said:
            ring, seq = said["released"]
            self.released[ring - 1] = seq
            check(self, ring, seq)
        elif "raised" in said:
            self.raised = said["raised"]
        elif "gave_up" in said:
            event, lo, hi = said["gave_up"]
            if not said["silently"]:
                self.raised = event
            self.gave_up.append((event, lo, hi))


class Bench:
    """A section: `nodes` nodes with `count` frames each in the folder `folder`; `root` holds the cloud end's code."""

    def __init__(
        self, folder: Path, nodes: int, count: int, seed: int, *, root: Path = ROOT, silent_purge: bool = False,
        ways: dict[str, float] = PATH_FAULTS, every_s: float = 2.0, kill_every_s: float = 10.0, most_s: float = 1700.0,
        workers: int = 1,
    ) -> None:  # fmt: skip
        """`every_s`: from fault to fault of the kinds `ways` on each way, twice that at the cloud end; `kill_every_s`:
        from kill to kill of a node. `workers` ingest; of several one that is drawn is killed or has its disk full, the
        others go on. TimeoutError from `run` after `most_s`.
        """
        self.findings = Findings(frames=nodes * count)
        self._folder = folder
        self._root = root
        self._ways = ways
        self._every_s = every_s
        self._kill_every_s = kill_every_s
        self._most_s = most_s
        self._workers = workers
        self._chance = random.Random(seed)
        self._nodes = []
        for number in range(nodes):
            own, node_seed = folder / "nodes" / f"node{number:04}", self._chance.randrange(1 << 30)
            self._nodes.append(TorturedNode(number, own, count, node_seed, silent_purge))

    @property
    def database(self) -> Path:
        """Where the cloud end keeps what it has."""
        return self._folder / "cloud" / "cloud.sqlite3"

    def admit(self) -> None:
        """Make the nodes known to a cloud end that is not there yet."""
        admit(self._folder / "cloud", self._folder / "nodes", len(self._nodes))

    def run(self) -> Findings:
        """Admit them unless that is done, torture, settle the account."""
        if not self.database.exists():
            self.admit()
        clock = SimClock(self._folder / "clock", _START_US)
        shown = clock.view(self._folder / "cloud-clock")
        cloud = CloudEnd(self._folder, shown.path, self._root, self._workers)
        cloud.start([])
        try:
            clock.set(clock.now(), running=True)
            try:
                asyncio.run(asyncio.wait_for(self._run(cloud, clock, shown), self._most_s))
            except asyncio.TimeoutError:
                self.findings.unfinished = 1
            self.findings.seconds = (clock.now() - _START_US) / 1e6
        finally:
            cloud.stop()
        self._settle()
        return self.findings

    async def _run(self, cloud: CloudEnd, clock: SimClock, shown: Any) -> None:
        pool = self._folder / "pool"
        self._pool = vm.write_pool(pool, _ROWS)
        conductor = cast(Conductor, RealTime(clock))
        log = FaultLog()
        faults = _drawn(self._chance, CLOUD_FAULTS, 2 * self._every_s, self._most_s)
        struck = CloudFaults(faults, cloud, shown, conductor, log)
        proxies = []
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as db:

            def check(node: TorturedNode, ring: int, seq: int) -> None:
                row = db.execute(
                    "SELECT cum FROM cursor JOIN node ON node.id = node WHERE name = ? AND ring = ? AND stream = ?",
                    (node.name, ring, node.streams[ring - 1]),
                ).fetchone()
                if row is None or row[0] < seq:
                    self.findings.early_acks += 1

            try:
                jobs = []
                for node in self._nodes:
                    own = _drawn(self._chance, self._ways, self._every_s, self._most_s)
                    proxy = Proxy(cloud.mqtt, conductor, FaultPath(own, log=log), struck.chunk_passed)
                    await proxy.start()
                    proxies.append(proxy)
                    jobs.append(node.live(proxy.port, pool, self._kill_every_s, check))
                await asyncio.gather(*jobs)
            finally:
                for proxy in proxies:
                    await proxy.stop()
                await struck.end()
        self.findings.faults = log.counts()
        self.findings.faults[kinds.NODE_KILL] += sum(node.killed for node in self._nodes)

    def _settle(self) -> None:
        """Hold what the nodes had against what the database has."""
        found = self.findings
        with closing(sqlite3.connect(self.database)) as db:
            for node in self._nodes:
                seen: Counter[bytes] = Counter()
                rows = db.execute(
                    "SELECT ring, stream, seq, payload FROM record JOIN cursor ON cursor.id = cursor"
                    " JOIN node ON node.id = node WHERE name = ?", (node.name,),
                ).fetchall()  # fmt: skip
                there = set()
                events = []
                for ring, stream, seq, payload in rows:
                    seen[hashlib.sha256(bytes([ring]) + payload).digest()] += 1
                    if ring == 2:
                        found.rows += 1
                        right = payload == self._payload(seq) and stream == node.streams[1] and seq <= node.count
                        found.wrong += not right
                        if right:
                            there.add(seq)
                    elif payload[0] == _GAP and payload[_EVENT_SIZE] == 2:
                        events.append(struct.unpack_from("<II", payload, _EVENT_SIZE + 1))
                found.duplicates += sum(count - 1 for count in seen.values())
                declared = {seq for lo, hi in events for seq in range(lo, hi + 1)}
                given_up = {seq for _, lo, hi in node.gave_up for seq in range(lo, hi + 1)}
                missing = set(range(1, node.count + 1)) - there
                found.given_up += len(missing)
                found.lost += len(missing - (declared & given_up))
            again = "SELECT coalesce(sum(count), 0) FROM counter WHERE name = 'duplicate'"
            (found.resent,) = db.execute(again).fetchone()

    def _payload(self, seq: int) -> bytes:
        return struct.pack("<IH", 1 + _ROWS * (seq - 1), _ROWS) + self._pool[seq % frames.FRAMES]
