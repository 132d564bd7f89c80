"""The drive that an RP2's boot ROM offers (RP2040 datasheet, 2.8.4): a UF2 file dropped on it is programmed."""

import asyncio
import shutil
import struct
from pathlib import Path

from host_sim.hardware.flash import SECTOR
from tools.boards import Board

# USB Flashing Format (github.com/microsoft/uf2): three magics, flags, address, size, number, count, family, data.
_HEAD = struct.Struct("<IIIIIIII")
_MAGICS = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
_BLOCK = 512
_FAMILIES = {"RP2040": 0xE48BFF56, "RP2350": 0xE48BFF59}
_NAMES = {"RP2040": "RPI-RP2", "RP2350": "RP2350"}
_XIP = 0x10000000  # where the flash lies in the chip's addresses
_LOOK_S = 0.05


class Uf2Error(ValueError):
    """A file that the boot ROM would not take."""


def blocks(data: bytes, board: Board) -> list[tuple[int, bytes]]:
    """(offset in the flash, 256 bytes) of each block for this chip. Uf2Error for anything that is not a whole file."""
    found = []
    if not data or len(data) % _BLOCK:
        raise Uf2Error(f"{len(data)} bytes are no whole blocks")
    for at in range(0, len(data), _BLOCK):
        first, second, _, address, size, number, count, family = _HEAD.unpack_from(data, at)
        if (first, second, *struct.unpack_from("<I", data, at + _BLOCK - 4)) != _MAGICS or size > 476:
            raise Uf2Error(f"no block at {at}")
        if family != _FAMILIES[board.chip]:
            raise Uf2Error(f"family {family:#x} is not that of an {board.chip}")
        if (number, count) != (at // _BLOCK, len(data) // _BLOCK):
            raise Uf2Error(f"block {number} of {count} at {at}")
        found.append((address - _XIP, data[at + _HEAD.size : at + _HEAD.size + size]))
    return found


def program(flash: Path, found: list[tuple[int, bytes]]) -> None:
    """Writes blocks into the file of a flash, erasing each sector that is touched, as the ROM does."""
    image = bytearray(flash.read_bytes())
    for sector in {offset // SECTOR for offset, _ in found}:
        image[sector * SECTOR : (sector + 1) * SECTOR] = b"\xff" * SECTOR
    for offset, data in found:
        if not 0 <= offset <= len(image) - len(data):
            raise Uf2Error(f"{offset:#x} is outside the flash")
        image[offset : offset + len(data)] = data
    with flash.open("r+b") as file:
        file.write(image)


async def offer(folder: Path, board: Board, flash: Path) -> None:
    """The drive is there until a good file was dropped and programmed; then it is gone."""
    drive = folder / _NAMES[board.chip]
    shutil.rmtree(drive, ignore_errors=True)
    drive.mkdir()
    (drive / "INFO_UF2.TXT").write_text(f"UF2 Bootloader v3.0\nModel: simulated {board.name}\nBoard-ID: {drive.name}\n")
    try:
        sizes: dict[Path, int] = {}
        while True:
            await asyncio.sleep(_LOOK_S)
            for file in drive.glob("*.[uU][fF]2"):
                size = file.stat().st_size
                if sizes.get(file) == size:  # it has stopped growing
                    try:
                        program(flash, blocks(file.read_bytes(), board))
                        return
                    except Uf2Error:
                        continue  # the ROM ignores it and goes on waiting
                sizes[file] = size
    finally:
        shutil.rmtree(drive, ignore_errors=True)
