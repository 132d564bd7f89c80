"""The command `fieldnode` from a bare simulated board to a reading in the cloud end's database, and once more."""

import asyncio
import json
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from host_sim.bench import BenchBoard
from host_sim.cloudend import CloudEnd
from tools import nodefile

ROOT = Path(__file__).resolve().parent.parent.parent
NODES = {"esp32": "greenhouse", "pico_w": "cellar"}
WINDOW_S = 2


async def command(*words: object, status: int = 0) -> str:
    """Runs `python -m ...` as a person would; its standard output."""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == status, done.stderr
    return done.stdout


def node_file(folder: Path, name: str, port: int) -> Path:
    """A node file as a person would change it: the cloud end is here, and contacts are frequent."""
    text = (ROOT / "nodes" / f"{name}.toml").read_text()
    text = text.replace('host = "192.168.1.10"', f'host = "127.0.0.1"\nport = {port}').replace("= 3600 ", "= 60 ")
    path = folder / f"{name}.toml"
    path.write_text(text + f"\n[service]\nwindow = {WINDOW_S}\n")
    return path


@pytest.mark.parametrize("name", NODES)
def test_from_a_bare_board_to_a_reading_in_three_commands(tmp_path: Path, name: str) -> None:
    asyncio.run(asyncio.wait_for(rehearse(tmp_path, NODES[name]), 115))


async def rehearse(folder: Path, node: str) -> None:
    board = BenchBoard(
        nodefile.load(ROOT / f"nodes/{node}.toml"), folder / "bench", folder / "port", blank=True, sleep_speed=20
    )
    cloud = CloudEnd(folder, board.clock.path)
    await asyncio.to_thread(cloud.start, ["127.0.0.1"])
    try:
        path = node_file(folder, node, cloud.mqtt[1])
        words = ("tools.cli", "deploy", path, "--port", board.port.link, "--wait", 30, "--status-wait", 0, "--json")
        await command("tools.cli", "provision", path, "--data", cloud.data)
        async with board:
            assert len(json.loads(await command(*words))["copied"]) > 50
            await board.settled("asleep", 60)
            rows = await command("cloud", "query", node, "--format", "json", "--data", cloud.data)
            assert {row["channel"] for row in json.loads(rows)} >= {"air.temperature"}
            await board.settled("awake", 30)
            began = time.monotonic()
            again = json.loads(await command(*words))
            took = time.monotonic() - began
            assert again["copied"] == again["removed"] == []
            assert again["seconds"] < 3, f"{again['seconds']} s, {took:.1f} with the wait for a sleeping node"
            await board.settled("asleep", 60)
            assert board.bites == 0
    finally:
        await asyncio.to_thread(cloud.stop)


def test_a_running_pico_gets_its_firmware_by_command_and_keeps_its_files(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(firmware(tmp_path), 60))


async def firmware(folder: Path) -> None:
    path = ROOT / "nodes" / "cellar.toml"
    board = BenchBoard(nodefile.load(path), folder / "bench", folder / "port", blank=True)
    async with board:
        await board.settled("awake", 20)
        code = (board.folder / "flash.bin").read_bytes()[:0x8000]
        image = b""
        for number in range(len(code) // 256):
            at = 256 * number
            data = b"v1.29.0 on 2026-08-24".ljust(256, b"\0") if number == 5 else code[at : at + 256]
            head = (0x0A324655, 0x9E5D5157, 0x2000, 0x10000000 + at, 256, number, len(code) // 256, 0xE48BFF56)
            image += struct.pack("<8I476sI", *head, data, 0x0AB16F30)
        (folder / "fw.uf2").write_bytes(image)
        words = ("tools.cli", "flash", path, "--port", board.port.link, "--fw", folder / "fw.uf2", "--json")
        done = json.loads(await command(*words, "--wait", 10, "--volume", board.folder / "RPI-RP2"))
        assert done["written"]
        await board.settled("awake", 20)
        assert b"v1.29.0" in (board.folder / "flash.bin").read_bytes()[:0x8000]
