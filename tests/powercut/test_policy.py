"""A sample of the torture of the node's three rings and their policy, every planted bug caught by it; `make torture`
runs the whole.
"""

from __future__ import annotations

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
    patch.setattr(eviction, "_of_severity", lambda alerts, first, end: list(eviction._events(alerts, first, end)))
    patch.setattr(eviction, "_has_lesser", lambda *_: False)


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
