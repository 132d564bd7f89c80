"""A simulated board on the bench for tests: real mpremote at its port, a deploy tree, a cloud end."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from host_sim.bench import BenchBoard
from tools import boards, build
from tools.nodefile import NodeFile

ROOT = Path(__file__).resolve().parents[1]
MPREMOTE = [sys.executable, "-m", "mpremote"]


async def mpremote(port: Path, *words: str, timeout: float = 40.0) -> str:
    """Runs the real mpremote, unpatched, on the port; returns what it printed. AssertionError if it fails."""
    process = await asyncio.create_subprocess_exec(
        *MPREMOTE, "connect", str(port.resolve()), *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said = (await asyncio.wait_for(process.communicate(), timeout))[0].decode()
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"mpremote {' '.join(words)}: nothing within {timeout} s") from None
    assert process.returncode == 0, f"mpremote {' '.join(words)}: {said}"
    return said


async def port_of(board: BenchBoard, timeout: float = 15.0) -> Path:
    """The board's port, as soon as it is there."""
    for _ in range(int(timeout / 0.02)):
        if board.port.there:
            return board.port.link
        await asyncio.sleep(0.02)
    raise AssertionError(f"no port within {timeout} s; the board is {board.state}")


async def prompt_of(board: BenchBoard, timeout: float = 15.0) -> Path:
    """The board's port, as soon as a board without a main.py is at its prompt: before that it is deaf."""
    for _ in range(int(timeout / 0.02)):
        if board.console_log.read_bytes().endswith(b">>> ") and board.port.there:
            return board.port.link
        await asyncio.sleep(0.02)
    raise AssertionError(f"no prompt within {timeout} s: {board.console_log.read_text()}")


def tree(folder: Path, node_file: NodeFile, files: Path) -> Path:
    """What is to be on the board: the firmware, what it is made of, and the node's own `files`."""
    build.build()
    board = boards.load(node_file.board)
    made = folder / "tree"
    out = build.OUT
    parts = [out / "firmware", out / "lib", *(out / each.relative_to(ROOT) for each in board.packages)]
    for part in parts:
        shutil.copytree(part, made, dirs_exist_ok=True)
    (files / "settings.json").write_text(json.dumps(node_file.settings(), separators=(",", ":")))
    shutil.copytree(files, made, dirs_exist_ok=True)
    return made


async def deploy(board: BenchBoard, made: Path) -> None:
    """Copies the tree to the root of the board's filesystem and prepares its flash, in one session."""
    port = await prompt_of(board)
    entries = [str(entry) for entry in sorted(made.iterdir())]
    await mpremote(port, "fs", "cp", "-r", *entries, ":", timeout=120)
    await mpremote(port, "exec", "import board; board.build().flash.prepare()", timeout=60)


def environment() -> dict[str, str]:
    """For programs of ours that are to be found in this checkout."""
    return os.environ | {"PYTHONPATH": str(ROOT)}
