"""NOR flash in a file: a program only clears bits, an erase sets a sector's; every operation is counted and takes
its time.

Times are typical ones of a W25Q32JV (Winbond datasheet rev. G, table 9.6): 0.4 ms for up to 256 bytes, 45 ms for a
sector.
"""

import mmap
import random
from collections.abc import Callable
from pathlib import Path

SECTOR = 4096
PAGE = 256
PROGRAM_US = 400
ERASE_US = 45_000


class PowerCut(Exception):
    """The supply failed in this operation; what stands in the flash is whatever the tear left."""


class Flash:
    """`size` bytes in the file `path`, made blank if missing. Another size raises ValueError.

    `before(operation, now_us)` is called ahead of each program and erase and answers True to cut the power in it.
    `erases[sector]` counts the erases of each sector. `speed`: how many times shorter than a real one an operation is.
    """

    def __init__(self, path: Path, size: int, before: Callable[[str, int], bool] | None = None) -> None:
        if not path.exists():
            path.write_bytes(b"\xff" * size)
        if path.stat().st_size != size:
            raise ValueError(f"{path}: {path.stat().st_size} bytes, this board's flash has {size}")
        with path.open("r+b") as file:
            self.cells = mmap.mmap(file.fileno(), size)
        self.before = before
        self.size = size
        self.erases = [0] * (size // SECTOR)
        self.programmed_bytes = 0
        self.speed = 1

    def _bounds(self, address: int, length: int) -> None:
        if not 0 <= address <= self.size - length:
            raise ValueError(f"flash: {length} bytes at {address:#x} lie outside {self.size:#x}")

    def program(self, address: int, data: bytes, now_us: int, dice: random.Random | None = None) -> int:
        """Clears bits; returns the microseconds it takes."""
        self._bounds(address, len(data))
        cut = self.before is not None and self.before("program", now_us)
        end = address + len(data)
        old = int.from_bytes(self.cells[address:end], "little")
        new = old & int.from_bytes(data, "little")
        if cut:
            new = _torn_program(old, new, len(data), dice or random.Random(0))
        self.cells[address:end] = new.to_bytes(len(data), "little")
        self.programmed_bytes += len(data)
        if cut:
            raise PowerCut(f"program at {address:#x}")
        return PROGRAM_US * ((address % PAGE + len(data) + PAGE - 1) // PAGE) // self.speed

    def program_pages(self, address: int, data: bytes, now_us: int, dice: random.Random) -> int:
        """As the boot ROM of an RP2 does it: whole pages, whatever was asked for; returns the microseconds it takes.

        The bytes after `data` come from the RAM that follows the buffer: of those nobody knows anything, so they are
        now zeros, now random. From an address inside a page the chip wraps to the page's start (W25Q32JV, 8.2.13),
        and it takes an address modulo its size.
        """
        short = -len(data) % PAGE
        data = data + (bytes(short) if dice.random() < 0.5 else dice.randbytes(short))
        took = 0
        for start in range(0, len(data), PAGE):
            page = (address + start) % self.size // PAGE * PAGE
            turn = PAGE - address % PAGE
            chunk = data[start : start + PAGE]
            took += self.program(page, chunk[turn:] + chunk[:turn], now_us, dice)
        return took

    def erase(self, sector: int, now_us: int, dice: random.Random | None = None) -> int:
        """Sets a sector's bits; returns the microseconds it takes."""
        address = sector * SECTOR
        self._bounds(address, SECTOR)
        cut = self.before is not None and self.before("erase", now_us)
        if cut:
            left = _torn_erase(bytes(self.cells[address : address + SECTOR]), dice or random.Random(0))
            self.cells[address : address + SECTOR] = left
            raise PowerCut(f"erase of sector {sector}")
        self.cells[address : address + SECTOR] = b"\xff" * SECTOR
        self.erases[sector] += 1
        return ERASE_US // self.speed


def _torn_program(old: int, new: int, length: int, dice: random.Random) -> int:
    """Nothing, a prefix, a random subset of the bits, or all of it."""
    mode = dice.randrange(4)
    if mode == 0:
        return old
    if mode == 1:
        mask = (1 << dice.randrange(8 * length + 1)) - 1
        return (new & mask) | (old & ~mask)
    if mode == 2:
        kept = dice.getrandbits(8 * length)
        return new | (old & kept)
    return new


def _torn_erase(old: bytes, dice: random.Random) -> bytes:
    """Nothing, random bits set, a prefix, or all of it."""
    mode = dice.randrange(4)
    if mode == 0:
        return old
    if mode == 1:
        return (int.from_bytes(old, "little") | dice.getrandbits(8 * SECTOR)).to_bytes(SECTOR, "little")
    if mode == 2:
        done = dice.randrange(SECTOR)
        return b"\xff" * done + old[done:]
    return b"\xff" * SECTOR
