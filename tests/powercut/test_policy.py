"""A sample of the torture of the node's three rings and their policy, every planted bug caught by it; `make torture`
runs the whole.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import policytorture as torture
import torncells
from policytorture import eviction, framing, store


@pytest.mark.parametrize(("name", "parts"), (("byte", 48), ("page", 20)))
def test_a_cut_at_a_sample_of_operations(name: str, parts: int) -> None:
    *_, (_, _, score) = torture.torture(torture.GEOMETRIES[name], 0.1, 3, parts)
    assert score.clean, "\n".join(score.faults)
    assert {f"program, {mode}" for mode in torncells.MODES_OF_A_PROGRAM} <= set(score.kinds)
    assert sum(count for kind, count in score.kinds.items() if kind.startswith("second")) > 100


@pytest.mark.parametrize("name", torture.GEOMETRIES)
def test_the_life_fills_all_three_rings_and_loses_nothing_undeclared(name: str) -> None:
    node = torture.lived(torture.GEOMETRIES[name], lambda index: False)
    ledger = torture.Ledger(torture.images(node.flash), node.log)
    assert not ledger.faults
    assert all(len(each) > 10 for each in ledger.declared), "a ring never gave up anything"
    assert all(ledger.acked[ring] for ring in (torture.ALERTS, torture.FRAMES))
    kinds = {payload[0] for payload in ledger.recorded[torture.ALERTS].values()}
    assert kinds == {torture.ALARM, torture.SENSOR, torture.GAP}


@pytest.mark.parametrize("name", torture.GEOMETRIES)
@pytest.mark.parametrize("ring", (torture.JOURNAL, torture.ALERTS), ids=("journal", "alerts"))
def test_what_a_ring_skips_is_declared(name: str, ring: int) -> None:
    score = torture.skipped(torture.GEOMETRIES[name], ring, 0.5)
    assert score.clean, "\n".join(score.faults)
    assert score.cuts > 50


@pytest.mark.parametrize("name", torture.GEOMETRIES)
def test_a_cut_while_a_sector_full_of_alarms_is_copied_loses_none(name: str) -> None:
    unit = torture.GEOMETRIES[name]
    *_, (_, count, score) = torture.cut(torture.crowded(unit), unit, 0.1, "crowded")
    assert score.clean, "\n".join(score.faults)
    assert count >= 3  # copies, drop, event


def _gaps(node: torture.Node) -> list[tuple[int, ...]]:
    """(ring, lo, hi, reason, readings) of those that wait."""
    waiting = torture._waiting(torture.images(node.flash)[torture.ALERTS]).values()
    return [torture._GAP.unpack_from(payload, 14) for payload in waiting if payload[0] == torture.GAP]


@pytest.mark.parametrize(("name", "until"), (("byte", 12), ("page", 40)))
def test_sectors_full_of_gaps_are_given_up_and_all_stays_declared(
    name: str, until: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(eviction, "print", lambda *words: said.append(" ".join(map(str, words))))
    unit = torture.GEOMETRIES[name]
    node = torture.unheard(unit, until)
    ledger = torture.Ledger(torture.images(node.flash), node.log)
    assert not ledger.faults, ledger.faults
    assert not said
    gaps = _gaps(node)
    for ring in (torture.JOURNAL, torture.FRAMES):
        assert len(ledger.declared[ring]) > 200
        merged = [each for each in gaps if each[0] == ring and each[1] < each[2]]
        assert 0 < len(merged) <= 2, "a handful, however long nobody is heard"
    *_, (_, count, score) = torture.cut(node.moments, unit, 0.02, "unheard")
    assert score.clean, "\n".join(score.faults)
    assert count >= 3  # copies, drop, event
    assert not said


def test_gaps_that_find_no_room_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not adjoin: every other row, damaged."""
    said: list[str] = []
    monkeypatch.setattr(eviction, "print", lambda *words: said.append(" ".join(map(str, words))))
    node = torture.Node(torture.fresh(1, 1), [])
    node.boot()
    number = 0
    while not said and number < 1000:
        number += 1
        node.row(number)
        node.row(number)
        node.call(node.store.unreadable, torture.JOURNAL, 2 * number)
    ledger = torture.Ledger(torture.images(node.flash), node.log)
    lost = number - sum(ring == torture.JOURNAL for ring, *_ in _gaps(node))
    assert said == [f"eviction: no room for {lost} of {lost + 63} gaps"]
    assert len(ledger.declared[torture.JOURNAL]) == number - lost


def _gap(lo: int, hi: int, boot: int = 3, ring: int = 2, reason: int = 1) -> bytes:
    """One with a reading in each record."""
    stamp = struct.pack("<BIIIB", torture.GAP, boot, 1000 + hi, 0, 0)
    return stamp + torture._GAP.pack(ring, lo, hi, reason, hi - lo + 1)


@pytest.mark.parametrize(
    ("gaps", "there", "expected"),
    (
        ([_gap(1, 3), _gap(4, 6), _gap(8, 9)], [], [_gap(1, 6), _gap(8, 9)]),
        ([_gap(8, 9), _gap(4, 6), _gap(1, 3), _gap(7, 7)], [], [_gap(1, 9)]),  # the last one bridges two
        ([_gap(1, 3)], [_gap(10, 12), _gap(4, 9), _gap(14, 15)], [_gap(1, 12)]),
        ([_gap(1, 3), _gap(7, 9)], [_gap(4, 6)], [_gap(1, 9)]),
        ([_gap(1, 3), _gap(4, 6)], [_gap(7, 9), _gap(1, 9)], []),  # it was copied before a cut
        ([_gap(4, 6)], [_gap(1, 6)], []),  # the same, what was before it is acknowledged
        ([_gap(1, 3, boot=3), _gap(4, 6, boot=4)], [], [_gap(1, 6, boot=4)]),
        ([_gap(1, 3, boot=4), _gap(4, 6, boot=3)], [], [_gap(1, 3, boot=4), _gap(4, 6, boot=3)]),
        ([_gap(1, 3, boot=4)], [_gap(1, 6, boot=3)], [_gap(1, 3, boot=4)]),  # the ring may have begun anew
        ([_gap(1, 3, ring=0), _gap(4, 6)], [_gap(4, 6, reason=2)], [_gap(1, 3, ring=0), _gap(4, 6)]),
        ([_gap(1, 3), _gap(3, 6)], [], [_gap(1, 3), _gap(3, 6)]),  # how many readings both have, nobody knows
    ),
)
def test_gaps_that_adjoin_become_one(gaps: list[bytes], there: list[bytes], expected: list[bytes]) -> None:
    assert sorted(eviction._merged(gaps, lambda: there)) == sorted(expected)


def _gaps_not_merged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(eviction, "_merged", lambda gaps, there: gaps)


def _readings_not_summed(patch: pytest.MonkeyPatch) -> None:
    def unsummed(one: bytes, other: bytes) -> bytes | None:
        found = both(one, other)
        return found if found in (None, one, other) else found[:24] + other[24:]

    both = eviction._both
    patch.setattr(eviction, "_both", unsummed)


def _the_older_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What is joined begins where the newer does."""
    both = eviction._both
    patch.setattr(eviction, "_both", lambda one, other: both(one, other) and other)


def _what_is_behind_taken_for_copied(patch: pytest.MonkeyPatch) -> None:
    """A gap behind the sector that adjoins one in it is taken to declare that, too."""
    merged = eviction._merged

    def over(gaps: list[bytes], there: Callable[[], list[bytes]]) -> list[bytes]:
        begins = {each[14:19] for each in there()}
        ends = {each: int.from_bytes(each[19:23], "little") + 1 for each in merged(gaps, list)}
        return [each for each, end in ends.items() if each[14:15] + end.to_bytes(4, "little") not in begins]

    patch.setattr(eviction, "_merged", over)


@pytest.mark.parametrize(
    "plant",
    (_gaps_not_merged, _readings_not_summed, _the_older_forgotten, _what_is_behind_taken_for_copied),
    ids=lambda plant: plant.__name__[1:],
)
def test_a_bug_planted_in_the_merging_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    node = torture.unheard(1, 12)
    assert torture.Ledger(torture.images(node.flash), node.log).faults


def _declared_after_the_drop(patch: pytest.MonkeyPatch) -> None:
    give_up, declare = store.Store._give_up, store.Store._declare

    def late(self, number, ring, last) -> None:
        kept: list[tuple] = []
        self._declare = lambda *args: kept.append(args)
        try:
            give_up(self, number, ring, last)
        finally:
            del self._declare
        declare(self, *kept[0])

    patch.setattr(store.Store, "_give_up", late)


def _a_gap_one_too_short(patch: pytest.MonkeyPatch) -> None:
    pack = store.Store._gap_of_events
    patch.setattr(store.Store, "_gap_of_events", lambda self, first, last: pack(self, first, last - 1))


def _the_most_severe_evicted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(eviction, "_KEPT", (torture.SENSOR, torture.GAP))


def _copy_forward_forgotten(patch: pytest.MonkeyPatch) -> None:
    copy = eviction._copy
    patch.setattr(
        eviction, "_copy", lambda alerts, events: copy(alerts, [each for each in events if each[0] == torture.GAP])
    )


def _what_finds_no_room_is_left(patch: pytest.MonkeyPatch) -> None:
    copy = eviction._copy
    patch.setattr(eviction, "_copy", lambda alerts, events: copy(alerts, events) and [])


def _copied_after_the_drop(patch: pytest.MonkeyPatch) -> None:
    copy, calls = eviction._copy, []

    def late(alerts, events):
        calls.append(events)
        return copy(alerts, events[:1]) + events[1:] if len(calls) % 2 else copy(alerts, events)

    patch.setattr(eviction, "_copy", late)


def _lesser_events_elsewhere_overlooked(patch: pytest.MonkeyPatch) -> None:
    """What is given up holds nothing but what is severe: then the lesser events behind it do not count."""
    behind = eviction._behind
    patch.setattr(eviction, "_KEPT", range(256))
    patch.setattr(eviction, "_behind", lambda *args: (*behind(*args)[:2], False))


def _journal_released_before_the_frame(patch: pytest.MonkeyPatch) -> None:
    frame = framing.Framer._frame

    def early(self, first: int, count: int) -> int:
        self._release(first + count - 1)
        return frame(self, first, count)

    patch.setattr(framing.Framer, "_frame", early)


def _covered_rows_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(framing.Framer, "_covered", lambda self: 0)


def _skipped_records_not_declared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store.Store, "_declare_skipped", lambda self, number, ring: ring.forget_skipped())


BUGS = (
    _declared_after_the_drop,
    _a_gap_one_too_short,
    _the_most_severe_evicted,
    _copy_forward_forgotten,
    _what_finds_no_room_is_left,
    _copied_after_the_drop,
    _lesser_events_elsewhere_overlooked,
    _journal_released_before_the_frame,
    _covered_rows_forgotten,
    _skipped_records_not_declared,
)


@pytest.mark.parametrize("plant", BUGS, ids=lambda plant: plant.__name__[1:])
def test_a_planted_bug_is_caught(plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    if not torture.skipped(256, torture.JOURNAL, 0.5).clean:
        return
    for part in range(8):
        if any(not score.clean for _, _, score in torture.torture(256, 0.02, part, 8, plain=False)):
            return
        if any(not score.clean for _, _, score in torture.cut(torture.crowded(1), 1, 0.1, f"crowded {part}")):
            return
    pytest.fail("nobody noticed")
