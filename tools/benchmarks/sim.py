"""The simulation as a newcomer meets it, and what one wake of a node costs the host."""

import tempfile
from pathlib import Path
from statistics import fmean

from host_sim.plan import Plan, members
from host_sim.run import Run
from tools import nodefile
from tools.benchmarks import Figure
from tools.build import ROOT

SECTION = "sim"
RUNS = 5


def _simulate(nodes: int, days: float, faults: str = "none") -> Run:
    with tempfile.TemporaryDirectory() as folder:
        files = [nodefile.load(ROOT / "nodes" / name) for name in ("greenhouse.toml", "cellar.toml")]
        run = Run(Plan(members(files, nodes), days, faults=faults, folder=Path(folder) / "run"))
        run.execute()
    return run


def run() -> dict[str, Figure]:
    """`default_seconds`: two nodes, two days, default faults, set-up of the cloud end included, ledger and report not.

    `wake_ms`: the mean over 500 wakes of one node that only store, without faults: fork, imports, measuring, journal,
    deep sleep.
    """
    seconds = [_simulate(2, 2.0, "default").seconds for _ in range(RUNS)]
    wakes = []
    for _ in range(RUNS):
        (node,) = _simulate(1, 0.35).fleet.nodes.values()
        wakes.append(1000 * fmean(node.stored_only))
    return {"default_seconds": Figure.of(seconds, "s"), "wake_ms": Figure.of(wakes, "ms")}
