"""One line per seed, whatever becomes of the run."""

import json
import subprocess

import pytest

from host_sim import sweep

TOTALS = {
    "due": 9, "taken": 8, "missed": {"reset": 1}, "lost": 0, "duplicates": 0, "unexplained": 0, "balanced": True,
}  # fmt: skip


@pytest.fixture
def runs(monkeypatch, tmp_path):
    """Sweeps over runs that `outcome(seed, folder)` stands for; it returns exit status and standard error."""
    monkeypatch.setattr(sweep, "ROOT", tmp_path)

    def under(outcome, seeds):
        def run(command, **_how):
            folder = tmp_path / "build" / "sweep" / command[command.index("--seed") + 1]
            folder.mkdir(parents=True)
            return subprocess.CompletedProcess(command, *outcome(int(folder.name), folder))

        monkeypatch.setattr(sweep.subprocess, "run", run)
        return list(sweep.runs(seeds, 2.0, "all"))

    return under


def finished(folder, status=0, stderr="", **changes):
    (folder / "ledger.json").write_text(json.dumps({"totals": {**TOTALS, **changes}}))
    (folder / "faults.csv").write_text("t_ms,until_ms,kind,node,detail\n1,2,stall,n,\n")
    return status, "", stderr


def test_a_line_says_what_struck_and_what_never_did(runs, tmp_path):
    lines = runs(lambda seed, folder: finished(folder, stderr="never struck: a\nnever struck: b\n"), 1)
    ((line, balanced),) = lines
    assert line.startswith("seed   1  1 faults struck, 2 never; due 9, taken 8, missed reset 1; lost 0")
    assert line.endswith("unexplained 0: balanced") and balanced
    assert not (tmp_path / "build" / "sweep" / "1").exists()


def test_a_run_that_fails_or_hangs_is_told_and_the_next_one_goes_on(runs, tmp_path):
    def outcome(seed, folder):
        if seed == 1:
            raise subprocess.TimeoutExpired("run", sweep.LONGEST_S)
        if seed == 2:
            return 1, "", "sim: cloud end did not start\n"
        return finished(folder, 1, unexplained=1, balanced=False) if seed == 3 else finished(folder)

    lines = runs(outcome, 4)
    assert [balanced for _, balanced in lines] == [False, False, False, True]
    assert "not done after" in lines[0][0] and "failed: sim: cloud end did not start" in lines[1][0]
    assert "unexplained 1: NOT BALANCED, see" in lines[2][0] and (tmp_path / "build" / "sweep" / "3").exists()
