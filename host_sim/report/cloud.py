"""What the cloud end holds, asked by its public command and kept as files beside the report."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from host_sim.report.run import ReportError

ARRIVALS = "arrivals.csv"
DATABASE = "database.csv"

_REPOSITORY = Path(__file__).parents[2]
_TIMEOUT_S = 120


def fetch(folder: Path, nodes: Sequence[str]) -> None:
    """Writes `arrivals.csv` (`cloud records`: every record as it was committed) and of every node
    `nodes/NAME/database.csv` (`cloud query`: every reading) into the run's folder.

    What is there already stays: a run begins with an empty folder. Raises ReportError with what the command said.
    """
    wanted = {folder / ARRIVALS: ["records"]}
    wanted |= {folder / "nodes" / name / DATABASE: ["query", name] for name in nodes}
    missing = [(path, words) for path, words in wanted.items() if not path.exists()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(_keep, path, words, folder / "cloud") for path, words in missing]:
            done.result()


def _keep(path: Path, words: list[str], data: Path) -> None:
    """One command's output as a file, which is there only when the command succeeded."""
    command = [sys.executable, "-m", "cloud", *words, "--data", str(data.resolve())]
    made = path.with_suffix(".part")
    try:
        with made.open("wb") as output:
            done = subprocess.run(
                command, cwd=_REPOSITORY, stdout=output, stderr=subprocess.PIPE, text=True, timeout=_TIMEOUT_S
            )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise ReportError(f"{path}: cloud {words[0]}: {said[-1]}")
        made.rename(path)
    finally:
        made.unlink(missing_ok=True)
