"""`fieldnode run`: a node file is checked, its board deployed to, and its log followed until Ctrl-C."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import serial
from test_deploy import ROOT, command, node_file

from host_sim.bench import BenchBoard
from tools import nodefile

pytestmark = pytest.mark.beside

STEP_S = 60


async def told(process: asyncio.subprocess.Process, until: str) -> str:
    """What the command says, up to and with a line that holds `until`."""
    said = ""
    while until not in said:
        assert process.stdout
        line = await asyncio.wait_for(process.stdout.readline(), STEP_S)
        assert line, f"it ended: {said}"
        said += line.decode()
    return said


async def start(*words: object) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "tools.cli", "run", *map(str, words), cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_it_checks_deploys_follows_and_ends_well_at_ctrl_c(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(follow(tmp_path), 110))


async def follow(folder: Path) -> None:
    path = node_file(folder, "greenhouse", 9)
    port = folder / "port"
    await command("tools.cli", "provision", path, "--data", folder / "cloud")
    async with BenchBoard(nodefile.load(path), folder / "bench", port, blank=True, flash_speed=50):
        process = await start(path, "--port", port)
        try:
            deployed = await told(process, "copied")
            status = await told(process, "greenhouse> log -f")
            followed = await told(process, "uplink: ")  # nobody listens at the cloud end's port, and the node says so
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert process.stdout
            rest = (await process.stdout.read()).decode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert f"{port}: " in deployed
    assert "  node: garden/greenhouse\n  board: esp32\n" in status
    assert "warning" in followed and "Traceback" not in rest and "Aborted" not in rest


def test_what_is_wrong_is_said_before_the_board_is_touched(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(refused(tmp_path), 60))


async def refused(folder: Path) -> None:
    """A node file with a mistake, a node without an identity, and a port that another program has: not a board without
    firmware, which would be flashed.
    """
    path = node_file(folder, "greenhouse", 9)
    port = folder / "port"
    async with BenchBoard(nodefile.load(path), folder / "bench", port, blank=True) as board:
        await board.settled("awake", 20)
        assert "has no key, ca, cert, pkey: first run `fieldnode provision" in await ends(2, path, "--port", port)
        wrong = folder / "wrong.toml"
        wrong.write_text(path.read_text().replace("pin = 34", "pin = 99"))
        assert "wrong.toml:" in await ends(2, wrong, "--port", port)
        await command("tools.cli", "provision", path, "--data", folder / "cloud")
        with serial.Serial(str(port), exclusive=True):
            said = await ends(1, path, "--port", port, "--fw", path)
            assert said == f"{port}: another program has it open; close that one and run the same command again\n"


async def ends(status: int, *words: object) -> str:
    process = await start(*words)
    said, _ = await asyncio.wait_for(process.communicate(), STEP_S)
    assert process.returncode == status, said.decode()
    return said.decode()
