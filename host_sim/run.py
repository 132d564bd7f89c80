"""One simulation: cloud end, world, nodes; from power-on to the ledger."""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_sim.clock import SimClock
from host_sim.cloudend import CloudEnd
from host_sim.faults import kills
from host_sim.faults.kills import Kill
from host_sim.fleet import HEAP_KB, Fleet
from host_sim.hardware import image, rings
from host_sim.hardware.chip import CHIPS
from host_sim.proxy import Proxy
from host_sim.world import AnalogSensor, Bme280, ServedLog, World
from tools import boards, build
from tools.boards import Board
from tools.nodefile import NodeFile

ROOT = Path(__file__).resolve().parent.parent
START_MS = 1_780_272_000_000  # 2026-06-01T00:00:00Z, the world's first midnight
DAY_MS = 86_400_000
CATCH_UP_S = 0.3  # real time that ingest gets after an outage, before simulated time may jump again


@dataclass(frozen=True)
class Plan:
    """What to run. `kills` is how many times to kill -9 a node, ingest or the broker (`host_sim/faults/kills.py`),
    `heap_kb` the heap of each VM in KiB.
    """

    node_file: NodeFile
    count: int = 2
    days: float = 2.0
    seed: int = 1
    kills: int = 0
    folder: Path = ROOT / "build" / "sim"
    heap_kb: int = HEAP_KB

    @property
    def end_ms(self) -> int:
        """When the nodes stop waking, Unix milliseconds."""
        return START_MS + int(self.days * DAY_MS)


def node_key(seed: int, name: str) -> bytes:
    """K of a simulated node; a real one's comes from provisioning."""
    return hashlib.sha256(f"fieldnode simulation {seed} {name}".encode()).digest()


class Run:
    """Prepares the folder, runs the plan, leaves everything the ledger needs in the folder."""

    def __init__(self, plan: Plan, progress: Callable[[float], None] = lambda share: None) -> None:
        self.plan = plan
        self.progress = progress
        self.seconds = 0.0
        self.fleet: Fleet
        self.cloud: CloudEnd
        self._server_kills: list[Kill] = []
        self._chunks = 0
        self._board = boards.load(plan.node_file.board)
        self.killed: Counter[str] = Counter()

    def execute(self) -> None:
        """The whole simulation; SimulationError says what went wrong. Ctrl-C ends it and everything it started."""
        build.build()
        folder = self.plan.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.monotonic()
        asyncio.run(self._execute(folder))
        self.seconds = time.monotonic() - began

    async def _execute(self, folder: Path) -> None:
        plan = self.plan
        clock = SimClock(folder / "clock", START_MS * 1000)
        self.cloud = CloudEnd(folder, clock.path)
        names = plan.node_file.fleet(plan.count)
        world = World(plan.seed, START_MS)
        try:
            await asyncio.to_thread(self.cloud.start, plan.node_file.settings()["cloud"][0])
            async with Fleet(folder, clock, lambda _name: module_path(self._board), plan.heap_kb) as fleet:
                self.fleet = fleet
                described = []
                for name in names:
                    described.append(await self._add_node(fleet, world, name))
                await self._deploy(fleet, names)
                self._arm(fleet, names)
                ticker = asyncio.ensure_future(self._tick(fleet))
                await fleet.run(START_MS * 1000, plan.end_ms * 1000)
                ticker.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ticker
                self._write(folder, described)
                self.killed["node"] = sum(node.kills.done for node in fleet.nodes.values())
        finally:
            await asyncio.to_thread(self.cloud.stop)

    def _arm(self, fleet: Fleet, names: list[str]) -> None:
        plan = self.plan
        for kill in kills.plan(plan.seed, plan.kills, names, START_MS * 1000, plan.end_ms * 1000):
            if kill.what in (kills.REQUEST, kills.FLASH):
                fleet.nodes[kill.node].kills.waiting.append(kill)
            else:
                self._server_kills.append(kill)

    def _chunk_passed(self) -> None:
        """Kills ingest or the broker when the plan says so, in the middle of a contact."""
        if not self._server_kills or self.fleet.clock.now() < self._server_kills[0].at_us:
            return
        self._chunks += 1
        if self._chunks > self._server_kills[0].count:
            kill = self._server_kills.pop(0)
            self._chunks = 0
            killed = self.cloud.kill(kill.what)
            self.killed[kill.what] += 1
            self._recovery = asyncio.ensure_future(self._hold_until_back(kill.what, killed))

    async def _hold_until_back(self, what: str, killed: int) -> None:
        """Simulated time does not jump over an outage of the cloud end, nor over what it then has to catch up with."""
        self.fleet.conductor.hold(True)
        while self.cloud.pids()[f"{what}_pid"] == killed:
            await asyncio.sleep(0.01)
        await asyncio.sleep(CATCH_UP_S)
        self.fleet.conductor.hold(False)

    async def _tick(self, fleet: Fleet) -> None:
        """Ten times a second: tells how far the slowest node is."""
        start, span = START_MS * 1000, self.plan.days * DAY_MS * 1000
        while True:
            reached = min(node.last_seen for node in fleet.nodes.values())
            self.progress(max(0.0, min(1.0, (reached - start) / span)))
            await asyncio.sleep(0.1)

    async def _add_node(self, fleet: Fleet, world: World, name: str) -> dict[str, Any]:
        plan, settings = self.plan, self.plan.node_file.settings(name)
        folder = plan.folder / "nodes" / name
        folder.mkdir(parents=True)
        flash = image.open_flash(folder / "flash.bin", self._board)
        chip = CHIPS[self._board.chip](name, flash, plan.seed, dict(settings["wifi"]))
        served = ServedLog(folder / "served.csv")
        for sensor in settings["sensors"]:
            if sensor["driver"] == "bme280":
                device = Bme280(world, name, plan.seed, name=sensor["name"], served=served)
                chip.devices[int(sensor["bus"][-1]), sensor["address"]] = device
            else:
                chip.analog[sensor["pin"]] = AnalogSensor(
                    world, name, plan.seed, name=sensor["name"], served=served
                )
        proxy = Proxy(self.cloud.mqtt, self._chunk_passed)
        await proxy.start()
        code = build.OUT / "firmware"
        fleet.add(name, folder, chip, proxy, [code], {settings["cloud"][0]: proxy.port})
        key = node_key(plan.seed, name)
        channels = [[number, channel, unit] for number, channel, unit, _ in settings["channels"]]
        files = folder / "files"
        await asyncio.to_thread(self.cloud.add, name, settings["tenant"], key, channels, files)
        (files / "settings.json").write_text(json.dumps(settings, separators=(",", ":")))
        (files / "key").write_bytes(key)
        return self._describe(name, settings)

    async def _deploy(self, fleet: Fleet, names: list[str]) -> None:
        script = ROOT / "host_sim" / "chip" / "deploy"
        for name in names:
            node = fleet.nodes[name]
            node.chip.power_on(START_MS * 1000)
            await node.deploy(script, node.folder / "files", START_MS * 1000)
            node.ahead = True

    def _describe(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """What the ledger must know of a node: run.json's entry."""
        return {
            "name": name,
            "tenant": settings["tenant"],
            "board": self.plan.node_file.board,
            "sensors": [{"name": s["name"], "interval": s["interval"]} for s in settings["sensors"]],
            "channels": settings["channels"],
            "sector_size": boards.SECTOR,
            "granularity": self._board.granularity,
            "image": f"nodes/{name}/flash.bin",
        }

    def example_query(self) -> str:
        """A command line that shows what arrived: the first node's first channel on the first day."""
        name, channel = self.plan.node_file.fleet(1)[0], self.plan.node_file.channels()[0].name
        data = os.path.relpath(self.plan.folder / "cloud")
        return f"python -m cloud query {name} --channel {channel} --from 2026-06-01 --to 2026-06-02 --data {data}"

    def _write(self, folder: Path, described: list[dict[str, Any]]) -> None:
        for node in described:
            node["rings"] = rings.places(self._board, folder / node["image"])
        record = {
            "start_ms": START_MS,
            "end_ms": self.plan.end_ms,
            "seed": self.plan.seed,
            "nodes": described,
        }
        (folder / "run.json").write_text(json.dumps(record, indent=1))


def module_path(board: Board) -> str:
    """The VM's path: the simulated chip ahead of the board's code, the firmware and the parts; frozen asyncio last."""
    out = build.OUT
    chip = out / "host_sim/chip"
    parts = [chip / "common", chip / board.family, chip / "models" / board.name]
    parts += [out / folder.relative_to(ROOT) for folder in board.packages]
    return ":".join([*map(str, parts), str(out / "firmware"), str(out / "lib"), ".frozen"])
