"""`fieldnode selftest` on simulated boards: it passes on each, convicts ports that are wrong, and harms nothing."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

import pytest
from benchkit import ROOT, prompt_of, put_ports, running

from host_sim.bench import BenchBoard
from host_sim.hardware import rings
from tools import catalogue, nodefile

pytestmark = pytest.mark.beside

SECTOR = 4096
CHECKS = 27
COMMAND = [sys.executable, "-u", "-m", "tools.cli", "selftest", "--wait", "10", "--port"]


def bench(folder: Path, name: str) -> BenchBoard:
    """One that has no power yet."""
    node_file = nodefile.load(ROOT / "nodes/cellar.toml", {"board": name})
    return BenchBoard(node_file, folder / name, folder / f"{name}-port")


async def selftest(port: Path) -> tuple[int, str]:
    """Exit status, and what it printed."""
    command = [*COMMAND, str(port)]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert bool(done.returncode) == bool(done.stderr), done.stderr
    return done.returncode, done.stdout + done.stderr


def verdict(said: str) -> str:
    """The last line but for the command's own word on standard error."""
    return next(line for line in reversed(said.splitlines()) if "checks passed" in line)


def sectors_of(board: BenchBoard) -> list[int]:
    """The rings' sectors in flash, in their order."""
    found = rings.places(board.board, board.folder / "flash.bin")
    return [
        sector
        for place in (found[ring] for ring in sorted(board.board.rings, key=lambda ring: board.board.rings[ring]))
        for sector in (place["sectors"] if isinstance(place, dict) else range(place[0], sum(place)))
    ]


# Where rings hold data in all sectors but this one, or in all; elsewhere they hold none.
FREE = {"esp32": None, "pico_w": 17}


def put_data(board: BenchBoard, places: list[int], free: int | None) -> None:
    """The scarcest data that there can be: one byte in a sector, anywhere."""
    dice = random.Random(board.board.name)
    for index, sector in enumerate(places):
        data = bytearray(b"\xff" * SECTOR)
        if index != free:
            data[dice.randrange(SECTOR)] = dice.randrange(255)
        board.chip.flash.cells[sector * SECTOR : (sector + 1) * SECTOR] = data


async def passes(folder: Path, name: str) -> None:
    """Afterwards main.py runs again, memory and rings are as they were, and no watchdog has bitten.

    No sector is erased that holds as much as a byte: what a pulled cable could take does not exist.
    """
    board = bench(folder, name)
    put_ports(board)
    places = sectors_of(board)
    if name in FREE:
        put_data(board, places, FREE[name])
    cells, erases = board.chip.flash.cells, board.chip.flash.erases
    async with board:
        port = await running(board)
        before = [cells[sector * SECTOR : (sector + 1) * SECTOR] for sector in places]
        erased_before, boots, kept = erases[:], board.boots, board.chip.kept
        status, said = await selftest(port)
        assert status == 0, said
        assert await running(board) and not board.bites and board.boots >= boots + 3
        changed = [i for i, sector in enumerate(places) if cells[sector * SECTOR : (sector + 1) * SECTOR] != before[i]]
        erased = [i for i, sector in enumerate(places) if erases[sector] != erased_before[sector]]
        held = board.chip.kept
    assert len(set(kept)) > 20 and held == kept
    if board.board.family == "esp32":
        assert kept[28:] == b"\x01", "the watchdog runs, and nobody who comes after would know"
    if name not in FREE:
        assert len(erased) == 1 and set(changed) <= set(erased)
        assert verdict(said) == f"PASS {name}: {CHECKS} checks passed, 0 failed"
    elif FREE[name] is None:
        assert not erased and not changed and "left erase, program, read: every sector of the rings holds data" in said
        assert verdict(said) == f"PASS {name}: {CHECKS - 1} checks passed, 0 failed, 1 left out"
    else:
        assert not changed and erased == [FREE[name]]


def test_every_board_keeps_the_port_contract_and_loses_nothing(tmp_path: Path) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*[passes(tmp_path, name) for name in catalogue.boards()])

    asyncio.run(asyncio.wait_for(all_of_them(), 100))


# Boards with several faults each, none of which hides another: the module, what is right in it, what is wrong, and the
# line that says so.
PLANTS = {
    "esp32": [
        ("clock", "        machine.RTC().datetime(", "        len(", "FAIL set"),
        ("flash", "self._partition.ioctl(6, sector)", "pass", "FAIL erase, program, read: ValueError sector"),
        ("power", "self._rtc.memory()[:TABLE_SIZE]", "bytes(28)", "FAIL retained"),
        ("power", "def battery_mv", "def battery", "FAIL power: ValueError lacks battery_mv"),
        ("power", "machine.HARD_RESET: 4", "machine.HARD_RESET: 3", "FAIL cause of a reset: 3, not 4"),
        ("radio", 'self._wlan.status("rssi")', "0", "FAIL radio: ValueError 0 dBm"),
    ],
    "esp32c3": [
        ("power", "machine.deepsleep(ms)", "machine.reset()", "FAIL cause of a sleep: 4, not 3"),
        ("radio", "self._wlan.active(True)\n        await", "await", "FAIL radio: OSError"),
        ("power", "return usb.host(self._frames)", "return 7", "FAIL usb: ValueError 7"),
        ("clock", "return time.time() - _EPOCH_2020", "return 0", "FAIL idle: ValueError"),
    ],
    "pico_w": [
        ("clock", "elapsed_ms()", "elapsed_ms() * 0", "FAIL clock over a sleep: "),
        ("sleeper", "_LONGEST_S))", "_LONGEST_S)); table[16] = 9", "FAIL memory over a sleep"),
        ("supply", "Pin.OUT, value=1", "Pin.OUT, value=0", "FAIL battery: ValueError 0 mV by (29, 3, 0)"),
        ("radio", "return station.scan", "return [('x', 3, 1, 2)]; station.scan", "FAIL scan: ValueError"),
    ],
}


async def convicts(folder: Path, name: str) -> None:
    board = bench(folder, name)
    family = board.board.family
    texts: dict[str, str] = {}
    for module, right, wrong, _ in PLANTS[name]:
        text = texts.get(module) or (ROOT / f"boards/{family}-family/{family}_ports/{module}.py").read_text()
        assert text.count(right) == 1, right
        texts[module] = text.replace(right, wrong)
    put_ports(board, **texts)
    async with board:
        status, said = await selftest(await running(board))
    assert status == 1 and verdict(said).startswith(f"FAIL {name}: "), said
    unseen = [convicted for *_, convicted in PLANTS[name] if f"\n{convicted}" not in f"\n{said}"]
    assert not unseen, f"{unseen}: {said}"


def test_ports_that_break_the_contract_are_convicted(tmp_path: Path) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*[convicts(tmp_path, name) for name in PLANTS])

    asyncio.run(asyncio.wait_for(all_of_them(), 100))


def test_one_that_broke_off_is_made_good_by_the_next(tmp_path: Path) -> None:
    """It stays at its prompt, main.py put aside; the same again helps."""

    async def run() -> None:
        board = bench(tmp_path, "esp32")
        put_ports(board)
        async with board:
            port = await running(board)
            broken = subprocess.Popen([*COMMAND, str(port)], cwd=ROOT, stdout=subprocess.PIPE, text=True, bufsize=1)
            assert broken.stdout is not None
            assert (await asyncio.to_thread(broken.stdout.readline)).startswith("ok   memory over a reset")
            broken.kill()
            broken.wait()
            await board.power_off()
            board.power_on()
            await prompt_of(board)
            await asyncio.sleep(0.5)
            assert not board.chip.watchdog.runs, "main.py runs"
            status, said = await selftest(port)
            assert status == 0, said
            await running(board)

    asyncio.run(asyncio.wait_for(run(), 60))
