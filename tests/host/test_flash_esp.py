"""An ESP32 is flashed by esptool itself, against a ROM loader on a pseudo-terminal; its flash is compared."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import serial
from imagekit import esp_app, esp_image

from host_sim.bench.romloader import Faults, NorFlash, RomLoader
from tools import boards
from tools.boards import Board
from tools.flash import FlashError, Refusal, WrongBoardError, espimage, loader, partition_table, ports, tree, wipe
from tools.flash.loader import Loader

ROOT = Path(__file__).resolve().parent.parent.parent
ESP32 = boards.load("esp32")
NAMES = ["esp32", "esp32c3", "esp32s3"]
NOISE = bytes(range(256)) * 16


@pytest.fixture(autouse=True, scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """esptool waits less long for answers that never come."""
    path = tmp_path_factory.getbasetemp() / "esptool.cfg"
    path.write_text("[esptool]\ntimeout = 1\nconnect_attempts = 1\nerase_write_timeout_per_mb = 4\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("ESPTOOL_CFGFILE", str(path))
        yield


def written(board: Board, flash: NorFlash) -> bool:
    """Whether the flash holds, byte for byte, the test's image with our partition table, and nothing else."""
    image = esp_image(board)
    at = board.rom.offset
    expected = bytearray(b"\xff" * board.flash_size)
    expected[at : at + len(image)] = image
    expected[0x8000:0x9000] = partition_table.encode(board.partitions).ljust(4096, b"\xff")
    return flash.cells == expected


def flash(chip: RomLoader, board: Board = ESP32, may_erase: bool = False) -> dict:
    image = espimage.prepare(esp_image(board), board, "test.bin")
    with Loader(chip.port, board) as connected:
        return loader.flash(connected, image, lambda: may_erase, lambda text: None, lambda done, total: None)


@pytest.mark.beside(4)
@pytest.mark.parametrize("name", NAMES)
def test_a_blank_chip_is_flashed_byte_for_byte_and_only_once(name: str) -> None:
    board = boards.load(name)
    with RomLoader(board.chip, NorFlash(board.flash_size)) as chip:
        assert flash(chip, board)["written"]
        assert written(board, chip.flash)
        blocks = chip.blocks
        again = flash(chip, board)
        assert (again["written"], again["erased"], chip.blocks) == (False, False, blocks)


@pytest.mark.beside(4)
def test_without_the_stub_the_rom_itself_does_the_same(tmp_path: Path) -> None:
    """The slow way of the bare ROM, by esptool's command line: the simulated ROM, not only its stub, is real."""
    (tmp_path / "image.bin").write_bytes(esp_image(ESP32))
    with RomLoader("ESP32", NorFlash(ESP32.flash_size, bytes(4096))) as chip:
        command = ["--chip", "esp32", "--port", chip.port, "--no-stub", "write-flash", "0x1000", "image.bin"]
        done = subprocess.run(
            [sys.executable, "-m", "esptool", *command], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert "Hash of data verified" in done.stdout, done.stdout
        assert chip.flash.cells[0x1000 : 0x1000 + len(esp_image(ESP32))] == esp_image(ESP32)
        assert not {0xD0, 0xD1, 0xD2} & set(chip.operations)


@pytest.mark.beside(4)
def test_what_the_node_has_stored_stays_when_the_layout_is_ours() -> None:
    with RomLoader("ESP32", NorFlash(ESP32.flash_size)) as chip:
        flash(chip)
        chip.flash.cells[0x200000:0x201000] = NOISE  # ring
        chip.flash.cells[0x300000:0x301000] = NOISE  # vfs
        chip.flash.cells[0x10800] ^= 1  # the application is another
        assert flash(chip) | {"seconds": 0} == {"erased": False, "written": True, "seconds": 0}
        assert chip.flash.cells[0x200000:0x201000] == chip.flash.cells[0x300000:0x301000] == NOISE


@pytest.mark.beside(4)
def test_another_layout_is_erased_only_when_that_was_allowed() -> None:
    """As a stock MicroPython leaves it: its filesystem begins where our ring lies."""
    stock = NorFlash(ESP32.flash_size)
    stock.cells[0x8000:0x8C00] = partition_table.encode(ESP32.partitions[:2])
    stock.cells[0x300000:0x301000] = NOISE
    before = bytes(stock.cells)
    with RomLoader("ESP32", stock) as chip:
        with pytest.raises(Refusal, match="holds something else than Fieldnode; with --erase") as caught:
            flash(chip)
        assert caught.value.status == 2 and chip.flash.cells == before
        assert flash(chip, may_erase=True)["erased"]
        assert written(ESP32, chip.flash)


def test_a_forgotten_erase_would_show() -> None:
    """The flash is NOR: what is not erased keeps its zeros."""
    flash = NorFlash(8192, b"\x0f" * 8192)
    flash.program(0, b"\xf1")
    assert flash.cells[0] == 0x01
    flash.erase(1, 1)
    assert flash.cells[:4096] == b"\xff" * 4096 and flash.cells[4096:] == b"\x0f" * 4096


@pytest.mark.beside(4)
@pytest.mark.parametrize(
    ("chip", "size", "said"),
    [
        ("ESP32-S3", 0x800000, "is an ESP32-S3, but esp32 has an ESP32; nothing was done"),
        ("ESP32-C3", 0x400000, "is an ESP32-C3, but esp32 has an ESP32; nothing was done"),
        ("ESP32", 0x200000, "its flash has 2048 KiB, esp32 needs 4096 KiB; nothing was done"),
    ],
)
def test_another_chip_or_a_smaller_flash_is_left_alone(chip: str, size: int, said: str) -> None:
    with RomLoader(chip, NorFlash(size, NOISE)) as connected:
        before = bytes(connected.flash.cells)
        with pytest.raises(WrongBoardError, match=said) as caught:
            flash(connected)
        assert caught.value.status == 2 and connected.flash.cells == before


@pytest.mark.beside(4)
def test_a_bit_that_turns_on_the_wire_is_sent_again() -> None:
    with RomLoader("ESP32", NorFlash(ESP32.flash_size), Faults(flip_on_wire=2)) as chip:
        flash(chip)
        assert written(ESP32, chip.flash) and chip.faults == Faults()


@pytest.mark.beside(4)
def test_a_lost_block_is_said_and_the_same_command_recovers() -> None:
    with RomLoader("ESP32", NorFlash(ESP32.flash_size), Faults(lose=2)) as chip:
        with pytest.raises(FlashError, match="No more data to read from the serial port; run the same command again"):
            flash(chip)
        flash(chip)
        assert written(ESP32, chip.flash)


@pytest.mark.beside(4)
def test_a_cell_that_does_not_take_its_bit_is_found_and_the_same_command_recovers() -> None:
    with RomLoader("ESP32", NorFlash(ESP32.flash_size), Faults(flip_in_flash=2)) as chip:
        with pytest.raises(FlashError, match="MD5 of file does not match.*; run the same command again") as caught:
            flash(chip)
        assert caught.value.status == 1
        flash(chip)
        assert written(ESP32, chip.flash)


def test_a_port_that_is_not_there_is_no_board_that_went_away(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="there is no such port; ports found"), Loader(str(tmp_path / "none"), ESP32):
        pass


def test_esptool_is_a_program_and_no_part_of_ours() -> None:
    """Its licence is the GPL, ours is not."""
    for source in (ROOT / "tools").rglob("*.py"):
        for line in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [alias.name for alias in line.names] if isinstance(line, ast.Import) else []
            names += [line.module or ""] if isinstance(line, ast.ImportFrom) else []
            assert not any(name.partition(".")[0] == "esptool" for name in names), source


@pytest.mark.beside(4)
@pytest.mark.parametrize("name", NAMES)
def test_a_backup_is_the_whole_flash_and_erase_leaves_nothing(name: str) -> None:
    board = replace(boards.load(name), flash_size=0x100000)
    content = NOISE * (board.flash_size // len(NOISE))
    with RomLoader(board.chip, NorFlash(board.flash_size, content)) as chip:
        seen = []
        assert wipe.read_esp32(board, chip.port, lambda done, total: seen.append((done, total))) == content
        assert seen[-1] == (board.flash_size, board.flash_size)
        wipe.esp32(board, chip.port)
        assert chip.flash.cells == b"\xff" * board.flash_size


def damaged(at: int) -> bytes:
    image = bytearray(esp_image(ESP32))
    image[at] ^= 1
    return bytes(image)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "the file ends at 0 bytes"),
        (b"<html>" * 100, "begins with 0x3c, an image for ESP chips with 0xe9"),
        (esp_image(boards.load("esp32c3")), "is for ESP32-C3, esp32 has an ESP32; take ESP32_GENERIC"),
        (esp_image(ESP32)[:-1], "application: cut off; download it again"),
        (esp_image(ESP32)[: 0xF000 + 100], "application: cut off"),
        (esp_image(ESP32)[:0x8000], "application: the file ends at 32768 bytes"),
        (damaged(0x100), r"second-stage loader: damaged \(checksum\)"),
        (damaged(0xF000 + 33), r"application: damaged \(checksum\)"),
        (damaged(0xF000 + 5), r"application: damaged \(SHA-256\)"),
        (damaged(0x7000), "no partition table at 0x8000"),
        (esp_image(ESP32, app=0x1F0000), "bytes too long for partition 'factory' of esp32"),
        (esp_image(ESP32) + b"more", "4 bytes behind the application"),
        (esp_app("ESP32", b"alone"), "application: the file ends at"),
    ],
)
def test_an_image_that_cannot_be_right_is_refused_before_a_port_is_touched(image: bytes, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        espimage.prepare(image, ESP32, "fw.bin")


def test_a_table_is_read_as_it_was_written() -> None:
    for name in NAMES:
        board = boards.load(name)
        table = partition_table.encode(board.partitions)
        assert partition_table.decode(table) == board.partitions
        assert partition_table.decode(table[:41] + b"!" + table[42:]) is None
    assert partition_table.decode(b"\xff" * 0xC00) == ()
    assert partition_table.decode(NOISE[:0xC00]) is None


@pytest.mark.beside(4)
def test_firmware_only_leaves_a_provisioned_node_for_later(tmp_path: Path) -> None:
    (tmp_path / "fw.bin").write_bytes(esp_image(ESP32))
    node = tmp_path / "greenhouse.toml"
    node.write_text((ROOT / "nodes" / "greenhouse.toml").read_text())
    identity = tmp_path / ".identity" / "greenhouse"
    identity.mkdir(parents=True)
    for name in tree.IDENTITY:
        (identity / name).write_bytes(b"x")
    with RomLoader("ESP32", NorFlash(ESP32.flash_size)) as chip:
        command = [sys.executable, "-m", "tools.cli", "flash", str(node), "--firmware-only", "--port", chip.port]
        command += ["--fw", str(tmp_path / "fw.bin")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == f"esp32 has its firmware; next: fieldnode deploy {node}"
        assert written(ESP32, chip.flash)


@pytest.mark.beside(4)
def test_the_command_flashes_checks_and_tells_in_json(tmp_path: Path) -> None:
    image = tmp_path / "fw.bin"
    image.write_bytes(esp_image(ESP32))
    with RomLoader("ESP32", NorFlash(ESP32.flash_size)) as chip:
        node = tmp_path / "greenhouse.toml"
        node.write_text((ROOT / "nodes" / "greenhouse.toml").read_text())
        command = [sys.executable, "-m", "tools.cli", "flash", str(node), "--json", "--port", chip.port]
        done = subprocess.run([*command, "--fw", str(image)], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) | {"seconds": 0} == {
            "board": "esp32", "port": chip.port, "image": str(image), "erased": True, "written": True, "seconds": 0,
        }  # fmt: skip
        assert written(ESP32, chip.flash)
        seen = len(chip.operations)
        image.write_bytes(damaged(0x100))
        done = subprocess.run([*command, "--fw", str(image)], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
        assert "damaged" in done.stderr and len(chip.operations) == seen


# Behind all that runs side by side: these change what the others use, and the name of a port that is gone, /dev/pts/..,
# may be the next one's.


def test_nobody_at_the_other_end_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(loader, "_ATTEMPTS", 1)
    _, slave = os.openpty()
    with pytest.raises(FlashError, match="no ESP32 answers; hold its BOOT button"), Loader(os.ttyname(slave), ESP32):
        pass


@pytest.mark.parametrize("checked", [True, False])
def test_a_busy_port_is_said_and_the_same_command_recovers(monkeypatch: pytest.MonkeyPatch, checked: bool) -> None:
    """Whether our own look at the port finds it taken, or esptool does, a moment later."""
    with RomLoader("ESP32", NorFlash(ESP32.flash_size)) as chip:
        with serial.Serial(chip.port, exclusive=True) as other, monkeypatch.context() as patched:
            if not checked:
                patched.setattr(ports, "open_serial", lambda port: other)
                patched.setattr(other, "close", lambda: None)
            with pytest.raises(FlashError, match="another program has it open; close that one and run") as said:
                flash(chip)
            assert said.value.status == 1 and "\n" not in str(said.value) and not chip.operations
        assert flash(chip)["written"]


@pytest.mark.parametrize("block", [1, 3])
def test_a_cable_pulled_while_writing_is_said_and_the_same_command_recovers(block: int) -> None:
    cells = NorFlash(ESP32.flash_size, NOISE)
    with (
        RomLoader("ESP32", cells, Faults(unplug=block)) as chip,
        pytest.raises(FlashError, match="the board is gone .*; put the cable back in and run the same command") as said,
    ):
        flash(chip)
    assert said.value.status == 1 and "\n" not in str(said.value)
    assert not written(ESP32, cells)
    with RomLoader("ESP32", cells) as chip:
        flash(chip, may_erase=block == 1)
        assert written(ESP32, cells)
