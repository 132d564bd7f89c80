"""The proof: four nodes, seven days, a reading a minute, hourly reports, every fault, two days without a network."""

import tempfile
from pathlib import Path

from host_sim import ledger
from host_sim.plan import Plan, members
from host_sim.run import Run
from tools import nodefile
from tools.benchmarks import Figure
from tools.build import ROOT

SECTION = "proof"


def run() -> dict[str, Figure]:
    """`seconds`: one run, set-up of the cloud end included, ledger and report not. RuntimeError if it does not
    balance.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [nodefile.load(ROOT / "nodes" / name) for name in ("greenhouse.toml", "cellar.toml")]
        proof = Run(Plan(members(files, 4), 7.0, faults="proof", folder=Path(folder) / "run"))
        proof.execute()
        book = ledger.compute(proof.plan.folder)
    if not book.balanced:
        raise RuntimeError(book.lines()[-1])
    return {"seconds": Figure.of([proof.seconds], "s")}
