"""The ring under a power cut at every flash operation of a scripted life, in every way a cut may tear it.

The life runs once and leaves a picture of the flash before each operation. From each picture the operation is torn, the
ring mounted and held against what its calls had promised; then a second cut tears what it does to recover.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from flashring import NoRing, Ring, RingFull

SECTORS = 4
ERASED = 0xFF


def payload(seq: int, unit: int) -> bytes:
    """What record `seq` holds: nobody need remember it."""
    rng = random.Random(seq)
    return bytes(rng.choices((0x00, 0xFF, seq & 0xFF, 0x5A), k=rng.choice((0, 5, 30, 30, 61, unit))))


@dataclass(frozen=True)
class State:
    """What a ring says of itself."""

    stream: int
    oldest: int
    released: int
    next: int
    dropped: int

    @staticmethod
    def of(ring: Ring) -> State:
        return State(ring.stream, *ring.range(), ring.dropped)


@dataclass
class Moment:
    """One flash operation about to happen in a call that leads from `before` to `after` (None: no ring)."""

    cells: bytes
    start: int
    data: bytes  # what the operation, done, leaves there
    erase: bool
    before: State | None = None
    after: State | None = None
    hint: bytes | None = None  # of before

    def torn(self, rng: random.Random) -> Iterator[bytes]:
        """The flash as each kind of tear leaves it."""
        end = self.start + len(self.data)
        old = self.cells[self.start : end]
        cut = rng.randrange(1, len(old)) if rng.random() < 0.5 else rng.randrange(1, min(40, len(old)))
        outcomes = [old, self.data, self.data[:cut] + old[cut:]]
        for share in (0.1, 0.5, 0.97):  # of the bits in transition that arrived
            bits = rng.getrandbits(8 * len(old))
            if share < 0.5:
                bits &= rng.getrandbits(8 * len(old)) & rng.getrandbits(8 * len(old))
            elif share > 0.5:
                bits |= rng.getrandbits(8 * len(old)) | rng.getrandbits(8 * len(old))
            a, b = int.from_bytes(old, "big"), int.from_bytes(self.data, "big")
            outcomes.append((a ^ ((a ^ b) & bits)).to_bytes(len(old), "big"))
        # All but one bit: an erase that looks done, a record that looks whole.
        place = rng.randrange(len(old))
        almost = bytearray(self.data)
        almost[place] ^= (old[place] ^ almost[place]) & 1 << rng.randrange(8)
        outcomes.append(bytes(almost))
        for outcome in dict.fromkeys(outcomes):
            yield self.cells[: self.start] + outcome + self.cells[end:]


@dataclass
class Flash:
    """NOR flash: 1 to 0 only, whole units. Notes a Moment before each operation while `moments` is a list."""

    unit: int
    sector_size: int
    cells: bytearray = field(default_factory=bytearray)
    moments: list[Moment] | None = None

    def __post_init__(self) -> None:
        self.page_size = 256 if self.unit == 256 else 1
        self.granularity = self.unit
        self.cells = self.cells or bytearray([ERASED]) * (SECTORS * self.sector_size)

    def read_into(self, addr: int, mv: memoryview) -> None:
        assert 0 <= addr <= len(self.cells) - len(mv)
        mv[:] = self.cells[addr : addr + len(mv)]

    def program(self, addr: int, mv: memoryview) -> None:
        assert addr % self.unit == len(mv) % self.unit == 0
        data = bytes(mv)
        assert not any(new & ~old for new, old in zip(data, self.cells[addr:], strict=False)), "sets a bit"
        self._do(addr, data, False)

    def erase(self, sector: int) -> None:
        self._do(sector * self.sector_size, bytes([ERASED]) * self.sector_size, True)

    def _do(self, start: int, data: bytes, erase: bool) -> None:
        if self.moments is not None:
            self.moments.append(Moment(bytes(self.cells), start, data, erase))
        self.cells[start : start + len(data)] = data


class Life:
    """Calls a ring and notes, for every flash operation, what stood before and after the call."""

    def __init__(self, flash: Flash, ring: Ring) -> None:
        self.flash, self.ring = flash, ring
        self.moments: list[Moment] = []

    def call(self, verb: Callable, *args: object) -> RingFull | None:
        """The RingFull that refused the call, if one did."""
        before = State.of(self.ring) if self.ring.stream else None
        hint = self.ring.hint() if before else None
        self.flash.moments = []
        try:
            verb(*args)
        except RingFull as full:
            assert not self.flash.moments, "a refused call wrote to the flash"
            return full
        finally:
            moments, self.flash.moments = self.flash.moments, None
        after = State.of(self.ring)
        for moment in moments:
            moment.before, moment.after, moment.hint = before, after, hint
        self.moments += moments
        return None

    def append(self) -> RingFull | None:
        return self.call(self.ring.append, payload(self.ring.range()[2], self.flash.unit))

    def mount(self) -> None:
        self.ring = Ring(self.flash, 0, SECTORS)
        self.ring.mount()

    def run(self) -> None:
        """Fill, release one by one, drop, rewind, wrap several times, with and without idle, with clean restarts."""
        rng = random.Random(1)
        self.call(self.ring.format, 77)
        while not self.append():
            pass
        for seq in range(1, 9):
            self.call(self.ring.release, seq)
        for step in range(180):
            if self.append():
                _, released, end = self.ring.range()
                verb = self.ring.release if rng.random() < 0.5 else self.ring.drop
                self.call(verb, min(end - 1, released + rng.randrange(1, 20)))
            if step % 5 == 4:
                self.call(self.ring.idle)
            if step % 7 == 6:
                self.mount()
            if step % 17 == 16:
                oldest, released, _ = self.ring.range()
                if released >= oldest:
                    self.call(self.ring.rewind, rng.randrange(oldest, released + 1))


def check(flash: Flash, moment: Moment) -> Ring | None:
    """Mount after a cut at `moment`: nothing promised is missing, nothing is invented. None: there was no ring yet."""
    ring = Ring(flash, 0, SECTORS)
    before, after = moment.before, moment.after
    assert after
    try:
        ring.mount()
    except NoRing:
        assert before is None, "the ring is gone"
        return None
    state = State.of(ring)
    expected = [s for s in (before, after) if s]
    assert state.oldest <= state.released + 1 <= state.next
    assert (state.stream, state.next) in [(s.stream, s.next) for s in expected]
    assert state.dropped in [s.dropped for s in expected]
    given_up = 0
    if before and after.oldest > before.released + 1:  # the sector was freed by the very call that opens it
        given_up = after.released
        assert before.released <= state.released <= after.released and before.oldest <= state.oldest <= after.oldest
    else:
        assert (state.released, state.dropped) in [(s.released, s.dropped) for s in expected]
        assert state.oldest in [s.oldest for s in expected]
    for seq in range(state.oldest, state.next):
        try:
            assert ring.read(seq) == payload(seq, flash.unit)
        except KeyError:
            assert seq <= given_up, f"record {seq} is lost"
    for seq in (state.oldest - 1, state.next):
        with pytest.raises(KeyError):
            ring.read(seq)
    hinted = Ring(flash, 0, SECTORS)
    hinted.mount(moment.hint)
    assert State.of(hinted) == state and hinted.hint() == ring.hint()
    return ring


def recover(flash: Flash, ring: Ring) -> list[Moment]:
    """Go on after a cut: two appends, idle, an append. Returns the moments of it."""
    life = Life(flash, ring)
    for step in range(3):
        full = life.append()
        if full:
            life.call(ring.release, ring.range()[1] + 1)
            assert not life.call(ring.drop, full.seq), "no way out of a full ring"
            assert not life.append(), "no room after what was asked for"
        if step == 1:
            life.call(ring.idle)
    return life.moments


def lived(unit: int, sector_size: int) -> Life:
    flash = Flash(unit, sector_size)
    life = Life(flash, Ring(flash, 0, SECTORS))
    life.run()
    return life


GEOMETRIES = [(1, 512), (16, 512), (256, 2048)]


@pytest.mark.parametrize(("unit", "sector_size"), GEOMETRIES)
def test_a_cut_at_every_operation(unit: int, sector_size: int) -> None:
    rng = random.Random(unit)
    moments = lived(unit, sector_size).moments
    assert sum(m.erase for m in moments) > 2 * SECTORS, "the life does not wrap"
    cuts = 0
    for moment in moments:
        for cells in moment.torn(rng):
            flash = Flash(unit, sector_size, bytearray(cells))
            ring = check(flash, moment)
            cuts += 1
            if ring is None or rng.random() < 0.4:  # every recovery would take twice the time
                continue
            again = recover(flash, ring)
            settled = State.of(ring)
            check(flash, Moment(b"", 0, b"", False, settled, settled, ring.hint()))
            second = rng.choice(again)
            for torn in rng.sample(list(second.torn(rng)), 1):
                check(Flash(unit, sector_size, bytearray(torn)), second)
    assert cuts > 4 * len(moments)


@pytest.mark.parametrize(("unit", "sector_size"), GEOMETRIES)
def test_a_cut_while_formatting_leaves_the_old_ring_or_the_new(unit: int, sector_size: int) -> None:
    rng = random.Random(2)
    life = lived(unit, sector_size)
    for _ in range(3 * sector_size // 30):  # without idle: what is to be erased holds records
        life.append()
        life.call(life.ring.release, life.ring.range()[2] - 1)
    old = State.of(life.ring)
    life.moments.clear()
    life.call(life.ring.format, 78)
    assert [m.erase for m in life.moments] == [True, False]
    for moment in life.moments:
        for cells in moment.torn(rng):
            ring = Ring(Flash(unit, sector_size, bytearray(cells)), 0, SECTORS)
            ring.mount()
            state = State.of(ring)
            assert state == State(78, 1, 0, 1, 0) or (state.stream, state.next) == (77, old.next)
            for seq in range(state.oldest, state.next):
                assert ring.read(seq) == payload(seq, unit)
