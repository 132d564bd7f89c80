"""A ring of an older format is taken over as it stands: nothing unsent is lost, wherever the power goes.

For every format that was ever written, a writer made from the specification and a life in it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from flashring import Ring, RingBusy, Window
from ledgerkit import RingWriter

from host_sim.image import read_ring

SECTOR = 4096
COUNT = 5
WRITERS = {0: RingWriter}


class Cut(Exception):
    """The supply is gone."""


class Flash:
    """NOR cells; the supply goes in operation `left`, which is done to `part` of 4."""

    sector_size = SECTOR

    def __init__(self, cells: bytes, unit: int, left: int = -1, part: int = 0) -> None:
        self.cells = bytearray(cells)
        self.page_size = unit if unit == 256 else 1
        self.granularity = unit
        self.left, self.part = left, part

    def read_into(self, addr: int, buf: bytearray | memoryview) -> None:
        buf[:] = self.cells[addr : addr + len(buf)]

    def _do(self, start: int, data: bytes) -> None:
        self.left -= 1
        done = len(data) if self.left else len(data) * self.part // 4
        self.cells[start : start + done] = data[:done]
        if not self.left:
            raise Cut

    def program(self, addr: int, buf: bytes | bytearray | memoryview) -> None:
        old = self.cells[addr : addr + len(buf)]
        self._do(addr, bytes(a & b for a, b in zip(old, buf, strict=True)))

    def erase(self, sector: int) -> None:
        self._do(sector * SECTOR, b"\xff" * SECTOR)


def image(version: int, unit: int, seed: int, torn: bool) -> tuple[bytes, RingWriter, dict[int, bytes]]:
    """A ring with unsent records, as the writer of `version` left it."""
    chance = random.Random(seed)
    writer = WRITERS[version](COUNT, 77, unit)
    written = {}
    for _ in range(chance.choice((3, 60, 90 if unit == 256 else 400))):
        payload = chance.randbytes(chance.randrange(0, 60))
        written[writer.append(payload)] = payload
        behind = chance.randrange(20, 40)
        if writer.next - behind > writer.released + 1:
            writer.release(writer.next - behind)
    if chance.random() < 0.5 and writer.next - writer.released > 4:
        writer.drop(writer.released + 2)
    if torn:
        writer.tear(chance.randbytes(5))
    return bytes(writer.data), writer, written


def cases() -> Iterator[tuple[int, int, int, bool]]:
    for version in WRITERS:
        for unit in (1, 16, 256):
            for seed in range(4):
                yield version, unit, seed, seed % 2 == 1


def mounted(flash: Flash) -> Ring:
    ring = Ring(flash, 0, COUNT, Window(flash, 256))
    ring.mount()
    return ring


def unsent(ring: Ring) -> dict[int, bytes]:
    """Every record that is not released."""
    oldest, released, following = ring.range()
    return {seq: ring.read(seq) for seq in range(max(oldest, released + 1), following)}


@pytest.mark.parametrize(("version", "unit", "seed", "torn"), list(cases()))
def test_it_is_taken_over(version: int, unit: int, seed: int, torn: bool) -> None:
    cells, writer, written = image(version, unit, seed, torn)
    ring = mounted(flash := Flash(cells, unit))
    assert (ring.stream, ring.dropped) == (77, writer.dropped)
    assert ring.range()[1:] == (writer.released, writer.next)
    waiting = {seq: written[seq] for seq in range(writer.released + 1, writer.next)}
    assert waiting and unsent(ring) == waiting
    for turn in range(120):
        payload = bytes([turn]) * 50
        try:
            seq = ring.append(payload)
        except RingBusy:
            ring.idle()
            seq = ring.append(payload)
        waiting[seq] = payload
        if turn % 3 == 2:  # numbers go on, and so does what is released
            first = ring.range()[1] + 1
            for gone in range(first, first + 3):
                ring.release(gone)
                del waiting[gone]
        if turn % 20 == 9:
            ring = mounted(flash)
        read = read_ring(bytes(flash.cells), 0, COUNT, SECTOR, unit)
        assert not read.faults, read.faults
        assert dict(read.records[-len(waiting) :]) == waiting == unsent(ring)
    assert (ring.stream, ring.dropped) == (77, writer.dropped)


@pytest.mark.parametrize(("version", "unit"), [(version, unit) for version in WRITERS for unit in (1, 256)])
def test_a_flipped_bit_costs_the_record_it_is_in(version: int, unit: int) -> None:
    """But for the newest, which may have been torn."""
    cells, writer, written = image(version, unit, 0, False)
    chance = random.Random(5)
    used = [at for at, byte in enumerate(cells) if byte != 0xFF and at % SECTOR >= 28]
    for _ in range(300):
        data = bytearray(cells)
        place = chance.choice(used)
        data[place] ^= 1 << chance.randrange(8)
        ring = Ring(Flash(bytes(data), unit), 0, COUNT)
        ring.mount(None, True)
        oldest, _, following = ring.range()
        gone = []
        for seq in range(oldest, writer.next):
            try:
                assert ring.read(seq) == written[seq], (place, seq)
            except KeyError:
                gone.append(seq)
        assert len(gone) <= 1 and (following == writer.next or gone == [writer.next - 1]), (place, gone)
        found = dict(read_ring(bytes(data), 0, COUNT, SECTOR, unit).records)
        assert all(seq in found for seq in range(oldest, writer.next) if seq not in gone), place


@pytest.mark.parametrize(("version", "unit"), [(version, unit) for version in WRITERS for unit in (1, 256)])
def test_a_cut_anywhere_in_the_taking_over_loses_nothing(version: int, unit: int) -> None:
    cells, writer, written = image(version, unit, 3, True)
    waiting = {seq: written[seq] for seq in range(writer.released + 1, writer.next)}
    for part in range(5):
        left = 0
        cut = True
        while cut:
            left += 1
            flash = Flash(cells, unit, left, part)
            done = 0
            try:
                ring = mounted(flash)
                for _ in range(4):
                    ring.idle()
                    ring.append(b"new")
                    done += 1
                cut = False
            except Cut:
                pass
            after = mounted(Flash(bytes(flash.cells), unit))
            found = unsent(after)
            assert {seq: found[seq] for seq in waiting} == waiting
            new = [payload for seq, payload in found.items() if seq not in waiting]
            assert new in ([b"new"] * done, [b"new"] * (done + 1))
            assert list(found) == list(range(writer.released + 1, writer.next + len(new)))
        assert left > 5
