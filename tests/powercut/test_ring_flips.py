"""A single flipped bit anywhere in the ring's sectors costs at most the record it is in, and is noticed.

Here a sample of bits; `python -m tests.powercut`, of `make torture`, takes every one of the headers and newest sectors.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from flashring import Ring, RingBusy, Window, checks

from host_sim.image import read_ring

sys.path.insert(0, str(Path(__file__).parent))
import ringtorture as torture
import torncells

SECTORS, SECTOR = torture.Geometry(1).sectors, torture.Geometry(1).sector
payload_of = torture.Geometry(1).payload


def written(unit: int) -> tuple[torncells.Flash, torture.State, list[list[int]]]:
    """A ring of several laps, its last boot after a cut, its newest sector about half full."""
    batches: list[list[int]] = []
    kept = 30 if unit < 256 else 6
    geometry = torture.Geometry(unit)
    flash = geometry.flash(random.Random(1))
    life = torture.Life(geometry, flash, geometry.ring(flash))
    life.call(life.ring.format, torture.STREAM)
    for step in range(120):
        life.append()
        if step % 4 == 3:
            first = life.ring.range()[2]
            life.append_batch(3)
            batches.append(list(range(first, life.ring.range()[2])))
        if step % 11 != 10:  # or a cursor would stand before every gap
            life.call(life.ring.release, max(0, life.ring.range()[2] - kept))
        else:
            life.call(life.ring.idle)
            life.boot(clean=step % 22 == 21)
    while life.ring.room() > SECTOR // 2 or life.ring.room() < SECTOR // 4:
        life.append()
        life.call(life.ring.release, life.ring.range()[2] - kept)
    return flash, torture.State.of(life.ring), batches


def begun(unit: int) -> tuple[torture.Geometry, torncells.Flash, Ring]:
    """A ring that was just formatted, and what it stands on."""
    geometry = torture.Geometry(unit)
    flash = geometry.flash(random.Random(1))
    ring = geometry.ring(flash)
    ring.format(torture.STREAM)
    return geometry, flash, ring


def look(
    flash: torncells.Flash, state: torture.State, batches: list[list[int]], clean: bool, at: int
) -> tuple[int | None, int]:
    """(the one record that is gone or None, how much damage the ring counts)."""
    ring = Ring(flash, 0, SECTORS, Window(flash, torture.LARGEST))
    ring.mount(None, clean)
    oldest, released, following = ring.range()
    # After a cut a mount may open a sector, in the place of released records, to say what it has read.
    assert oldest == state.oldest or not clean and state.oldest < oldest <= released + 1, at
    # Where a cut may have come the newest entry may be taken for torn: then its numbers are given again.
    assert following == state.next or not clean and following in range(state.next - 3, state.next), at
    assert released in (state.released, *range(state.released - 40, state.released)), at
    gone = []
    for seq in range(oldest, state.next):
        try:
            assert ring.read(seq) == payload_of(seq), (at, seq)
        except KeyError:
            gone.append(seq)
    assert len(gone) <= 1 or not clean and gone[-1] == state.next - 1 and gone in batches, (at, gone)
    return (gone[0] if gone else None), ring.damaged + ring.mended


@pytest.mark.parametrize("unit", [1, 16, 256])
def test_a_sample_of_bits(unit: int) -> None:
    assert flip(unit, 200, 200) > 20


def flip(unit: int, of_headers: int, of_sectors: int) -> int:
    """Flips so many bits of all headers and of the newest two sectors, one at a time; the host's reader must see the
    same. Returns how many were noticed.
    """
    flash, state, batches = written(unit)
    whole = bytes(flash.cells.data)
    head = max(range(4), key=lambda sector: int.from_bytes(whole[sector * 2048 + 2 : sector * 2048 + 6], "little"))
    rng = random.Random(unit)
    places = rng.sample([8 * 2048 * sector + bit for sector in range(4) for bit in range(8 * 26)], of_headers)
    newest = [8 * 2048 * sector + bit for sector in (head, (head - 1) % 4) for bit in range(8 * 2048)]
    places += rng.sample(newest, of_sectors)
    noticed = 0
    for place in places:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        cells = torncells.Cells(data, bytearray(len(data)))
        port = torncells.Flash(unit, SECTOR, cells, random.Random(1))
        gone, counted = look(port, state, batches, True, place)
        noticed += counted > 0
        assert gone is None or counted, f"bit {place}: record {gone} is gone and nobody counted"
        image = read_ring(bytes(port.cells.data), 0, SECTORS, SECTOR, unit)
        seen = {seq: payload for seq, payload in image.records}
        assert set(range(state.oldest, state.next)) - set(seen) == ({gone} if gone else set()), place
        assert all(payload == payload_of(seq) for seq, payload in seen.items()), place
        if place % 7 == 0:
            tolerant = _Tolerant(unit, SECTOR, torncells.Cells(bytearray(data), bytearray(len(data))),
                                 random.Random(1))  # fmt: skip
            look(tolerant, state, batches, False, place)
    return noticed


@pytest.mark.parametrize("unit", [1, 16, 256])
@pytest.mark.parametrize("kind", ["short", "record", "batch"])
def test_a_bit_flipped_before_a_gap_costs_a_short_record_at_most(unit: int, kind: str) -> None:
    """Nothing stands behind it that would tell of its length but the cursor behind the gap."""
    geometry, flash, ring = begun(unit)
    ring.append(b"before")
    place = ring._head.position
    if kind == "batch":
        ring.append_batch([b"one", b"two two", b"three three three"])
    else:
        ring.append(bytes(30 if kind == "short" else 90))
    ring = geometry.ring(flash)
    ring.mount()
    ring.append(b"after")
    seq = ring.append(b"and more")
    whole = bytes(flash.cells.data)
    for bit in range(24):
        data = bytearray(whole)
        data[place + bit // 8] ^= 1 << bit % 8
        flipped = geometry.ring(geometry.flash(random.Random(1), torncells.Cells(data, bytearray(len(data)))))
        flipped.mount(None, True)
        assert flipped.range() == (1, 0, seq + 1), bit
        assert flipped.damaged == (1 if kind == "short" and not 1 < bit < 8 else 0), bit
        gone = []
        for each in range(2, seq - 1):
            try:
                flipped.read(each)
            except KeyError:
                gone.append(each)
        assert gone == ([2] if kind == "short" and not 1 < bit < 8 else []), bit
        assert (flipped.read(1), flipped.read(seq - 1), flipped.read(seq)) == (b"before", b"after", b"and more"), bit
        image = read_ring(bytes(data), 0, geometry.sectors, geometry.sector, unit)
        assert image.next == seq + 1 and [each for each, _ in image.records] == [
            each for each in range(1, seq + 1) if each not in gone
        ], bit


@pytest.mark.parametrize("unit", [1, 16, 256])
@pytest.mark.parametrize("kind", ["short", "record", "batch", "cursor", "drop"])
def test_a_bit_flipped_in_the_newest_entry_gives_no_number_twice(unit: int, kind: str) -> None:
    """After a sleep nothing can be torn: what does not fit was whole once, and counts. It stays so after a cut."""
    geometry, flash, ring = begun(unit)
    known = [b"before", b"and before"]
    for payload in known:
        ring.append(payload)
    begin = ring._head.position
    if kind == "batch":
        known += [b"one", b"two two", b"three three three"]
        ring.append_batch(known[2:])
    elif kind in ("short", "record"):
        known.append(bytes(range(30 if kind == "short" else 90)))
        ring.append(known[2])
    elif kind == "cursor":
        ring.release(1)
    else:
        ring.drop(1)
    end = ring._head.position
    whole = bytes(flash.cells.data)
    following = len(known) + 1
    first, last = range(8 * begin, 8 * begin + 24), range(8 * end - 32, 8 * end)
    for bit in sorted({*first, *range(8 * begin, 8 * end, 5), *last, *range(8 * end, 8 * min(end + 300, SECTOR), 61)}):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        port = _Tolerant(unit, SECTOR, torncells.Cells(data, bytearray(len(data))), random.Random(1))
        for clean in (True, False):
            flipped = geometry.ring(port)
            flipped.mount(None, clean)
            gone = [seq for seq in range(1, following) if _read(flipped, seq) != known[seq - 1]]
            assert flipped.range()[2] == following, (bit, clean)
            assert gone in ([], [3] if kind == "short" else []), (bit, clean, gone)
            assert flipped.range()[1] == (1 if kind in ("cursor", "drop") else 0), (bit, clean)
            assert flipped.dropped == (kind == "drop"), (bit, clean)
            assert not gone or flipped.damaged, bit
        image = read_ring(bytes(port.cells.data), 0, geometry.sectors, geometry.sector, unit)
        assert image.next == following, bit
        assert [seq for seq, _ in image.records if seq not in gone] == [
            seq for seq in range(1, following) if seq not in gone
        ], bit
        flipped.idle()
        assert flipped.append(b"after") == following, bit
        assert flipped.read(following) == b"after"


def _read(ring: Ring, seq: int) -> bytes:
    try:
        return ring.read(seq)
    except KeyError:
        return b"damaged"


@pytest.mark.parametrize("unit", [1, 256])
def test_what_no_single_bit_explains_costs_numbers_but_gives_none_twice(unit: int) -> None:
    geometry, flash, ring = begun(unit)
    ring.append(b"before")
    at = ring._head.position
    ring.append_batch([b"one", b"two two", b"three three three"])
    flash.cells.data[at + 5] ^= 0x11
    for clean in (True, False):
        ring = geometry.ring(flash)
        ring.mount(None, clean)
        assert ring.range()[2] >= 5 and ring.read(1) == b"before" and ring.damaged >= 3
        assert [seq for seq in range(2, 5) if _read(ring, seq) != b"damaged"] == []


def test_a_check_that_lets_a_flipped_bit_through_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "short_fits", lambda *_: True)
    monkeypatch.setattr(checks, "long_fits", lambda *_: True)
    with pytest.raises(AssertionError):
        flip(256, 0, 200)


class _Tolerant(torncells.Flash):
    """Programming a 1 over a 0 changes nothing, as on the chip."""

    def program(self, addr: int, buf: bytes | bytearray | memoryview) -> None:
        now = self.cells.data[addr : addr + len(buf)]
        super().program(addr, bytes(old & new for old, new in zip(now, buf, strict=True)))


def test_a_ring_goes_on_behind_damage() -> None:
    flash, _, _ = written(1)
    whole = bytes(flash.cells.data)
    rng = random.Random(9)
    for _ in range(150):
        data = bytearray(whole)
        place = rng.randrange(8 * len(data))
        data[place // 8] ^= 1 << place % 8
        port = _Tolerant(1, SECTOR, torncells.Cells(data, bytearray(len(data))), random.Random(1))
        ring = Ring(port, 0, SECTORS, Window(port, torture.LARGEST))
        ring.mount()
        following = ring.range()[2]
        for seq in range(following, following + 60):
            try:
                assert ring.append(payload_of(seq)) == seq
            except RingBusy:
                ring.idle()
                assert ring.append(payload_of(seq)) == seq
            ring.release(seq - 20)
        oldest, _, end = ring.range()
        missing = 0
        for seq in range(oldest, end):
            try:
                assert ring.read(seq) == payload_of(seq)
            except KeyError:
                missing += 1
        assert missing <= 3, place
