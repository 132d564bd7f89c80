"""A fleet of simulated nodes under one clock."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from host_sim.clock import SimClock
from host_sim.conductor import Conductor
from host_sim.faults.supply import Supply
from host_sim.hardware.chip import Chip
from host_sim.line import Line, Listener
from host_sim.node import Node
from host_sim.nursery import Nursery
from host_sim.proxy import Proxy

HEAP_KB = 296  # of 64-bit words; what that is on a board: firmware/DECISIONS.md
WATCH_S = 0.1  # how often each node is looked at


class Fleet:
    """Everything that runs VMs: nursery, line, clock. `module_path(node name)` is a VM's; `heap_kb` its heap in KiB."""

    def __init__(
        self, folder: Path, clock: SimClock, module_path: Callable[[str], str], heap_kb: int = HEAP_KB
    ) -> None:
        self.folder = folder
        self.heap_kb = heap_kb
        self.clock = clock
        self.conductor = Conductor(clock)
        self.nodes: dict[str, Node] = {}
        self._module_path = module_path
        self._line_path = folder / "line"

    async def __aenter__(self) -> "Fleet":
        self._nursery = Nursery(self.heap_kb)
        self._line_path.unlink(missing_ok=True)
        self._listener = Listener(self._line_path, self._said_hello)
        self._watching = asyncio.ensure_future(self._watch())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._watching.cancel()
        for node in self.nodes.values():
            await node.end()
        self._listener.close()
        self._nursery.close()
        self._line_path.unlink(missing_ok=True)

    def add(
        self, name: str, folder: Path, chip: Chip, proxy: Proxy, code: list[Path], hosts: dict[str, int],
        supply: Supply | None = None,
    ) -> Node:  # fmt: skip
        """A new node; the arguments are `Node`'s."""
        node = Node(name, folder, chip, proxy, self.conductor, self._fork, code, hosts, supply)
        self.nodes[name] = node
        return node

    async def run(self, start: int, end: int) -> None:
        """Every node's life, in parallel; the first one that cannot go on ends them all."""
        lives = [asyncio.ensure_future(self._life(node, start, end)) for node in self.nodes.values()]
        try:
            await asyncio.gather(*lives)
        finally:
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)

    async def _life(self, node: Node, start: int, end: int) -> None:
        try:
            # Nobody plugs in a fleet at the same instant.
            first = start + random.Random(node.name).randrange(1, 20_000_000)
            await node.live(first, end)
        finally:
            self.conductor.leave(node.name)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            for node in self.nodes.values():
                node.look()

    async def _fork(self, node: Node) -> int:
        argv = [node.name, str(self._line_path), str(self.clock.path), str(node.folder / "flash.bin")]
        argv += map(str, node.code)
        return await self._nursery.fork(argv, self._module_path(node.name), node.console)

    def _said_hello(self, line: Line, name: str) -> None:
        self.nodes[name].said_hello(line)
