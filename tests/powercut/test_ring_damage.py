"""What a mount must not make worse, and what it must not pass over: a read that misreads once, a header beyond mending,
a cell that is stuck.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from flashring import Ring, RingBusy, RingError, RingFull, Window

from host_sim.image import read_ring

sys.path.insert(0, str(Path(__file__).parent))
import torncells

SECTOR, SECTORS = 2048, 8


def port(cells: torncells.Cells, unit: int, seed: int = 1, misread: int = -1) -> torncells.Flash:
    return torncells.Flash(unit, SECTOR, cells, random.Random(seed), misread=misread)


def ring(flash: torncells.Flash) -> Ring:
    return Ring(flash, 0, SECTORS, Window(flash, 300))


def payload(seq: int) -> bytes:
    return bytes([seq & 0xFF]) * 30


def filled(unit: int, copies: bool, more: int = 0) -> tuple[torncells.Flash, Ring]:
    """A ring that is full, its oldest sector given up once; `copies`: it has gone on with what is kept for copies, so
    that the sector after the head is not free. `more`: records released and written after that.
    """
    flash = port(torncells.Cells.erased(SECTORS * SECTOR), unit)
    made = ring(flash)
    made.format(7)
    dropped = False
    while True:
        try:
            made.append(payload(made.range()[2]))
        except RingBusy:
            made.idle()
        except RingFull as full:
            if dropped:
                break
            made.drop(full.seq)
            dropped = True
    while copies and made._tail.is_free():
        try:
            made.append(payload(made.range()[2]), True)
        except RingBusy:
            made.idle()
    for _ in range(more):
        try:
            made.release(made.range()[1] + 1)
            made.append(payload(made.range()[2]))
        except RingBusy:
            made.idle()
        except RingFull as full:
            made.release(full.seq)
    return flash, made


def told(made: Ring) -> tuple[int, ...]:
    return (*made.range(), made.dropped)


@pytest.mark.parametrize("unit", [1, 16, 256])
@pytest.mark.parametrize(("copies", "more"), [(False, 0), (True, 0), (False, 40), (True, 333)])
def test_a_read_that_misreads_once_at_a_mount_costs_nothing(unit: int, copies: bool, more: int) -> None:
    flash, made = filled(unit, copies, more if unit == 1 else more // 10)
    known = told(made)
    happened = 0
    for read in range(16):
        for seed in range(12):
            cells = flash.cells.copy()
            glitch = port(cells, unit, seed, read)
            once = ring(glitch)
            once.mount()
            glitch.misread = -1
            happened += glitch.misreads
            again = ring(port(cells, unit))
            again.mount()
            assert told(again) == known == told(once), (read, seed)
            oldest, released, end = again.range()
            for seq in range(max(oldest, released + 1), end):
                assert again.read(seq) == payload(seq), (read, seed)
    assert happened > 40


@pytest.mark.parametrize("unit", [1, 16, 256])
@pytest.mark.parametrize("clean", [False, True])
def test_a_sector_with_a_header_beyond_mending_counts_as_dropped(unit: int, clean: bool) -> None:
    flash, made = filled(unit, True)
    oldest, released, end = made.range()
    dropped = made.dropped
    start = (made._head.lap + 1) % SECTORS * SECTOR
    flash.cells.data[start + 3] ^= 0x10
    flash.cells.data[start + 12] ^= 0x01
    held = bytes(flash.cells.data[start : start + SECTOR])
    for _ in range(2):  # it says so until it is written down
        made = ring(flash)
        made.mount(None, clean)
        edge, now, _ = made.range()
        assert made.skipped == (released + 1, edge - 1) and edge - 1 > released
        assert now == edge - 1 and made.dropped == dropped + edge - 1 - released
        assert bytes(flash.cells.data[start : start + SECTOR]) == held, "it can still be read by other means"
    image = read_ring(bytes(flash.cells.data), 0, SECTORS, SECTOR, unit)
    assert (image.released, image.next, image.dropped) == (edge - 1, end, dropped + edge - 1 - released)
    assert made.idle()
    for seq in range(end, end + 3):
        assert made.append(payload(seq)) == seq
    after = ring(flash)
    after.mount()
    assert after.dropped == dropped + edge - 1 - released and after.skipped is None
    assert after.range()[1] == edge - 1


class Stuck(torncells.Flash):
    """A bit that stays 0."""

    at = 0

    def erase(self, sector: int) -> None:
        super().erase(sector)
        self.cells.data[self.at] &= 0xFE

    def program(self, addr: int, buf: bytes | bytearray | memoryview) -> None:
        now = self.cells.data[addr : addr + len(buf)]
        super().program(addr, bytes(old & new for old, new in zip(now, buf, strict=True)))


def test_a_stuck_bit_in_a_header_ends_in_an_error_and_not_in_erases() -> None:
    flash = Stuck(1, SECTOR, torncells.Cells.erased(SECTORS * SECTOR), random.Random(1))
    made = ring(flash)
    made.format(7)
    flash.at = SECTOR + 2  # of the lap in sector 1: 1 needs this bit
    flash.cells.data[flash.at] &= 0xFE
    seq = busy = 0
    with pytest.raises(RingError, match="sector 1 does not hold"):
        while busy < 20:
            try:
                seq = made.append(payload(seq + 1))
                made.release(seq)
            except RingBusy:
                busy += 1
                made.idle()
    assert flash.erases <= 4
    assert all(made.read(each) == payload(each) for each in range(1, seq + 1))
    after = ring(flash)
    after.mount()
    assert after.range()[2] == seq + 1


def test_without_the_read_back_nobody_notices_a_stuck_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "_reads_back", lambda *_: True)
    with pytest.raises((pytest.fail.Exception, AssertionError, KeyError)):
        test_a_stuck_bit_in_a_header_ends_in_an_error_and_not_in_erases()
