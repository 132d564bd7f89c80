"""The smallest heap in which a node lives and calls over TLS, what mbedTLS takes on a board included."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from host_sim import ledger
from host_sim.node import SimulationError
from host_sim.plan import Plan, members, module_path
from host_sim.run import Run
from tools import boards, build, nodefile
from tools.benchmarks import Figure
from tools.build import ROOT

SECTION = "heap"
STEP_KB = 4
LOWEST_KB, HIGHEST_KB = 64, 320
SHORT_DAYS, LONG_DAYS = 0.1, 1.0  # hourly contacts

# What a board has built in, and the simulated one must keep in the VM's heap; asyncio is built in there as well.
_SIMULATOR = """
import gc, sys
sys.modules["_boot"] = object
import asyncio, asyncio.core
gc.collect()
before = gc.mem_alloc()
import _chip, _family, _tasks, time, select, os, socket, ssl, machine, network, esp32, _filesystem
gc.collect()
print(gc.mem_alloc() - before)
"""


def passes(heap_kb: int, days: float) -> bool:
    """Whether a node's every contact ends well in a VM with a heap of `heap_kb` KiB, and its ledger balances."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        node = members([nodefile.load(ROOT / "nodes" / "greenhouse.toml")], 1)
        plan = Plan(node, days, folder=folder, heap_kb=heap_kb)
        try:
            Run(plan).execute()
        except SimulationError:  # it does not even boot
            return False
        totals = ledger.compute(folder).totals
        said = "".join(path.read_text() for path in folder.glob("nodes/*/console.log"))
    return totals.balanced and totals.acknowledged > totals.taken / 2 and "MemoryError" not in said


def simulator_kb() -> float:
    """What the simulated chip's own modules take of that heap, KiB."""
    build.build()
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", "-c", _SIMULATOR],
        env=os.environ | {"MICROPYPATH": module_path(boards.load("esp32"))},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout) / 1024


def run() -> dict[str, Figure]:
    """`connected_kb`: the VM's heap, of 64-bit words, found by bisection with short runs and verified with a day.

    `simulator_kb`: the part of it that a board does not need, for there these modules are built in.
    """
    low, high = LOWEST_KB, HIGHEST_KB  # `low` fails, `high` passes
    while high - low > STEP_KB:
        middle = (low + high) // 2 // STEP_KB * STEP_KB
        low, high = (low, middle) if passes(middle, SHORT_DAYS) else (middle, high)
    while not passes(high, LONG_DAYS):
        high += STEP_KB
        if high > 2 * HIGHEST_KB:
            raise RuntimeError(f"heap: a day does not pass in {high} KiB")
    return {"connected_kb": Figure.exact(high, "KiB"), "simulator_kb": Figure.exact(simulator_kb(), "KiB")}
