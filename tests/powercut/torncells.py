"""NOR cells whose supply can fail in any operation, and every way that leaves them in."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

ERASED = 0xFF
PAGE = 256  # bytes that one program command of a NOR chip takes


@dataclass
class Cells:
    """Bytes as they read, and `loose`: bits that read now so, now so, until they are programmed or erased."""

    data: bytearray
    loose: bytearray

    @classmethod
    def erased(cls, size: int) -> Cells:
        return cls(bytearray([ERASED]) * size, bytearray(size))

    def copy(self) -> Cells:
        return Cells(bytearray(self.data), bytearray(self.loose))


@dataclass
class Operation:
    """A program or an erase that is about to happen to `cells`: done, it leaves `data` at `start`."""

    cells: Cells
    start: int
    data: bytes
    erase: bool
    sector_size: int

    def torn(self, rng: random.Random) -> Iterator[tuple[str, Cells]]:
        """(mode, what is left) for each way in which it can be cut."""
        for mode, data, loose in _erases(self, rng) if self.erase else _programs(self, rng):
            cells = self.cells.copy()
            end = self.start + len(self.data)
            size = len(self.data)
            kept = int.from_bytes(cells.loose[self.start : end], "big")
            changed = data ^ int.from_bytes(cells.data[self.start : end], "big")
            cells.data[self.start : end] = data.to_bytes(size, "big")
            cells.loose[self.start : end] = (kept & ~changed | loose).to_bytes(size, "big")
            yield mode, cells
        if not self.erase:
            yield from _beyond(self, rng)


MODES_OF_A_PROGRAM = ("nothing", "prefix", "few bits", "half the bits", "most bits", "all", "one bit missing",
                      "loose", "prefix, then loose", "one bit loose", "few loose", "all but loose",
                      "next page loose")  # fmt: skip
MODES_OF_AN_ERASE = ("nothing", "few bits", "half the bits", "most bits", "prefix", "done", "all zero", "stray zeros",
                     "loose", "blank but for loose bits")  # fmt: skip


def _bits(rng: random.Random, count: int, eighths: int) -> int:
    """Random bits, about `eighths` of 8 of them set."""
    bits = 0
    for _ in range(3):
        more = rng.getrandbits(count)
        bits = bits | more if eighths & 1 else bits & more
        eighths >>= 1
    return bits


def _one(rng: random.Random, bits: int) -> int:
    """One bit of `bits`; 0 if there is none."""
    places = [place for place in range(bits.bit_length()) if bits >> place & 1]
    return 1 << rng.choice(places) if places else 0


def _programs(operation: Operation, rng: random.Random) -> Iterator[tuple[str, int, int]]:
    """(mode, what the cells read, which of the bits are loose)."""
    size = len(operation.data)
    count = 8 * size
    old = int.from_bytes(operation.cells.data[operation.start : operation.start + size], "big")
    new = old & int.from_bytes(operation.data, "big")
    moving = old & ~new
    place = rng.randrange(1, count) if rng.random() < 0.5 else count - rng.randrange(1, min(count, 320))
    first = ((1 << count) - 1) >> place << place if place < count else 0
    missing, loose = _one(rng, moving), _one(rng, moving)
    yield "nothing", old, 0
    yield "prefix", old & ~(moving & first), 0
    yield "few bits", old & ~(moving & _bits(rng, count, 1)), 0
    yield "half the bits", old & ~(moving & rng.getrandbits(count)), 0
    yield "most bits", old & ~(moving & _bits(rng, count, 7)), 0
    yield "all", new, 0
    yield "one bit missing", new | missing, 0
    yield "loose", old, moving
    yield "prefix, then loose", old & ~(moving & first), moving & ~first & first >> 64
    yield "one bit loose", new, loose
    yield "few loose", old, _one(rng, moving) | _one(rng, moving)
    few = 0
    for _ in range(rng.randrange(2, 5)):
        few |= _one(rng, moving)
    yield "all but loose", new, few


def _beyond(operation: Operation, rng: random.Random) -> Iterator[tuple[str, Cells]]:
    """A program of several pages is done page by page. It is cut in one of them, and bits of the page behind that, if
    there is one in this sector and it is blank, read now so, now so, though no program was ever due there.
    """
    end = operation.start + len(operation.data)
    cut = rng.randrange(operation.start, end)
    page = cut // PAGE * PAGE
    behind = page + PAGE
    cells = operation.cells.copy()
    if behind % operation.sector_size == 0 or any(byte != ERASED for byte in cells.data[behind : behind + PAGE]):
        return
    for place in range(operation.start, cut):
        cells.data[place] &= operation.data[place - operation.start]
    if rng.random() < 0.5:  # the page that is cut reads as it did before
        cells.data[page:behind] = operation.cells.data[page:behind]
    for _ in range(rng.randrange(1, 9)):
        cells.loose[behind + rng.randrange(PAGE)] |= 1 << rng.randrange(8)
    yield "next page loose", cells


def _erases(operation: Operation, rng: random.Random) -> Iterator[tuple[str, int, int]]:
    size = len(operation.data)
    count = 8 * size
    old = int.from_bytes(operation.cells.data[operation.start : operation.start + size], "big")
    blank = (1 << count) - 1
    place = rng.randrange(1, count)
    yield "nothing", old, 0
    yield "few bits", old | _bits(rng, count, 1), 0
    yield "half the bits", old | rng.getrandbits(count), 0
    yield "most bits", old | _bits(rng, count, 7), 0
    yield "prefix", old | blank >> place << place, 0
    yield "done", blank, 0
    yield "all zero", 0, 0
    stray = 0
    for _ in range(rng.randrange(1, 6)):
        stray |= 1 << rng.randrange(count)
    yield "stray zeros", blank & ~stray, 0
    yield "loose", old, blank & ~old
    loose = 0
    for _ in range(rng.randrange(1, 9)):
        loose |= 1 << rng.randrange(count)
    yield "blank but for loose bits", blank, loose


@dataclass
class Flash:
    """The port that a ring is given: 1 to 0 only, whole units. Notes each Operation in `operations` while that is a
    list.
    """

    unit: int
    sector_size: int
    cells: Cells
    rng: random.Random
    operations: list[Operation] | None = None
    erases: int = 0
    misread: int = -1  # reads until one in which bits read otherwise than they are, that once
    misreads: int = 0  # how often that happened
    page_size: int = field(init=False)
    granularity: int = field(init=False)

    def __post_init__(self) -> None:
        self.page_size = 256 if self.unit == 256 else 1
        self.granularity = self.unit

    def read_into(self, addr: int, buf: bytearray | memoryview) -> None:
        """What the cells read this time."""
        if not 0 <= addr <= len(self.cells.data) - len(buf):
            raise ValueError(f"read of {len(buf)} bytes at {addr}")
        end = addr + len(buf)
        loose = int.from_bytes(self.cells.loose[addr:end], "big")
        seen = int.from_bytes(self.cells.data[addr:end], "big") ^ (loose & self.rng.getrandbits(8 * len(buf)))
        self.misread -= 1
        if self.misread == -1:
            self.misreads += 1
            if self.rng.random() < 0.2:
                seen = (1 << 8 * len(buf)) - 1  # the chip did not answer
            for _ in range(self.rng.choice((1, 3, 12))):
                seen ^= 1 << self.rng.randrange(8 * len(buf))
        buf[:] = seen.to_bytes(len(buf), "big")

    def program(self, addr: int, buf: bytes | bytearray | memoryview) -> None:
        """Clear bits, and make them firm."""
        if addr % self.unit or len(buf) % self.unit or not 0 <= addr <= len(self.cells.data) - len(buf):
            raise ValueError(f"program of {len(buf)} bytes at {addr}")
        data = bytes(buf)
        self._note(addr, data, False)
        end = addr + len(data)
        new = int.from_bytes(data, "big")
        old = int.from_bytes(self.cells.data[addr:end], "big")
        loose = int.from_bytes(self.cells.loose[addr:end], "big")
        # One bit may be what the ring has put right in a cursor as it read it; the cell stays as it is.
        if bin(new & ~(old | loose)).count("1") > 1 and not self.misreads:  # else it was not to know
            raise ValueError(f"program at {addr} sets bits")
        self.cells.data[addr:end] = (old & new).to_bytes(len(data), "big")
        self.cells.loose[addr:end] = (loose & new).to_bytes(len(data), "big")

    def erase(self, sector: int) -> None:
        """Set every bit of the sector, and make them firm."""
        start = sector * self.sector_size
        blank = bytes([ERASED]) * self.sector_size
        self._note(start, blank, True)
        self.erases += 1
        self.cells.data[start : start + self.sector_size] = blank
        self.cells.loose[start : start + self.sector_size] = bytes(self.sector_size)

    def _note(self, start: int, data: bytes, erase: bool) -> None:
        if self.operations is not None:
            self.operations.append(Operation(self.cells.copy(), start, data, erase, self.sector_size))
