"""The command `fieldnode` from a bare simulated board to a reading in the cloud end's database, and once more."""

import asyncio
import json
import stat
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from host_sim.bench import BenchBoard
from host_sim.bench.romloader import NorFlash, RomLoader
from host_sim.cloudend import CloudEnd
from tools import nodefile
from tools.flash import FlashError, uf2
from tools.flash import firmware as firmware_of
from tools.flash.progress import Report

ROOT = Path(__file__).resolve().parent.parent.parent
WINDOW_S = 2
VERSION = b"v1.29.0 on 2026-08-24"
FLASH_SPEED = 20


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


def uf2_of(flash: Path, version: bytes) -> bytes:
    """A UF2 file for a Pico W: what its flash holds at its beginning, and another `version`."""
    code, image = flash.read_bytes()[:0x8000], b""
    for number in range(len(code) // 256):
        at = 256 * number
        data = version.ljust(256, b"\0") if number == 5 else code[at : at + 256]
        head = (0x0A324655, 0x9E5D5157, 0x2000, 0x10000000 + at, 256, number, len(code) // 256, 0xE48BFF56)
        image += struct.pack("<8I476sI", *head, data, 0x0AB16F30)
    return image


@pytest.mark.beside
@pytest.mark.parametrize("node", ["greenhouse", "cellar"])
def test_from_a_provisioned_node_to_its_readings_and_a_second_deploy(tmp_path: Path, node: str) -> None:
    asyncio.run(asyncio.wait_for(rehearse(tmp_path, node), 115))


async def rehearse(folder: Path, node: str) -> None:
    """An ESP32 that has its firmware is deployed to; a Pico W goes the whole way, by the volume of its boot ROM."""
    board = BenchBoard(
        nodefile.load(ROOT / f"nodes/{node}.toml"), folder / "bench", folder / "port", blank=True, sleep_speed=20,
        flash_speed=FLASH_SPEED,
    )  # fmt: skip
    cloud = CloudEnd(folder, board.clock.path)
    await asyncio.to_thread(cloud.start, ["127.0.0.1"])
    try:
        path = node_file(folder, node, cloud.mqtt[1])
        options = (path, "--port", board.port.link, "--wait", 30, "--json")
        deploy = ("tools.cli", "deploy", *options, "--status-wait", 0)
        await command("tools.cli", "provision", path, "--data", cloud.data)
        async with board:
            if board.native:
                await by_volume(board, options)
            else:
                assert len(json.loads(await command(*deploy))["copied"]) > 50
            query = ("cloud", "query", node, "--format", "json", "--data", cloud.data)
            while not (rows := json.loads(await command(*query))):
                await asyncio.sleep(0.5)
            assert {row["channel"] for row in rows} >= {"air.temperature"}
            again = json.loads(await command(*deploy))
            assert again["copied"] == again["removed"] == []
            assert again["seconds"] < 3, f"{again['seconds']} s"
            await board.settled("asleep", 60)
            assert board.bites == 0
        if not board.native:
            await back_from_a_backup(board, path)
    finally:
        await asyncio.to_thread(cloud.stop)


async def by_volume(board: BenchBoard, options: tuple) -> None:
    """One command: the running board into its boot ROM, the image onto its volume, the node's files, its first boot."""
    await board.settled("awake", 20)
    image = board.folder / "fw.uf2"
    image.write_bytes(uf2_of(board.folder / "flash.bin", VERSION))
    words = ("tools.cli", "flash", *options, "--fw", image, "--volume", board.folder / "RPI-RP2")
    done = json.loads(await command(*words))
    assert done["written"] and VERSION in (board.folder / "flash.bin").read_bytes()[:0x8000]
    assert len(done["deploy"]["copied"]) > 50 and done["status"]["board"] == "pico_w"


async def back_from_a_backup(board: BenchBoard, path: Path) -> None:
    """Backup, erase, restore, of an ESP32 in its ROM loader: the flash is what it was, and the node wakes from it."""
    flash, kept = board.folder / "flash.bin", board.folder / "kept.bin"
    before = flash.read_bytes()
    with RomLoader(board.board.chip, NorFlash(len(before), before)) as rom:
        port = ("--port", rom.port, "--json")
        await command("tools.cli", "backup", path, kept, *port)
        assert kept.read_bytes() == before and stat.S_IMODE(kept.stat().st_mode) == 0o600
        await command("tools.cli", "erase", path, *port, "--yes")
        assert not rom.flash.cells.strip(b"\xff")
        await command("tools.cli", "restore", path, kept, *port, "--yes")
        assert rom.flash.cells == before
        flash.write_bytes(rom.flash.cells)
    async with BenchBoard(nodefile.load(path), board.folder, board.port.link, flash_speed=FLASH_SPEED) as same:
        await wakes(same)


async def wakes(board: BenchBoard) -> None:
    """It boots, reports, and sleeps: nothing had to be formatted, and nothing was wrong."""
    said = board.console_log.stat().st_size
    await board.settled("awake", 30)
    await board.settled("asleep", 60)
    assert b"Traceback" not in (words := board.console_log.read_bytes()[said:]) and b"formatting" not in words


@pytest.mark.beside
def test_a_running_pico_gets_its_firmware_by_command_and_keeps_its_files(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(firmware(tmp_path), 60))


async def firmware(folder: Path) -> None:
    """The node has no identity: the command ends after the firmware, and says in one line what comes next."""
    path = node_file(folder, "cellar", 8883)
    board = BenchBoard(nodefile.load(path), folder / "bench", folder / "port", blank=True)
    async with board:
        await board.settled("awake", 20)
        (folder / "fw.uf2").write_bytes(uf2_of(board.folder / "flash.bin", VERSION))
        words = ("tools.cli", "flash", path, "--port", board.port.link, "--fw", folder / "fw.uf2", "--wait", 10)
        said = await command(*words, "--volume", board.folder / "RPI-RP2")
        then = f"next: fieldnode provision {path} --data FOLDER, then fieldnode deploy {path}"
        assert said.splitlines()[-1] == f"pico_w has its firmware; {then}"
        await board.settled("awake", 20)
        assert VERSION in (board.folder / "flash.bin").read_bytes()[:0x8000]


@pytest.mark.beside
def test_a_node_whose_console_is_locked_has_a_good_first_boot(tmp_path: Path) -> None:
    asyncio.run(asyncio.wait_for(deploy_locked(tmp_path), 90))


async def deploy_locked(folder: Path) -> None:
    """It tells its status to nobody, and its version to everybody."""
    path = node_file(folder, "greenhouse", 1)
    with path.open("a") as file:
        file.write('\n[console]\npin = "4711"\n')
    await command("tools.cli", "provision", path, "--data", folder / "cloud")
    board = BenchBoard(nodefile.load(path), folder / "bench", folder / "port", blank=True, flash_speed=FLASH_SPEED)
    async with board:
        said = await command("tools.cli", "deploy", path, "--port", board.port.link, "--wait", 30)
    assert "  console: locked\n  firmware: " in said and "unlock PIN" in said
    assert "ok:" not in said and "None" not in said


def test_a_cable_pulled_while_a_pico_is_written_is_said_and_the_same_again_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uf2, "_CHUNK", 4096)
    asyncio.run(asyncio.wait_for(pulled(tmp_path), 60))


async def pulled(folder: Path) -> None:
    """The power goes with the cable, half-way through the image; the board then starts as it was."""
    node = nodefile.load(ROOT / "nodes/cellar.toml")
    board = BenchBoard(node, folder / "bench", folder / "port", blank=True)
    loop = asyncio.get_running_loop()
    told: list[int] = []

    class Watched(Report):
        @contextmanager
        def bar(self, label: str) -> Iterator[Callable[[int, int], None]]:
            def update(done: int, total: int) -> None:
                told.append(done)
                if len(told) == 8:
                    asyncio.run_coroutine_threadsafe(board.power_off(), loop).result(10)

            yield update

    async with board:
        await board.settled("awake", 20)
        image = uf2_of(board.folder / "flash.bin", VERSION)
        drive = board.folder / "RPI-RP2"
        command = (firmware_of.rp2, board.board, str(board.port.link), image, "fw.uf2", drive, Watched(True), 10)
        with pytest.raises(FlashError, match=rf"after {8 * 4096} of {len(image)} bytes; .*run the same command again"):
            await asyncio.to_thread(*command)
        board.power_on()
        await board.settled("awake", 20)
        assert VERSION not in (board.folder / "flash.bin").read_bytes()[:0x8000]
        assert (await asyncio.to_thread(*command))["written"] and told[-1] == len(image)
        await board.settled("awake", 20)
        assert VERSION in (board.folder / "flash.bin").read_bytes()[:0x8000]
