"""What is told of a flash image: records, verdicts, wear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flashring import Ring, RingBusy, Window

from tools import boards, dump, nodefile, wear
from tools.boards import SECTOR

BOARD = boards.load("esp32")
SIZE = next(each.size for each in BOARD.partitions if each.label == "ring")


class Memory:
    """The partition `ring`."""

    sector_size, page_size, granularity = SECTOR, 1, 1

    def __init__(self) -> None:
        self.cells = bytearray(b"\xff" * SIZE)

    def read_into(self, addr: int, buf: bytearray | memoryview) -> None:
        buf[:] = self.cells[addr : addr + len(buf)]

    def program(self, addr: int, buf: bytes | bytearray | memoryview) -> None:
        for index, byte in enumerate(buf):
            self.cells[addr + index] &= byte

    def erase(self, sector: int) -> None:
        self.cells[sector * SECTOR : (sector + 1) * SECTOR] = b"\xff" * SECTOR


def row(number: int) -> bytes:
    """A journal row of one value (firmware/node/JOURNAL.md)."""
    return bytes([1, 2]) + b"".join(field.to_bytes(4, "little") for field in (3, 1000 + number, 1, 0, number))


def journal(rows: int) -> tuple[Memory, Ring]:
    memory = Memory()
    ring = Ring(memory, *BOARD.rings["journal"], Window(memory))
    ring.format(77)
    for number in range(1, rows + 1):
        try:
            ring.append(row(number))
        except RingBusy:
            ring.idle()
            ring.append(row(number))
        if number % 50 == 0:
            ring.release(number - 10)
    return memory, ring


def said(tmp_path: Path, cells: bytes | bytearray, *options: str) -> tuple[Result, list[dict]]:
    path = tmp_path / "flash.bin"
    path.write_bytes(cells)
    result = CliRunner().invoke(dump.main, [str(path), "--board", "esp32", *options])
    return result, [json.loads(line) for line in result.stdout.splitlines()]


def test_records_and_verdicts(tmp_path: Path) -> None:
    memory, ring = journal(7000)
    ring.idle()
    result, lines = said(tmp_path, memory.cells, "--ring", "journal")
    assert result.exit_code == 0, result.output
    oldest, released, following = ring.range()
    assert lines[0] == {"ring": "journal", "stream": 77, "oldest": oldest, "released": released, "next": following,
                        "dropped": 0, "faults": []}  # fmt: skip
    sectors = [line for line in lines if "verdict" in line]
    assert [line["sector"] for line in sectors] == list(range(32))
    verdicts = [line["verdict"] for line in sectors]
    assert verdicts.count("head") == 1 and verdicts.count("blank") == 1 and verdicts.count("log") == 30
    assert verdicts[(verdicts.index("head") + 1) % 32] == "blank"
    records = [line for line in lines if "seq" in line]
    assert [line["seq"] for line in records] == list(range(oldest, following))
    assert all(line["row"]["values"] == {"1": line["seq"]} for line in records)
    assert [line["released"] for line in records] == [seq <= released for seq in range(oldest, following)]


def test_damage_is_told(tmp_path: Path) -> None:
    memory, _ = journal(300)
    place = memory.cells.find(row(7))
    memory.cells[place + 5] ^= 4
    memory.cells[10] ^= 1  # in the header of the first sector
    result, lines = said(tmp_path, memory.cells)
    assert result.exit_code == 1
    assert {"ring": "journal", "seq": 7, "released": True, "damaged": True} in lines
    first = next(line for line in lines if line.get("sector") == 0)
    assert first["damaged"] == [7] and first["mended"] is True


def test_a_boot_after_a_cut_leaves_marks(tmp_path: Path) -> None:
    memory, ring = journal(30)
    again = Ring(memory, *BOARD.rings["journal"], Window(memory))
    again.mount()
    again.append(row(31))
    _, lines = said(tmp_path, memory.cells, "--ring", "journal")
    assert lines[1]["torn"] and lines[2]["verdict"] == "spoilt"
    assert lines[-1]["seq"] == 31


@pytest.mark.parametrize("cells", [b"", b"\0" * 100, b"\xff" * (4 << 20)])
def test_what_is_no_image_is_refused(tmp_path: Path, cells: bytes) -> None:
    path = tmp_path / "flash.bin"
    path.write_bytes(cells)
    result = CliRunner().invoke(dump.main, [str(path)])
    assert result.exit_code == 2 and "say --board" in result.output


def test_random_bytes_and_zeros_are_told_and_never_a_record(tmp_path: Path) -> None:
    for cells in (bytes(SIZE), bytes(range(256)) * (SIZE // 256), b"\xff" * SIZE):
        result, lines = said(tmp_path, cells)
        assert result.exit_code == (cells[0] != 0xFF) and not [line for line in lines if "seq" in line]


def test_wear() -> None:
    memory, ring = journal(17000)
    counts = wear.opened(bytes(memory.cells), range(32), 1)
    assert max(counts) - min(counts) <= 1 and sum(counts) == pytest.approx(17000 * 25 / 4070, rel=0.05)
    file = nodefile.load(Path(__file__).parents[2] / "nodes" / "greenhouse.toml")
    projected = {each.ring: each for each in wear.project(file.settings(), BOARD)}
    rows = 1440 * (18 + 4 * 4 + 3)
    assert projected["journal"].bytes_per_day == pytest.approx(rows, rel=0.02)
    assert projected["journal"].erases_per_day == pytest.approx(rows / 4070 / 32, rel=0.02)
    assert projected["journal"].years > 100 and projected["frames"].days_held > 40
    paged = {each.ring: each for each in wear.project(file.settings(), boards.load("pico_w"))}
    assert paged["journal"].bytes_per_day == pytest.approx(1440 * 256, rel=0.02)
