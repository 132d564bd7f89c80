"""What is told of a flash image: records, verdicts, wear."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flashring import Ring, RingBusy, Window

from host_sim.image.crc import crc24
from tools import boards, cli, dump, nodefile, wear
from tools.boards import SECTOR

BOARD = boards.load("esp32")
SIZE = next(each.size for each in BOARD.partitions if each.label == "ring")


class Memory:
    """The partition `ring`."""

    sector_size = SECTOR

    def __init__(self, size: int = SIZE, unit: int = 1) -> None:
        self.cells = bytearray(b"\xff" * size)
        self.page_size = self.granularity = unit

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


def journal(rows: int, count: int = BOARD.rings["journal"][1], unit: int = 1) -> tuple[Memory, Ring]:
    """The partition with a journal at its start; or `count` sectors, programmed by `unit` bytes."""
    memory = Memory(SIZE if unit == 1 else count * SECTOR, unit)
    ring = Ring(memory, 0, count, Window(memory))
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


PICO_W = boards.load("pico_w")


def pico_flash() -> tuple[bytearray, list[int]]:
    """An RP2's flash whose filesystem nobody can read, and the blocks of its journal: the map stands there still."""
    (first, count), total = PICO_W.rings["journal"], max(sum(place) for place in PICO_W.rings.values())
    blocks = [(5 + 97 * index) % 200 for index in range(total)]
    data = struct.pack("<4sH8s", b"FNM\0", total, b"noncenon") + struct.pack(f"<{total}H", *blocks)
    cells = bytearray(b"\xff" * PICO_W.flash_size)
    base = PICO_W.storage[0]
    cells[base + 1234 : base + 1234 + len(data) + 3] = data + crc24(data).to_bytes(3, "little")
    cells[base + 9000 : base + 9000 + len(data)] = data  # torn: no CRC
    memory, _ = journal(200, count, 256)
    for index, block in enumerate(blocks[first : first + count]):
        start = base + block * SECTOR
        cells[start : start + SECTOR] = memory.cells[index * SECTOR : (index + 1) * SECTOR]
    return cells, blocks[first : first + count]


def test_reserved_blocks_are_found_though_the_filesystem_is_gone(tmp_path: Path) -> None:
    cells, blocks = pico_flash()
    for image, base in ((cells, PICO_W.storage[0] // SECTOR), (cells[PICO_W.storage[0] :], 0)):
        path = tmp_path / "flash.bin"
        path.write_bytes(image)
        result = CliRunner().invoke(cli.main, ["dump", str(path), "--board", "pico_w", "--ring", "journal"])
        assert result.exit_code == 0, result.output
        lines = [json.loads(line) for line in result.stdout.splitlines()]
        assert [line["sector"] for line in lines if "verdict" in line] == [base + block for block in blocks]
        assert [line["seq"] for line in lines if "seq" in line][-1] == 200
    base = PICO_W.storage[0]
    total = max(sum(place) for place in PICO_W.rings.values())
    other = struct.pack("<4sH8s", b"FNM\0", total, b"anothero") + bytes(2 * total)
    cells[base + 20000 : base + 20000 + len(other) + 3] = other + crc24(other).to_bytes(3, "little")
    path.write_bytes(cells)
    result = CliRunner().invoke(cli.main, ["dump", str(path), "--board", "pico_w"])
    assert result.exit_code == 2 and "no map of reserved blocks, or several" in result.output


def test_the_command_wear(tmp_path: Path) -> None:
    node = str(Path(__file__).parents[2] / "nodes" / "greenhouse.toml")
    said = CliRunner().invoke(cli.main, ["wear", node])
    assert said.exit_code == 0 and [line.split(":")[0] for line in said.output.splitlines()] == [
        "journal", "frames", "alerts",
    ]  # fmt: skip
    assert "years to 100,000" in said.output
    assert CliRunner().invoke(cli.main, ["wear"]).exit_code == 2
    assert CliRunner().invoke(cli.main, ["wear", "nothing.toml"]).exit_code == 2
    cells, _ = pico_flash()
    path = tmp_path / "flash.bin"
    path.write_bytes(cells)
    said = CliRunner().invoke(cli.main, ["wear", "--image", str(path), "--board", "pico_w"])
    assert said.exit_code == 0 and "journal: sectors opened 0 to 1 times: [1, 1, " in said.output


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
