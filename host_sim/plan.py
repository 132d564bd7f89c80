"""What a simulation is to run."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host_sim.faults import plan as fault_plan
from host_sim.faults.plan import Fault
from host_sim.fleet import HEAP_KB
from tools import boards, build
from tools.boards import Board
from tools.nodefile import NodeFile

ROOT = Path(__file__).resolve().parent.parent
START_MS = 1_780_272_000_000  # 2026-06-01T00:00:00Z, the world's first midnight
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Member:
    """A node of the fleet: its name, the node file it is made of, its board."""

    name: str
    node_file: NodeFile
    board: Board


def members(node_files: Sequence[NodeFile], count: int) -> list[Member]:
    """`count` nodes, made of the node files in turn: greenhouse-1, cellar-1, greenhouse-2 ...

    Raises NodeFileError where a name becomes too long.
    """
    found = []
    for index in range(count):
        node_file = node_files[index % len(node_files)]
        name = node_file.fleet(index // len(node_files) + 1)[-1]
        found.append(Member(name, node_file, boards.load(node_file.board)))
    return found


@dataclass(frozen=True)
class Plan:
    """What to run. `faults` is the name of a set, or a file; `kills` how many times to kill a process besides
    (`host_sim/faults`); `heap_kb` the heap of each VM in KiB.
    """

    members: list[Member]
    days: float = 2.0
    seed: int = 1
    faults: str = "none"
    kills: int = 0
    folder: Path = ROOT / "build" / "sim"
    heap_kb: int = HEAP_KB

    @property
    def end_ms(self) -> int:
        """When the nodes stop waking, Unix milliseconds."""
        return START_MS + int(self.days * DAY_MS)

    def drawn_faults(self) -> list[Fault]:
        """What will strike, in order of time. Raises FaultSetError."""
        nodes = [member.name for member in self.members]
        drawn = fault_plan.draw(fault_plan.load(self.faults), self.seed, nodes, START_MS * 1000, self.end_ms * 1000)
        drawn += fault_plan.kills(self.seed, self.kills, nodes, START_MS * 1000, self.end_ms * 1000)
        return sorted(drawn, key=lambda fault: fault.at_us)

    def key(self, name: str) -> bytes:
        """K of a simulated node; a real one's comes from provisioning."""
        return hashlib.sha256(f"fieldnode simulation {self.seed} {name}".encode()).digest()


def module_path(board: Board) -> str:
    """The VM's path: the simulated chip ahead of the board's code, the firmware and the parts; frozen asyncio last."""
    out = build.OUT
    chip = out / "host_sim/chip"
    parts = [chip / "common", chip / board.family, chip / "models" / board.name]
    parts += [out / folder.relative_to(ROOT) for folder in board.packages]
    return ":".join([*map(str, parts), str(out / "firmware"), str(out / "lib"), ".frozen"])
