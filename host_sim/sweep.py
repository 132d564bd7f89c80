"""The same run under many seeds."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from host_sim.plan import ROOT

LONGEST_S = 900


def runs(seeds: int, days: float, fault_set: str) -> Iterator[tuple[str, bool]]:
    """(a line, whether it balanced) of each run, as `host_sim run` does it, in a folder of its own under build/sweep.
    The folder of one that balanced is removed.
    """
    for seed in range(1, seeds + 1):
        folder = ROOT / "build" / "sweep" / str(seed)
        command = [sys.executable, "-m", "host_sim", "run", "--json", "--seed", str(seed), "--days", str(days)]
        command += ["--faults", fault_set, "--folder", str(folder)]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            yield f"seed {seed:3}  failed: not done after {LONGEST_S} s, see {folder}", False
            continue
        yield f"seed {seed:3}  {_summary(folder, done)}", done.returncode == 0
        if done.returncode == 0:
            shutil.rmtree(folder)


def _summary(folder: Path, done: subprocess.CompletedProcess[str]) -> str:
    try:
        totals = json.loads((folder / "ledger.json").read_text())["totals"]
        strikes = len((folder / "faults.csv").read_text().splitlines()) - 1
    except OSError:
        return f"failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no word'}"
    idle = sum(line.startswith("never struck: ") for line in done.stderr.splitlines())
    struck = f"{strikes} faults struck" + (f", {idle} never" if idle else "")
    missed = ", ".join(f"{reason} {count}" for reason, count in totals["missed"].items())
    return (
        f"{struck}; due {totals['due']}, taken {totals['taken']}, missed {missed or 0}; "
        f"lost {totals['lost']}, duplicates {totals['duplicates']}, unexplained {totals['unexplained']}: "
        + ("balanced" if totals["balanced"] and not done.returncode else f"NOT BALANCED, see {folder}")
    )
