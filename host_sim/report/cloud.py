"""What the cloud end holds, asked by its public command and kept as files beside the report."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from host_sim.report.run import ReportError

_REPOSITORY = Path(__file__).parents[2]
_TIMEOUT_S = 120


class Fetching:
    """Writes `arrivals.csv` (`cloud records`: every record as it was committed) and of every node
    `nodes/NAME/database.csv` (`cloud query`: every reading) into the run's folder, while its block runs.

    What is there already stays: a run begins with an empty folder. The end of the block waits for the answers, and
    raises ReportError with what the command said where it failed.
    """

    def __init__(self, folder: Path, nodes: Sequence[str]) -> None:
        self._folder = folder
        self._wanted = {folder / "arrivals.csv": ["records"]}
        self._wanted |= {folder / "nodes" / name / "database.csv": ["query", name] for name in nodes}

    def __enter__(self) -> Fetching:
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._answers: list[Future[None]] = [
            self._pool.submit(_keep, path, words, self._folder / "cloud")
            for path, words in self._wanted.items()
            if not path.exists()
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()
        for answer in self._answers:
            answer.result()


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
