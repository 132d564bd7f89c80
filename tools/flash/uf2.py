"""MicroPython images of the RP2 family: UF2 files, checked, and copied to the volume that a board in its boot ROM
shows.

Format: Microsoft, uf2; families: Raspberry Pi, "UF2 format" in the datasheets of RP2040 and RP2350.
"""

from __future__ import annotations

import errno
import os
import string
import struct
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tools.boards import Board, chip_of
from tools.flash import FlashError, Refusal

_BLOCK = struct.Struct("<IIIIIIII476sI")
_MAGICS = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
_NOT_MAIN_FLASH, _HAS_FAMILY = 0x1, 0x2000
_ABSOLUTE = 0xE48BFF57  # one block at the end of flash works around erratum RP2350-E10
_FLASH = 0x10000000
_PAGE = 256
_CHUNK = 64 << 10


def check(image: bytes, board: Board, name: str) -> None:
    """Refuses what is not whole, not of this chip, or would overwrite the filesystem; `name` is how it is called."""
    if not image or len(image) % _BLOCK.size:
        raise Refusal(f"{name}: {len(image)} bytes are not whole blocks of UF2; download it again")
    pages: set[int] = set()
    numbers: set[int] = set()
    total = 0
    for at in range(0, len(image), _BLOCK.size):
        begin, second, flags, address, size, number, count, family, _, end = _BLOCK.unpack_from(image, at)
        if (begin, second, end) != _MAGICS:
            raise Refusal(f"{name}: block {at // _BLOCK.size} is not UF2; is this the right file?")
        if flags & _NOT_MAIN_FLASH or family == _ABSOLUTE:
            continue
        if not flags & _HAS_FAMILY or family != board.rom.id:
            found = chip_of(board.family, family) or f"family {family:#x}"
            raise Refusal(f"{name}: is for {found}, {board.name} has an {board.chip}; take {board.build}")
        if size != _PAGE or address % _PAGE or not _FLASH <= address < _FLASH + board.storage[0]:
            raise Refusal(f"{name}: block {number} goes to {address:#x}, outside the firmware's part of the flash")
        if address in pages or number in numbers or total not in (0, count):
            raise Refusal(f"{name}: block {number} comes twice, or from another file")
        pages.add(address)
        numbers.add(number)
        total = count
    if numbers != set(range(total)) or not numbers:
        raise Refusal(f"{name}: {len(numbers)} of {total} blocks; cut off, download it again")


def volumes() -> Iterable[Path]:
    """Where this system shows a board in its boot ROM."""
    if sys.platform == "win32":
        roots = [Path(f"{letter}:\\") for letter in string.ascii_uppercase[3:]]
    else:
        user = os.environ.get("USER", "")
        parents = (Path("/Volumes"), Path("/media"), Path("/media") / user, Path("/run/media") / user, Path("/mnt"))
        roots = [folder for parent in parents if parent.is_dir() for folder in sorted(parent.iterdir())]
    return [root for root in roots if _info(root)]


def _info(volume: Path) -> str:
    try:
        return (volume / "INFO_UF2.TXT").read_text("ascii", "replace")
    except OSError:
        return ""


def board_id(volume: Path) -> str:
    """What the boot ROM calls the board: RPI-RP2 (an RP2040) or RP2350."""
    for line in _info(volume).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "Board-ID":
            return value.strip()
    return ""


def find(board: Board, volume: Path | None, wait_s: float = 0) -> Path | None:
    """The volume of a board in its boot ROM, `volume` if given; None if there is none after `wait_s`.

    Refuses one of another chip, and several at a time.
    """
    end = time.monotonic() + wait_s
    while True:
        found = [volume] if volume and _info(volume) else [] if volume else list(volumes())
        if len(found) > 1:
            raise Refusal(f"several boards wait for firmware: {', '.join(map(str, found))}; name one with --volume")
        if found:
            seen, wanted = board_id(found[0]), board.rom.volume
            if seen != wanted:
                raise Refusal(f"{found[0]}: is a {seen or 'board without a Board-ID'}, {board.name} is a {wanted}")
            return found[0]
        if time.monotonic() >= end:
            return None
        time.sleep(0.2)


def copy(image: bytes, volume: Path, progress: Callable[[int, int], None]) -> None:
    """Writes the image; the board then restarts by itself and its volume goes away."""
    written = 0
    try:
        with (volume / "firmware.uf2").open("wb", buffering=0) as file:
            while written < len(image):
                written += file.write(image[written : written + _CHUNK])
                os.fsync(file.fileno())  # or a pulled cable shows only when the system's cache has taken all
                progress(written, len(image))
                if written < len(image) and not _info(volume):
                    raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    except OSError as error:
        # The board may be gone before the system has closed the file.
        if written == len(image) and not _info(volume):
            return
        what = error.strerror or str(error)
        raise FlashError(
            f"{volume}: {what} after {written} of {len(image)} bytes; put the board back into its boot ROM (hold "
            "BOOTSEL, plug in) and run the same command again"
        ) from error
