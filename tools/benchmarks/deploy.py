"""The command `fieldnode deploy` on a simulated board: all onto a blank one, nothing onto one that has it."""

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from host_sim.bench import BenchBoard
from tools import nodefile
from tools.benchmarks import Figure
from tools.catalogue import ROOT

SECTION = "deploy"
RUNS = 5


async def _command(*words: object) -> float:
    """Seconds that `python -m tools.cli ...` takes."""
    began = time.perf_counter()
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "tools.cli", *map(str, words)],
        cwd=ROOT, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


async def _measure(folder: Path) -> tuple[float, list[float]]:
    path = folder / "greenhouse.toml"
    path.write_text((ROOT / "nodes" / "greenhouse.toml").read_text() + "\n[service]\nwindow = 600\n")
    await _command("provision", path, "--data", folder / "cloud")
    async with BenchBoard(nodefile.load(path), folder / "bench", folder / "port", blank=True) as board:
        words = ("deploy", path, "--port", board.port.link, "--wait", 20, "--status-wait", 0)
        return await _command(*words), [await _command(*words) for _ in range(RUNS)]


def run() -> dict[str, Figure]:
    """`first_s`: all files onto a blank ESP32; `unchanged_s`: the same command again. Both from the command's start to
    its end, without the wait for the first boot.
    """
    with tempfile.TemporaryDirectory() as folder:
        first, again = asyncio.run(_measure(Path(folder)))
    return {"first_s": Figure.exact(first, "s"), "unchanged_s": Figure.of(again, "s")}
