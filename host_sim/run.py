"""One simulation: cloud end, world, nodes; from power-on to the files that the ledger reads."""

import asyncio
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from host_sim.clock import SimClock
from host_sim.cloudend import CloudEnd
from host_sim.commits import Commits
from host_sim.faults.air import Air
from host_sim.faults.cloud import CloudFaults
from host_sim.faults.log import FaultLog
from host_sim.faults.path import Path as NetworkPath
from host_sim.faults.supply import Supply
from host_sim.fleet import Fleet
from host_sim.hardware import image, rings
from host_sim.hardware.chip import CHIPS
from host_sim.hardware.flash import SECTOR
from host_sim.node import SimulationError
from host_sim.plan import ROOT, START_MS, Member, Plan, module_path
from host_sim.proxy import Proxy
from host_sim.status import Collector, Status
from host_sim.wiring import wire
from host_sim.world import ServedLog, World
from tools import boards, build, wear

DEPLOY = ROOT / "host_sim" / "chip" / "deploy"
TELL_S = 0.25  # how often it says how it goes


class Run:
    """Prepares the folder, runs the plan, leaves what the ledger needs in the folder; `tell` hears how it goes."""

    def __init__(self, plan: Plan, tell: Callable[[Status], None] = lambda status: None) -> None:
        self.plan = plan
        self.tell = tell
        self.status = Collector(plan)
        self.seconds = 0.0
        self._began = 0.0
        self.faults = plan.drawn_faults()
        self.log = FaultLog(self.status.struck, self.status.over)
        self.fleet: Fleet
        self.cloud: CloudEnd
        self._cloud_faults: CloudFaults
        self._world = World(plan.seed, START_MS)

    def execute(self) -> None:
        """The whole simulation; SimulationError says what went wrong. Ctrl-C ends it and everything it started."""
        build.build()
        folder = self.plan.folder
        if folder.exists() and (folder.is_file() or any(folder.iterdir()) and not (folder / "clock").exists()):
            raise SimulationError(f"{folder} holds something else than an earlier run; name another --folder")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f".{folder.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SimulationError(f"another simulation runs in {folder}; name another --folder") from None
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            self._began = time.monotonic()
            asyncio.run(self._execute())
            self.seconds = time.monotonic() - self._began

    def example_query(self) -> str:
        """A command line that shows what arrived: the first node's first channel on the first day."""
        first = self.plan.members[0]
        channel = first.node_file.channels()[0].name
        data = os.path.relpath(self.plan.folder / "cloud")
        return f"python -m cloud query {first.name} --channel {channel} --from 2026-06-01 --to 2026-06-02 --data {data}"

    async def _execute(self) -> None:
        plan = self.plan
        clock = SimClock(plan.folder / "clock", START_MS * 1000)
        cloud_clock = clock.view(plan.folder / "cloud-clock")
        paths = {member.name: module_path(member.board) for member in plan.members}
        self.cloud = CloudEnd(plan.folder, cloud_clock.path)
        commits = Commits(self.cloud.data, plan.folder / "tail.log", self.status.committed, self._lost_sight)
        try:
            hosts = {member.node_file.settings()["cloud"][0] for member in plan.members}
            await asyncio.to_thread(self.cloud.start, sorted(hosts))
            async with Fleet(plan.folder, clock, paths.__getitem__, plan.heap_kb) as fleet:
                self.fleet = fleet
                await commits.start()
                self._cloud_faults = CloudFaults(self.faults, self.cloud, cloud_clock, fleet.conductor, self.log)
                for member in plan.members:
                    await self._install(fleet, member)
                await self._watch(fleet)
                await self._cloud_faults.end()
                self._write()
                await commits.stop()
                self.tell(self.status.status(fleet.nodes, done=True))
        finally:
            await commits.stop()
            await asyncio.to_thread(self.cloud.stop)

    async def _install(self, fleet: Fleet, member: Member) -> None:
        """A node with its sensors, its way to the broker and its files, registered with the cloud and deployed."""
        plan, name = self.plan, member.name
        settings = member.node_file.settings(name)
        folder = plan.folder / "nodes" / name
        folder.mkdir(parents=True)
        flash = image.open_flash(folder / "flash.bin", member.board)
        chip = CHIPS[member.board.chip](name, flash, plan.seed, dict(settings["wifi"]))
        served = self.status.tap(name, ServedLog(folder / "served.csv"))
        wire(chip, self._world, plan.seed, name, settings["sensors"], served)
        own = [fault for fault in self.faults if fault.node == name]
        chip.air = Air(own, self.log)
        path = NetworkPath(own, chip.air, self.log)
        proxy = Proxy(self.cloud.mqtt, fleet.conductor, path, self._cloud_faults.chunk_passed)
        await proxy.start()
        hosts = {settings["cloud"][0]: proxy.port}
        node = fleet.add(name, folder, chip, proxy, [build.OUT / "firmware"], hosts, Supply(own, self.log))
        channels = [[number, channel, unit] for number, channel, unit, _ in settings["channels"]]
        files = folder / "files"
        await asyncio.to_thread(self.cloud.add, name, settings["tenant"], plan.key(name), channels, files)
        (files / "settings.json").write_text(json.dumps(settings, separators=(",", ":")))
        (files / "key").write_bytes(plan.key(name))
        chip.power_on(START_MS * 1000)
        await node.deploy(DEPLOY, files, START_MS * 1000)
        node.ahead = True
        node.noted = partial(self.status.noted, name)

    async def _watch(self, fleet: Fleet) -> None:
        """Runs the fleet, and tells now and then how it goes; what `tell` raises ends the run."""

        def seen(node: str) -> int:
            return fleet.nodes[node].last_seen if node else min(each.last_seen for each in fleet.nodes.values())

        self.status.begin()
        running = asyncio.ensure_future(fleet.run(START_MS * 1000, self.plan.end_ms * 1000))
        try:
            while not running.done():
                self.log.tick(seen)
                self.tell(self.status.status(fleet.nodes))
                await asyncio.wait((running,), timeout=TELL_S)
            await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def _lost_sight(self, why: str) -> None:
        now = min((node.last_seen // 1000 for node in self.fleet.nodes.values()), default=START_MS)
        self.status.struck(now, "blind", "", f"acknowledged and alerts stand still: {why}")

    # What the ledger must know

    def _write(self) -> None:
        plan = self.plan
        nodes = [_describe(member, plan.folder) for member in plan.members]
        record = {
            "start_ms": START_MS, "end_ms": plan.end_ms, "days": plan.days, "seed": plan.seed, "faults": plan.faults,
            "seconds": round(time.monotonic() - self._began, 1), "nodes": nodes,
            "cloud_clock": [[at // 1000, by // 1000] for at, by in self._cloud_faults.shifts],
        }  # fmt: skip
        (plan.folder / "run.json").write_text(json.dumps(record, indent=1))
        self.log.write(plan.folder / "faults.csv", plan.end_ms * 1000)
        for member in plan.members:
            node = self.fleet.nodes[member.name]
            flash = node.chip.flash
            projected = wear.project(member.node_file.settings(member.name), member.board)
            worn = {
                "sector_size": SECTOR, "erases": flash.erases, "programmed_bytes": flash.programmed_bytes,
                "projected_years": {each.ring: round(each.years, 1) for each in projected},
            }  # fmt: skip
            (node.folder / "wear.json").write_text(json.dumps(worn))


def _describe(member: Member, folder: Path) -> dict[str, Any]:
    settings = member.node_file.settings(member.name)
    flash = f"nodes/{member.name}/flash.bin"
    return {
        "name": member.name,
        "tenant": settings["tenant"],
        "board": member.board.name,
        "sensors": [{"name": sensor["name"], "interval": sensor["interval"]} for sensor in settings["sensors"]],
        "channels": settings["channels"],
        "rings": rings.places(member.board, folder / flash),
        "sector_size": boards.SECTOR,
        "granularity": member.board.granularity,
        "window_s": settings["service"][0],
        "image": flash,
    }
