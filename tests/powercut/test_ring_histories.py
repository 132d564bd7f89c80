"""One flipped bit anywhere in the newest sector, after a random history: boots of both kinds in it, records of every
awkward length, records that share their program with a move of the cursor. It costs at most the record that it is in;
what goes on from there keeps its numbers, and the host's reader sees the same.
"""

from __future__ import annotations

import contextlib
import random
import sys
from pathlib import Path

import pytest
from flashring import Ring, RingBusy, Window

from host_sim.image import read_ring

sys.path.insert(0, str(Path(__file__).parent))
import ringtorture  # noqa: F401 -- so that each check is computed once
import torncells

SECTOR, SECTORS, LARGEST = 2048, 4, 300
AWKWARD = (0, 5, 31, 47, 55, 59, 61, 62, 120)  # some lengths are FFh with one bit flipped


class Nor(torncells.Flash):
    """Programming a 1 over a 0 changes nothing, as on the chip."""

    def program(self, addr: int, buf: bytes | bytearray | memoryview) -> None:
        now = self.cells.data[addr : addr + len(buf)]
        super().program(addr, bytes(old & new for old, new in zip(now, buf, strict=True)))


class History:
    """A ring that has lived for a while, and what stands in it."""

    def __init__(self, unit: int, seed: int) -> None:
        self.unit, self.rng = unit, random.Random(seed)
        self.written: dict[int, bytes] = {}
        self.flash = self.cells_as_flash(torncells.Cells.erased(SECTOR * SECTORS))
        self.ring = self.made(self.flash)
        self.ring.format(77)
        self.kept = 60 if unit < 256 else 12
        left = self.rng.randrange(300, 900)
        while self.ring._head.lap < 5 or self.ring.room() > left:
            self.step()
        self.ring.idle()
        if self.rng.random() < 0.5:  # the last boot but one followed a reset, and wrote nothing
            self.ring = self.made(self.flash)
            self.ring.mount()

    def cells_as_flash(self, cells: torncells.Cells) -> Nor:
        return Nor(self.unit, SECTOR, cells, random.Random(1))

    def made(self, flash: Nor) -> Ring:
        return Ring(flash, 0, SECTORS, Window(flash, LARGEST))

    def step(self) -> None:
        """Something that a node does."""
        rng, ring, following = self.rng, self.ring, self.ring.range()[2]
        what = rng.random()
        if what < 0.2:
            ring.release(max(0, following - rng.randrange(1, 12)), sync=rng.random() < 0.5)
        elif what < 0.25:
            ring.drop(max(0, following - 12))
        elif what < 0.29:
            ring.idle()
            self.ring = self.made(self.flash)
            self.ring.mount(None, rng.random() < 0.3)
        elif what < 0.4:
            self.append([self.payload((0, 3, 20)) for _ in range(rng.randrange(1, 17))])
        else:
            self.append([self.payload(AWKWARD)])
        self.ring.release(max(0, self.ring.range()[2] - self.kept), sync=False)

    def payload(self, lengths: tuple[int, ...]) -> bytes:
        return bytes(self.rng.choices((0, 255, 90, 7), k=self.rng.choice(lengths)))

    def append(self, payloads: list[bytes]) -> None:
        while True:
            try:
                seq = self.ring.append_batch(payloads) if len(payloads) > 1 else self.ring.append(payloads[0])
                break
            except RingBusy:
                self.ring.idle()
        self.written.update(enumerate(payloads, seq))


def readable(ring: Ring) -> dict[int, bytes]:
    found = {}
    for seq in range(ring.range()[0], ring.range()[2]):
        with contextlib.suppress(KeyError):
            found[seq] = ring.read(seq)
    return found


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("unit", [1, 16, 256])
def test_a_flipped_bit_after_a_sleep(unit: int, seed: int) -> None:
    history = History(unit, seed)
    oldest, released, following = history.ring.range()
    assert following - oldest >= 12
    whole = bytes(history.flash.cells.data)
    head = SECTOR * (history.ring._head.lap % SECTORS)
    position = min(history.ring._head.position, SECTOR)
    near = range(8 * (head + max(26, position - 900)), 8 * (head + position))
    noticed = 0
    for bit in {*history.rng.sample(near, 30), *history.rng.sample(range(8 * head, 8 * (head + SECTOR)), 15)}:
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        flash = history.cells_as_flash(torncells.Cells(data, bytearray(len(data))))
        ring = history.made(flash)
        ring.mount(None, True)
        # To say what it has found it may have opened a sector, which takes the place of released records.
        first = ring.range()[0]
        assert first == oldest or first <= released + 1, bit
        assert ring.range()[2] == following and released - history.kept <= ring.range()[1] <= released, bit
        there = readable(ring)
        gone = [seq for seq in range(first, following) if seq not in there]
        assert len(gone) <= 1 and all(payload == history.written[seq] for seq, payload in there.items()), (bit, gone)
        assert not gone or ring.damaged, bit
        noticed += bool(ring.damaged or ring.mended)
        image = read_ring(bytes(flash.cells.data), 0, SECTORS, SECTOR, unit)
        assert (image.next, image.released, image.dropped) == (following, ring.range()[1], ring.dropped), bit
        assert {seq for seq, _ in image.records if seq >= first} == set(there), bit
        ring.idle()
        assert ring.append(b"on") == following, bit
        for clean in (True, False):
            ring = history.made(flash)
            ring.mount(None, clean)
            assert ring.range()[2] == following + 1 and ring.read(following) == b"on", (bit, clean)
            assert readable(ring).keys() >= {seq for seq in there if seq >= ring.range()[0]}, (bit, clean)
    assert noticed > 5


def test_a_mark_that_reads_otherwise_later_is_no_entry() -> None:
    """A record in the last page that a cut has torn, and a mark of it in the last 8 bytes that was cut as well: the
    mount after that has read the record whole, and no mark.
    """
    flash = Nor(256, SECTOR, torncells.Cells.erased(SECTOR * SECTORS), random.Random(1))
    ring = Ring(flash, 0, SECTORS, Window(flash, LARGEST))
    ring.format(77)
    for _ in range(7):
        ring.append(b"whole")
    assert ring.room() == 0
    flash.cells.data[SECTOR - 8 : SECTOR] = bytes.fromhex("000000000027fff8")
    for clean in (True, False, True):
        ring = Ring(flash, 0, SECTORS, Window(flash, LARGEST))
        ring.mount(None, clean)
        assert ring.range() == (1, 0, 8), clean


def test_padding_that_reads_otherwise_later_is_no_entry() -> None:
    """Zeros over a page with a header were cut: the header fits, and behind it some bits read 1 at the mount after
    that, which puts its zeros in the next page, and 0 later.
    """
    flash = Nor(256, SECTOR, torncells.Cells.erased(SECTOR * SECTORS), random.Random(1))
    ring = Ring(flash, 0, SECTORS, Window(flash, LARGEST))
    ring.format(77)
    ring = Ring(flash, 0, SECTORS, Window(flash, LARGEST))
    ring.mount()
    assert flash.cells.data[256:264] == bytes(8)
    for bit in (8 * 103 + 2, 8 * 142 + 5, 8 * 26 + 1, 8 * 255, 8 * 77, 8 * 77 + 4):
        flash.cells.data[bit // 8] &= ~(1 << bit % 8)
        ring = Ring(flash, 0, SECTORS, Window(flash, LARGEST))
        ring.mount(None, True)
        assert ring.range() == (1, 0, 1), bit


@pytest.mark.parametrize("unit", [1, 16])
def test_all_of_one_program_is_settled(unit: int) -> None:
    """Three entries go in one where a gap's cursor, a drop that is owed and a record meet: what the first mount has
    read of them, every later one reads.
    """
    flash = Nor(unit, SECTOR, torncells.Cells.erased(SECTOR * SECTORS), random.Random(1))
    ring = Ring(flash, 0, SECTORS, Window(flash, LARGEST))
    ring.format(77)
    for _ in range(3):
        ring.append(b"before")
    ring = Ring(flash, 0, SECTORS, Window(flash, LARGEST))
    ring.mount()
    ring._head.owed = True  # as where the header of the oldest sector was found spoilt
    at = ring._head.position
    assert ring.append(b"new") == 4 and [flash.cells.data[at], flash.cells.data[at + 9]] == [0xFB, 0xFC]
    settled = 0
    for seed in range(40):
        cells = flash.cells.copy()
        for place in (at + 1, at + 6):  # programmed, and two bits not for good
            zeros = ~cells.data[place] & 0xFF
            cells.loose[place] |= zeros & -zeros
        torn = Nor(unit, SECTOR, cells, random.Random(seed))
        ring = Ring(torn, 0, SECTORS, Window(torn, LARGEST))
        ring.mount()
        following = ring.range()[2]
        settled += following == 5
        assert ring.append(b"more") == following
        ring = Ring(torn, 0, SECTORS, Window(torn, LARGEST))
        ring.mount()
        assert ring.range()[2] == following + 1 and ring.read(following) == b"more", seed
        if following == 5:
            assert ring.read(4) == b"new", seed
    assert settled > 5
