"""A UF2 image is checked, and reaches the volume of a board in its boot ROM; a running board is sent there."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from imagekit import FAMILIES, uf2
from replkit import ReplBoard, offer

from tools import boards
from tools.flash import FlashError, Refusal, WrongBoardError, firmware
from tools.flash import uf2 as volumes
from tools.flash.progress import Report

ROOT = Path(__file__).resolve().parent.parent.parent
PICO_W = boards.load("pico_w")
PICO2_W = boards.load("pico2_w")
MACHINE = "Raspberry Pi Pico W with RP2040"
IMAGE = uf2(PICO_W)
OTHER = IMAGE.replace(b"v1.28.0", b"v1.29.0")


def swapped(at: int, value: bytes) -> bytes:
    return IMAGE[:at] + value + IMAGE[at + len(value) :]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "0 bytes are not whole blocks"),
        (IMAGE[:-1], "are not whole blocks of UF2; download it again"),
        (IMAGE[:-512], "199 of 200 blocks; cut off"),
        (IMAGE + IMAGE[:512], "block 0 comes twice"),
        (swapped(512, b"UF3\n"), "block 1 is not UF2; is this the right file?"),
        (swapped(1024 - 4, b"\0\0\0\0"), "block 1 is not UF2"),
        (uf2(PICO2_W), "is for RP2350, pico_w has an RP2040; take RPI_PICO_W"),
        (uf2(PICO_W, family=0x1C5F21B0), "is for family 0x1c5f21b0"),
        (uf2(PICO_W, first=0x10000000 + PICO_W.storage[0] - 256), "outside the firmware's part of the flash"),
        (uf2(PICO_W, first=0x20000000), "goes to 0x20000000, outside"),
    ],
)
def test_an_image_that_cannot_be_right_is_refused(image: bytes, said: str) -> None:
    volumes.check(IMAGE, PICO_W, "fw.uf2")
    with pytest.raises(Refusal, match=said):
        volumes.check(image, PICO_W, "fw.uf2")


def test_the_block_around_erratum_e10_is_no_part_of_the_image() -> None:
    """RP2350 files begin with a block of the family ABSOLUTE for the end of the flash."""
    extra = bytearray(uf2(PICO2_W, blocks=1, family=0xE48BFF57, first=0x10FFFF00))
    volumes.check(bytes(extra) + uf2(PICO2_W), PICO2_W, "fw.uf2")
    assert FAMILIES["RP2350"] != 0xE48BFF57


def test_only_a_volume_of_the_right_chip_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert volumes.find(PICO_W, tmp_path / "none") is None
    one, two = offer(tmp_path / "one"), offer(tmp_path / "two", "RP2350")
    assert volumes.find(PICO_W, one) == one
    with pytest.raises(Refusal, match="is a RP2350, pico_w is a RPI-RP2"):
        volumes.find(PICO_W, two)
    monkeypatch.setattr(volumes, "volumes", lambda: [one, two])
    with pytest.raises(Refusal, match="several boards wait for firmware: .*one.*two; name one with --volume"):
        volumes.find(PICO_W, None)


def test_a_full_volume_is_said_and_the_same_command_recovers(tmp_path: Path) -> None:
    volume = offer(tmp_path / "volume")
    (volume / "firmware.uf2").symlink_to("/dev/full")
    with pytest.raises(FlashError, match=r"No space left on device after 0 of \d+ bytes; .*run the same command again"):
        volumes.copy(IMAGE, volume, lambda done, total: None)
    (volume / "firmware.uf2").unlink()
    volumes.copy(IMAGE, volume, lambda done, total: None)
    assert (volume / "firmware.uf2").read_bytes() == IMAGE


def test_a_board_that_has_all_and_is_gone_is_done_and_one_that_went_earlier_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = offer(tmp_path / "volume")

    def gone(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(volumes.os, "fsync", gone)
    with pytest.raises(FlashError, match="Input/output error"):
        volumes.copy(IMAGE, volume, lambda done, total: None)

    def restarted(fd: int) -> None:
        if os.fstat(fd).st_size == len(IMAGE):
            (volume / "INFO_UF2.TXT").unlink()
            gone(fd)

    monkeypatch.setattr(volumes.os, "fsync", restarted)
    volumes.copy(IMAGE, volume, lambda done, total: None)
    assert not (volume / "INFO_UF2.TXT").exists()


def test_a_running_board_is_sent_into_its_boot_rom_and_only_for_another_image(tmp_path: Path) -> None:
    said = Report(as_json=True)
    with ReplBoard(tmp_path, machine=MACHINE) as board:
        done = firmware.rp2(PICO_W, board.port, IMAGE, "fw.uf2", board.volume, said)
        assert not done["written"] and not board.volume.exists()
        done = firmware.rp2(PICO_W, board.port, OTHER, "fw.uf2", board.volume, said)
        assert done["written"] and done["volume"] == str(board.volume)
        assert (board.volume / "firmware.uf2").read_bytes() == OTHER


def test_another_board_is_not_sent_into_its_boot_rom(tmp_path: Path) -> None:
    with ReplBoard(tmp_path, machine="Raspberry Pi Pico 2 W with RP2350") as board:
        with pytest.raises(WrongBoardError, match="answers as 'Raspberry Pi Pico 2 W with RP2350', but pico_w has an"):
            firmware.rp2(PICO_W, board.port, OTHER, "fw.uf2", board.volume, Report(as_json=True))
        assert not board.volume.exists()


def test_no_volume_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware, "_VOLUME_S", 0.2)
    with (
        ReplBoard(tmp_path, machine=MACHINE) as board,
        pytest.raises(FlashError, match="no volume of a RP2040 appeared; hold BOOTSEL"),
    ):
        firmware.rp2(PICO_W, board.port, OTHER, "fw.uf2", tmp_path / "elsewhere", Report(as_json=True))


def test_the_command_copies_to_a_volume(tmp_path: Path) -> None:
    volume = offer(tmp_path / "volume")
    (tmp_path / "fw.uf2").write_bytes(IMAGE)
    command = [sys.executable, "-m", "tools.cli", "flash", "nodes/cellar.toml", "--fw", str(tmp_path / "fw.uf2")]
    command += ["--volume", str(volume), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] is True
    assert (volume / "firmware.uf2").read_bytes() == IMAGE
