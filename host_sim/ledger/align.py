"""Pairs the rows of a channel with the readings that the world served, one to one and in the order of
both."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from host_sim.ledger.run import Segment, Served

_PAIR = 1 << 40
"""Worth of one pair in milliseconds of clock error: no sum of errors outweighs a pair."""


class Reading(NamedTuple):
    """One value of a row as the cloud or the image has it. `seq` is the journal number; `wall` Unix seconds
    or None; `uptime` seconds of its boot where the row was taken without a clock."""

    seq: int
    value: float
    quality: int
    boot: int
    wall: float | None
    uptime: float | None


class Pair(NamedTuple):
    """Served reading number `served`, row number `row`, and how far the row's time lies after the true one,
    ms."""

    served: int
    row: int
    error_ms: int


class Anchors(NamedTuple):
    """When rows were taken, by their numbers, as another channel of theirs has shown; and how far apart the readings of
    one row may lie, ms. An anchored row costs its distance from there: neither its clock nor a doubt is asked again.
    """

    moments: dict[int, int]
    apart_ms: int

    def allow(self, seq: int, t_ms: int) -> bool:
        """Whether the row can have been taken then."""
        return seq not in self.moments or abs(self.moments[seq] - t_ms) <= self.apart_ms


_FREE = Anchors({}, 0)


def _candidates(
    reading: Reading, served: list[Served], times: list[int], segments: list[Segment], tolerance_ms: int, slack: int,
    anchors: Anchors,
) -> list[tuple[int, int, int]]:  # fmt: skip
    """(served index, clock error, cost), both in ms, of everything that the row can stand for. A row without a clock
    that the cloud has placed has two errors: the cloud's placing counts as its error, the larger one as its cost.
    """
    found = []

    def near(origin_ms: int, seconds: float, low: int, high: int) -> None:
        moment = origin_ms + round(1000 * seconds)
        first = bisect_left(times, max(low, moment - tolerance_ms))
        last = bisect_right(times, min(high, moment + tolerance_ms))
        for index in range(first, last):
            if abs(served[index].value - reading.value) <= slack and anchors.allow(reading.seq, times[index]):
                found.append((index, moment - times[index]))

    if reading.uptime is None:
        if reading.wall is not None:
            near(0, reading.wall, times[0], times[-1])
        return [(index, error, abs(error)) for index, error in found]
    for segment in segments:
        # A reading may fall into the very millisecond of a cut, none into that of a boot; the last life may
        # outrun the run.
        high = times[-1] if segment is segments[-1] else segment.end
        near(segment.on, reading.uptime, segment.on + 1, high)
    if reading.wall is None:
        return [(index, error, abs(error)) for index, error in found]
    placed = round(1000 * reading.wall)
    both = [(index, placed - times[index], max(abs(error), abs(placed - times[index]))) for index, error in found]
    return [(index, error, cost) for index, error, cost in both if cost <= tolerance_ms]


def align(
    served: list[Served],
    readings: list[Reading],
    segments: list[Segment],
    tolerance_ms: int,
    slack: int,
    doubtful: frozenset[int] = frozenset(),
    handicap_ms: int = 0,
    anchors: Anchors = _FREE,
) -> list[Pair]:
    """The longest pairing in which both sequences grow, and of all such the one with the least sum of clock
    errors.

    A row can stand for a served reading if the values differ by at most `slack` units of the last digit
    and the row's time by at most `tolerance_ms`; the time of a row without a clock is its uptime, counted from
    the boots of `segments`. `doubtful` served readings, which a reset may have kept from being appended,
    count as `handicap_ms` further off: of two near ones the other is paired. `anchors` bind rows whose moment
    another channel has shown: where a value hardly changes, its own would pair as well with its neighbours.
    Solved exactly: the heaviest chain of candidates, a prefix maximum (Fenwick tree) over the served readings;
    O(n log n).
    """
    if not served:
        return []
    times = [reading.t_ms for reading in served]
    size = len(served)
    best = [0] * (size + 1)
    tail = [-1] * (size + 1)
    chain: list[tuple[int, int, int, int]] = []
    for row, reading in enumerate(readings):
        fresh = []
        anchor = anchors.moments.get(reading.seq)
        for index, error, cost in _candidates(reading, served, times, segments, tolerance_ms, slack, anchors):
            weight, link, at = 0, -1, index
            while at:
                if best[at] > weight:
                    weight, link = best[at], tail[at]
                at &= at - 1
            if anchor is not None:
                worth = _PAIR - abs(anchor - times[index])
            else:
                worth = _PAIR - cost - (handicap_ms if index in doubtful else 0)
            fresh.append((index, weight + worth, error, link))
        # A row pairs once: its candidates enter the tree only after all of them have been weighed.
        for index, weight, error, link in fresh:
            chain.append((index, row, error, link))
            at = index + 1
            while at <= size:
                if weight > best[at]:
                    best[at], tail[at] = weight, len(chain) - 1
                at += at & -at
    weight, link, at = 0, -1, size
    while at:
        if best[at] > weight:
            weight, link = best[at], tail[at]
        at &= at - 1
    pairs = []
    while link >= 0:
        index, row, error, link = chain[link]
        pairs.append(Pair(index, row, error))
    return pairs[::-1]
