"""What is no ring, or no longer one: mount says what it found, in bounded time, and returns nothing that was not
written.
"""

from __future__ import annotations

import random

import pytest
from flashring import NoRing, Ring, RingBusy, RingError, Window
from test_ring_versions import SECTOR, Flash

NOISE = random.Random(5).randbytes(SECTOR)
MOST_READS = 8 * 6  # of a mount: a few for each sector
HINTS = (None, b"\x00\x00\x00", b"\x02\x80\x00", b"\xff\xff\xff")


class Counting(Flash):
    """Counts reads."""

    reads = 0

    def read_into(self, addr: int, buf: bytearray | memoryview) -> None:
        self.reads += 1
        super().read_into(addr, buf)


def payload(seq: int) -> bytes:
    return bytes([seq & 0xFF]) * (seq % 50)


def ring_of(records: int, unit: int = 1, sectors: int = 6) -> bytes:
    """The cells of a ring that begins at sector 2."""
    flash = Flash(b"\xff" * (8 * SECTOR), unit)
    ring = Ring(flash, 2, sectors, Window(flash, 256))
    ring.format(9)
    for seq in range(1, records + 1):
        try:
            ring.append(payload(seq))
        except RingBusy:
            ring.idle()
            ring.append(payload(seq))
        ring.release(seq)
    return bytes(flash.cells)


CELLS = {
    "zeros": (bytes(8 * SECTOR), 2, 6),
    "erased": (b"\xff" * (8 * SECTOR), 2, 6),
    "noise": (NOISE * 8, 2, 6),
    "magics": (b"\x52\x01" * (4 * SECTOR), 2, 6),
    "a later format": (b"\x52\x02" + b"\xff" * (8 * SECTOR - 2), 0, 6),
    "shifted": (ring_of(3000), 3, 5),
    "of another size": (ring_of(3000), 2, 5),
}


@pytest.mark.parametrize("name", CELLS)
def test_it_is_told_and_left_alone_or_read_as_it_was_written(name: str) -> None:
    cells, first, count = CELLS[name]
    mounted = 0
    for hint in HINTS:
        for clean in (True, False):
            flash = Counting(cells, 1)
            ring = Ring(flash, first, count, Window(flash, 256))
            try:
                ring.mount(hint, clean)
            except NoRing as error:
                assert f"sectors {first}..{first + count - 1}" in str(error)
                assert flash.cells == cells and flash.reads < MOST_READS
                with pytest.raises(RingError):
                    ring.append(b"x")
                ring.format(3)
                assert ring.read(ring.append(b"new")) == b"new"
            else:
                # Some laps fit their places by chance; what is read was written, under that number.
                mounted += 1
                assert flash.reads < MOST_READS
                oldest, _, end = ring.range()
                assert all(ring.read(seq) == payload(seq) for seq in range(oldest, end))
    assert not mounted or name in ("shifted", "of another size")
    if name == "a later format":
        with pytest.raises(NoRing, match="1 of another format"):
            Ring(Flash(cells, 1), first, count).mount()


@pytest.mark.parametrize("unit", [1, 256])
def test_whatever_is_overwritten_nothing_false_is_read(unit: int) -> None:
    chance = random.Random(unit)
    whole = ring_of(600 if unit == 1 else 100, unit)
    gone = 0
    for _ in range(60):
        cells = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            length = chance.choice((2, 3, 8, 100, 700, SECTOR))
            at = chance.randrange(2 * SECTOR, len(cells) - length)
            cells[at : at + length] = chance.choice((chance.randbytes(length), bytes(length), b"\xff" * length))
        flash = Counting(bytes(cells), unit)
        ring = Ring(flash, 2, 6, Window(flash, 256))
        try:
            ring.mount(None, chance.random() < 0.5)
        except NoRing:
            continue
        finally:
            assert flash.reads < MOST_READS
        oldest, _, end = ring.range()
        assert end - oldest <= 700
        for seq in range(oldest, end):
            try:
                assert ring.read(seq) == payload(seq), seq
            except KeyError:
                gone += 1
    assert gone > 20


def test_two_headers_that_cannot_be_read_hide_nothing_newer() -> None:
    whole = ring_of(600)
    ring = Ring(Flash(whole, 1), 2, 6)
    ring.mount()
    following, newest = ring.range()[2], ring._head.lap % 6
    for first in range(6):
        cells = bytearray(whole)
        for index in (first, (first + 1) % 6):
            if index != newest:
                for bit in (5 + first, 8 * 7, 8 * 20 + first):  # too many to put right
                    cells[(2 + index) * SECTOR + bit // 8] ^= 1 << bit % 8
        for hint in HINTS:
            for clean in (True, False):
                flash = Flash(bytes(cells), 1)
                ring = Ring(flash, 2, 6, Window(flash, 256))
                ring.mount(hint, clean)
                assert ring.range()[2] == following, (first, hint, clean)


def test_a_young_ring_on_reserved_blocks_costs_a_wake_no_more() -> None:
    """Each block begins with its signature (lib/reservation/SPEC.md) until it is opened."""
    blocks = [(b"FNV\x00" + bytes([index, 0, 0, 0]) + b"12345678").ljust(SECTOR, b"\xff") for index in range(40)]
    flash = Counting(b"".join(blocks), 256)
    ring = Ring(flash, 0, 40, Window(flash, 256))
    ring.format(9)
    ring.append(b"the first")
    ring.idle()
    for hint, most in ((ring.hint(), 8), (None, 30)):
        flash.reads = 0
        ring = Ring(flash, 0, 40, Window(flash, 256))
        ring.mount(hint, True)
        assert ring.range() == (1, 0, 2) and flash.reads <= most, (hint, flash.reads)
