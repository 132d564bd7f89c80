"""`python -m host_sim run` as a user runs it, in a folder of the test's."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def simulate(folder: Path, *options: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs to the end; the result has the exit status and what it printed."""
    command = [sys.executable, "-m", "host_sim", "run", "--folder", str(folder), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def settle(folder: Path) -> subprocess.CompletedProcess[str]:
    """Computes the ledger of a finished run again."""
    command = [sys.executable, "-m", "host_sim.ledger", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def ledger(folder: Path) -> dict:
    """The ledger as the run wrote it."""
    return json.loads((folder / "ledger.json").read_text())


def strikes(folder: Path) -> list[dict[str, str]]:
    """The faults that struck, as the run wrote them down."""
    with (folder / "faults.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that have to do with the folder; Linux only."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                descriptors = " ".join(os.readlink(each) for each in (process / "fd").iterdir())
            except OSError:
                continue
            if str(folder) in line + descriptors:
                found.append(line)
    return found


def interrupt(folder: Path, after: float, *options: str) -> tuple[int, float]:
    """Ctrl-C `after` seconds of its own work: (exit status, seconds until it had ended)."""
    process = _start(folder, after, options)
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    try:
        return process.wait(20), time.monotonic() - began
    finally:
        if process.poll() is None:
            process.kill()


def kill(folder: Path, after: float, *options: str) -> None:
    """kill -9 of the command after so many seconds of its own work."""
    process = _start(folder, after, options)
    process.kill()
    process.wait(20)


def _start(folder: Path, after: float, options: tuple[str, ...]) -> subprocess.Popen:
    command = [sys.executable, "-m", "host_sim", "run", "--folder", str(folder), *options]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=quiet, stderr=quiet)
    # Its processor time: on a busy machine a third of a second is not enough for Python to start at all.
    while process.poll() is None and _worked(process.pid) < after:
        time.sleep(0.01)
    return process


def _worked(pid: int) -> float:
    """Seconds of processor time of a process (proc(5), stat: utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
