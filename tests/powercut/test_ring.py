"""A sample of the ring's torture, every planted bug caught by it; `make torture` runs the whole."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flashring import Ring, checks, entries, writer
from flashring.head import Head
from flashring.headers import Headers
from flashring.walk import Walk
from flashring.window import Window

sys.path.insert(0, str(Path(__file__).parent))
import ringtorture as torture
import torncells


@pytest.mark.parametrize("name", torture.GEOMETRIES)
def test_a_cut_at_a_sample_of_operations(name: str) -> None:
    """Every fifth operation of the life, from another one on in each geometry."""
    part = list(torture.GEOMETRIES).index(name)
    *_, (_, _, score) = torture.torture(torture.GEOMETRIES[name], 0.1, part, len(torture.GEOMETRIES))
    assert score.clean, "\n".join(score.faults)
    wanted = {f"program, {mode}" for mode in torncells.MODES_OF_A_PROGRAM}
    wanted |= {f"erase, {mode}" for mode in torncells.MODES_OF_AN_ERASE}
    assert wanted <= set(score.kinds) and score.kinds["a misread at mount"] > 60, "a way to tear was never tried"
    assert sum(count for kind, count in score.kinds.items() if kind.startswith("second")) > 300


@pytest.mark.parametrize("name", torture.GEOMETRIES)
def test_erasing_what_is_released_leaves_the_newest_and_what_is_not(name: str) -> None:
    geometry = torture.GEOMETRIES[name]
    flash = geometry.flash(random.Random(1))
    cells = flash.cells
    life = torture.Life(geometry, flash, geometry.ring(flash))
    life.call(life.ring.format, 77)
    life.wipe()
    assert torture.State.of(life.ring) == torture.State(77, 1, 0, 1, 0)
    while not life.append():
        pass
    _, _, end = life.ring.range()
    kept = bytes(cells.data)
    life.wipe()
    assert bytes(cells.data) == kept, "something that is not released was wiped"
    for seq in range(1, end):
        refused = life.call(life.ring.release, seq, seq % 2 == 0)
        life.wipe()
        if refused or life.ring._head.unsaved:
            continue  # no room for the cursor: only a release that frees a sector is taken
        oldest, released, _ = life.ring.range()
        assert released == seq and oldest <= seq + 1
        life.boot(clean=False)
        assert life.ring.range() == (oldest, seq, end)
        for each in range(oldest, end):
            assert life.ring.read(each) == geometry.payload(each)
    oldest, *_ = life.ring.range()
    held = bytes(cells.data)
    gone = [geometry.payload(seq) for seq in range(1, oldest) if len(geometry.payload(seq)) > 40]
    assert gone and not any(payload in held for payload in gone), "what is released can still be read from the flash"
    for _ in range(end):  # and the ring goes round over what was wiped
        life.append()
        life.call(life.ring.release, life.ring.range()[2] - 1)
    assert life.ring.range()[2] == 2 * end


def test_a_header_that_reads_now_so_now_so_is_settled_by_the_mount() -> None:
    """Whichever of a mount's reads takes it for whole, the next mount finds the same ring."""
    score, geometry = torture.Score(), torture.GEOMETRIES["align 32"]
    for moment in torture.lived(geometry).moments:
        start, data = moment.operation.start, moment.operation.data
        if data[:2] != b"\x52\x01" or moment.operation.cells.data[start] != 0xFF or moment.before is None:
            continue
        for seed in range(60):
            rng = random.Random(seed)
            cells = moment.operation.cells.copy()
            cells.data[start : start + len(data)] = data
            for place in rng.sample(range(26), 3):  # two flipped bits are too many to be put right
                cells.loose[start + place] = 1 << rng.randrange(8) & ~data[place]
            torture.check(geometry, geometry.flash(rng, cells), moment, score, f"seed {seed}")
    assert score.clean, "\n".join(score.faults)


def test_the_life_wraps_and_passes_65536() -> None:
    for geometry in torture.GEOMETRIES.values():
        life = torture.lived(geometry)
        assert sum(moment.operation.erase for moment in life.moments) > 2 * geometry.sectors, geometry
        assert life.ring._head.lap > 1 << 16 > torture.FIRST_LAP


def _no_crc(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checks, "short_fits", lambda *_: True)
    patch.setattr(checks, "long_fits", lambda *_: True)


def _resume_in_a_touched_page(patch: pytest.MonkeyPatch) -> None:
    load = Head.load

    def resumed(self: Head, view, lap, found, clean) -> None:
        load(self, view, lap, found, clean)
        self.position = self.round(self.end)
        self.gap = False

    patch.setattr(Head, "load", resumed)


def _trust_what_looks_erased(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "spoil", lambda *_: None)


def _forget_the_re_erase(patch: pytest.MonkeyPatch) -> None:
    """A sector without a header that fits is taken for erased, whatever a cut left of the erase."""
    patch.setattr(Headers, "looks_erased", lambda self: True)


def _lap_of_16_bits(patch: pytest.MonkeyPatch) -> None:
    field = Headers.field
    patch.setattr(Headers, "field", lambda self, at: field(self, at) & (0xFFFF if at == 2 else 0xFFFFFFFF))


def _no_second_program(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "rewrite", lambda *_: None)


def _torn_ends_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "void", lambda *_: None)


def _sum_left_out(patch: pytest.MonkeyPatch) -> None:
    """Of the check of a short record only the 4 bits of the CRC."""
    patch.setattr(
        checks, "short_fits", lambda payload, start, seq, told: checks.crc24(payload, start) & 15 == told >> 14
    )


def _release_one_more(patch: pytest.MonkeyPatch) -> None:
    release = Ring.release
    patch.setattr(Ring, "release", lambda self, seq, *sync: release(self, min(seq + 1, self.range()[2] - 1), *sync))


def _drop_counts_half(patch: pytest.MonkeyPatch) -> None:
    move = Ring._move
    patch.setattr(
        Ring, "_move",
        lambda self, cursor, dropped, is_drop: move(self, cursor, (dropped + self.dropped) // 2, is_drop),
    )  # fmt: skip


def _rewind_one_less(patch: pytest.MonkeyPatch) -> None:
    rewind = Ring.rewind
    patch.setattr(Ring, "rewind", lambda self, seq: rewind(self, min(seq + 1, self.range()[1])))


def _check_without_place(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checks, "entry_seed", lambda seed, at, seq: seed ^ (seq & 0xFF) << 16)


def _check_without_number(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checks, "entry_seed", lambda seed, at, seq: seed ^ at)


def _a_misread_is_believed(patch: pytest.MonkeyPatch) -> None:
    """The end of a sector is taken as it was read first."""
    load = Head.load

    def believed(self: Head, *args) -> None:
        load(self, *args)
        self.damaged = 0

    patch.setattr(Head, "load", believed)


def _what_is_torn_counts(patch: pytest.MonkeyPatch) -> None:
    """After a cut, too, what does not fit at the end is taken for a whole entry that was damaged."""
    look = Walk.look

    def told_of_a_sleep(self: Walk, view: Any, seed: int, at: int, first: int, released: int, dropped: int, _: bool):
        look(self, view, seed, at, first, released, dropped, True)

    patch.setattr(Walk, "look", told_of_a_sleep)


BUGS = (
    _what_is_torn_counts,
    _release_one_more,
    _drop_counts_half,
    _rewind_one_less,
    _check_without_place,
    _check_without_number,
    _a_misread_is_believed,
    _no_crc,
    _resume_in_a_touched_page,
    _trust_what_looks_erased,
    _forget_the_re_erase,
    _lap_of_16_bits,
    _no_second_program,
    _torn_ends_stay,
    _sum_left_out,
)


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__[1:])
def test_a_planted_bug_is_caught(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    assert entries.checks is checks and writer.Head is Head
    plant(monkeypatch)
    for name in ("page", "byte"):  # the cheaper first: each of these is seen there
        for part in range(4):
            try:
                if any(not score.clean for _, _, score in torture.torture(torture.GEOMETRIES[name], 0.1, part, 4)):
                    return
            except torture.Contradiction:
                return
            except ValueError as error:
                if "sets bits" in str(error):  # by the flash
                    return
                raise
    pytest.fail("nobody noticed")
