"""Commands sent by the public command while a simulation runs: done at the next contact, told, and in balance."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from simcommand import ROOT, ledger

WAIT_S = 90
NODES = ("greenhouse-1", "cellar-1")
OPERATIONS = ("read", "erase-released", "report", "restart-radio", "restart", "read")


def _cloud(folder: Path, *words: str) -> Any:
    command = [sys.executable, "-m", "cloud", *words, "--json", "--data", str(folder / "cloud")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_commands_sent_during_a_run_are_done_and_told_and_the_ledger_balances(tmp_path):
    folder = tmp_path / "run"
    line = [sys.executable, "-m", "host_sim", "run", "--folder", str(folder), "--days", "0.5", "--faults", "none"]
    with subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            deadline = time.monotonic() + WAIT_S
            while not _contacts(folder) and time.monotonic() < deadline:
                time.sleep(0.2)
            sent = {node: [_cloud(folder, "send", node, each)["operation"] for each in OPERATIONS] for node in NODES}
            assert run.poll() is None, "the run ended before the commands were sent"
            said, _ = run.communicate(timeout=WAIT_S)
        finally:
            run.kill()
    assert run.returncode == 0, said
    for node in NODES:
        commands = _cloud(folder, "node", node)["commands"]
        assert [(c["operation"], c["status"]) for c in commands] == [(each, "done") for each in sent[node]]
        assert all(c["made"] <= c["sent"] <= c["answered"] <= c["expires"] for c in commands), "by the simulated clock"
        first, last = commands[0]["detail"], commands[-1]["detail"]
        assert first.startswith("row ") and last.startswith("row ") and first != last and "-" not in first[:8]
        console = (folder / "nodes" / node / "console.log").read_text().splitlines()
        assert [line for line in console if "formatting" not in line] == [], "beside a TLS session memory is short"
    book = ledger(folder)
    assert book["balanced"] and not book["totals"]["unexplained"] and not book["totals"]["lost"]
    assert book["totals"]["due"] == book["totals"]["taken"]


def _contacts(folder: Path) -> bool:
    """Whether both nodes have called and are known to the running cloud."""
    if not (folder / "cloud" / "run.json").exists():
        return False
    command = [sys.executable, "-m", "cloud", "nodes", "--json", "--data", str(folder / "cloud")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    return done.returncode == 0 and sum(bool(node["last"]) for node in json.loads(done.stdout or "[]")) == 2
