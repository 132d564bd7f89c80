"""`python -m host_sim board`: what it reads, and what ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from benchkit import ROOT

COMMAND = [sys.executable, "-m", "host_sim", "board", "--node", "nodes/greenhouse.toml", "--folder"]


def started(folder: Path, **how: Any) -> subprocess.Popen[str]:
    """The command, ready or ended."""
    board = subprocess.Popen(
        [*COMMAND, str(folder / "board")], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **how
    )
    assert board.stdout is not None
    # Not readline(): what it reads ahead communicate() with a timeout does not see.
    first = b""
    while not first.endswith(b"\n") and (byte := os.read(board.stdout.fileno(), 1)):
        first += byte
    assert first.startswith(b"ready: esp32")
    return board


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_where_nobody_types_it_lives_until_a_signal(tmp_path: Path, end: signal.Signals) -> None:
    board = started(tmp_path, stdin=subprocess.DEVNULL)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            board.wait(1)
        board.send_signal(end)
        said, _ = board.communicate(timeout=30)
    finally:
        board.kill()
    assert board.returncode == 0 and said.endswith("off\n") and "Error" not in said, said
    assert not (tmp_path / "board" / "port").is_symlink()


def test_a_file_is_typed_from(tmp_path: Path) -> None:
    (tmp_path / "typed").write_text("state\nnonsense\nquit\nstate\n")
    with (tmp_path / "typed").open() as typed:
        board = started(tmp_path, stdin=typed)
        try:
            said, _ = board.communicate(timeout=30)
        finally:
            board.kill()
    assert board.returncode == 0 and said.count("by watchdog") == 1 and "'nonsense' is none of" in said, said


def test_a_pipe_is_typed_from_and_its_end_ends_it(tmp_path: Path) -> None:
    board = started(tmp_path, stdin=subprocess.PIPE)
    try:
        said, _ = board.communicate("state\n", timeout=30)
    finally:
        board.kill()
    assert board.returncode == 0 and said.count("by watchdog") == 1, said
