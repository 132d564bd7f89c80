"""The rehearsal: a blank board on a cable, real mpremote, the cloud end; from there to a reading in the database."""

import asyncio
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchkit import ROOT, deploy, mpremote, port_of, tree

from host_sim.bench import BenchBoard
from host_sim.cloudend import CloudEnd
from tools import nodefile

pytestmark = pytest.mark.beside

PIN = 15
NODES = {"esp32": "greenhouse", "pico_w": "cellar"}


def query(cloud: CloudEnd, node: str) -> list[dict]:
    """What the cloud has of the node."""
    command = [sys.executable, "-m", "cloud", "query", node, "--format", "json", "--data", str(cloud.data)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NODES)
def test_a_blank_board_is_deployed_to_sleeps_wakes_and_delivers(tmp_path: Path, name: str) -> None:
    asyncio.run(asyncio.wait_for(rehearse(tmp_path, name), 110))


async def take_the_console(board: BenchBoard) -> None:
    """A node whose pin is held low is there for a host, whose Ctrl-C costs it nothing."""
    board.chip.levels[PIN] = 0
    await board.settled("awake", 30)
    port = await port_of(board)
    await asyncio.sleep(1.0)
    assert (await mpremote(port, "eval", "6*7")).strip() == "42"
    start = board.console_log.stat().st_size
    del board.chip.levels[PIN]
    await mpremote(port, "reset")
    await board.settled("asleep", 40)
    assert b"formatting" not in board.console_log.read_bytes()[start:]


async def rehearse(folder: Path, name: str) -> None:
    node = NODES[name]
    original = nodefile.load(ROOT / f"nodes/{node}.toml")
    key = hashlib.sha256(f"bench {node}".encode()).digest()
    bench = folder / "bench"
    board = BenchBoard(original, bench, folder / "port", blank=True, sleep_speed=60, flash_speed=50)
    cloud = CloudEnd(folder, board.clock.path)
    await asyncio.to_thread(cloud.start, ["127.0.0.1"])
    try:
        settings = {"cloud.host": "127.0.0.1", "cloud.port": cloud.mqtt[1], "report.interval": 60}
        settings |= {"service.window": 1, "service.pin": PIN}
        node_file = nodefile.load(ROOT / f"nodes/{node}.toml", settings)
        files = folder / "files"
        channels = [list(channel)[:3] for channel in node_file.channels()]
        await asyncio.to_thread(cloud.add, node, node_file.settings()["tenant"], key, channels, files)
        (files / "key").write_bytes(key)
        async with board:
            await deploy(board, tree(folder, node_file, files))
            await mpremote(board.port.link, "reset")
            await board.settled("asleep", 40)
            assert not board.port.there if board.native else board.port.there
            first = await asyncio.to_thread(query, cloud, node)
            assert {row["channel"] for row in first} == {channel.name for channel in node_file.channels()}
            while board.wakes < 3:
                await asyncio.sleep(0.1)
            await board.settled("asleep", 40)
            rows = await asyncio.to_thread(query, cloud, node)
            assert len(rows) > len(first)
            served = board.served.read_text()
            celsius = [row["value"] for row in rows if row["channel"] == "air.temperature"]
            assert all(f",air,temperature,{round(float(each) * 100)},-2" in served for each in celsius[:1])
            await take_the_console(board)
            assert board.bites == 0
    finally:
        await asyncio.to_thread(cloud.stop)
