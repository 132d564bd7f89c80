"""Which readings were due, and why those that were not served are missing."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from host_sim.ledger.run import Power, Segment


class Mark(NamedTuple):
    """A served reading as the due list sees it: when, and the quality and error (ms) of the time its row bears; quality
    None where no row of it is left. `asked`: its row is one that a command asked for."""

    t_ms: int
    quality: int | None
    error_ms: int
    asked: bool = False


@dataclass
class Due:
    """`due` readings; those not served by reason in `missed`; `faults` are misses and readings that nothing
    explains.
    """

    due: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass
class DueRule:
    """When a sensor of interval I is due, seen from true time and the supply alone.

    - A boot makes one reading due at once, which `boot_ms` allows for; that includes the node's service window. So does
      a command, and that one need not lie at a slot.
    - From then on one is due per slot k x I of the node's clock: I after the last, give or take a quarter of I. It
      comes sooner only after a reading taken at once (a boot's, or that of a slot gone by when the clock was set), or
      where the clock was set in between, which shows in the rows: their quality changes, or their error by over
      `set_ms`. What a clock set forward jumps over was no slot of it.
    - Where the clock was not set in between, a row dated by a set clock lies within I / 4 of a slot of that clock;
      and over a whole life the count of readings fits the time it lasted. Both catch a wrong interval that creeps.
    - Where readings lie further apart, the slots between are due and missed: by reason `sensor` while the node had
      declared it failed, `clock` where it was set; otherwise that is a fault. So too between the last reading and the
      end; there a clock that was wrong and that the cloud may have set back since has its next slot so much later.
    - A life that ends in the middle of a wake, or within `boot_ms` of its begin, missed its last reading by `reset`;
      not so in a wake too soon after a reading at its slot: that one was for a contact.
    """

    interval_ms: int
    segments: list[Segment]
    power: list[Power]
    horizon_ms: int
    boot_ms: int
    set_ms: int
    down: list[tuple[int, int]]
    cloud_errors: Callable[[int, int], list[int]] = lambda _since, _until: []
    """By how much the cloud's clock was wrong between two moments; all in ms."""

    def account(self, marks: list[Mark]) -> Due:
        """The due list of one channel against its served readings `marks`, in order of time."""
        result = Due()
        times = [mark.t_ms for mark in marks]
        # A reading may fall into the very millisecond of a cut, none into that of a boot; the last life may
        # outrun the run.
        ends = [bisect_right(times, segment.end) for segment in self.segments[:-1]] + [len(times)]
        for segment, end in zip(self.segments, ends, strict=True):
            self._life(result, segment, marks[bisect_right(times, segment.on) : end])
        return result

    @property
    def _slack(self) -> int:
        return self.interval_ms // 4

    def _life(self, result: Due, segment: Segment, marks: list[Mark]) -> None:
        result.due += len(marks)
        marks = self._by_slot(marks)
        booted = bool(marks) and marks[0].t_ms - segment.on <= self.boot_ms
        if not booted and segment.on < self.horizon_ms:
            self._miss(result, segment.on, self._boot_reason(segment))
        before = len(result.faults) + sum(result.missed.values())
        at_once = booted
        for one, other in pairwise(marks):
            moved = self._moved(one, other)
            self._between(result, one, other, moved, at_once)
            at_once = moved
        if marks and len(result.faults) + sum(result.missed.values()) == before:
            self._check_count(result, marks)
        self._tail(result, segment, marks[-1] if marks else Mark(segment.on, None, 0))

    def _by_slot(self, marks: list[Mark]) -> list[Mark]:
        """Without those that a command asked for, but for one that took a slot's reading with it."""
        kept: list[Mark] = []
        for index, mark in enumerate(marks):
            if not mark.asked or self._is_a_slots(mark, kept, marks[index + 1 :]):
                kept.append(mark)
        return kept

    def _is_a_slots(self, asked: Mark, kept: list[Mark], later: list[Mark]) -> bool:
        """Whether a reading that was asked for took a slot's with it: it lies at one that no other was taken for."""
        if not asked.quality or self._off(asked) > self._slack:
            return False
        if not kept:
            return True
        following = next((mark for mark in later if not mark.asked), None)
        if following and following.t_ms - kept[-1].t_ms <= self.interval_ms + self._slack:
            return False
        return asked.t_ms - kept[-1].t_ms >= self.interval_ms - self._slack

    def _between(self, result: Due, one: Mark, other: Mark, moved: bool, at_once: bool) -> None:
        """The slots between two readings of one life; `moved` if the clock was set between them, `at_once` if `one`
        need not lie at a slot."""
        apart = other.t_ms - one.t_ms
        if apart < self.interval_ms - self._slack and not at_once and not moved:
            result.faults.append(f"served at {other.t_ms}, only {apart} ms after the reading before")
        if other.quality and not moved and self._off(other) > self._slack:
            result.faults.append(f"served at {other.t_ms}, {self._off(other)} ms off its slot")
        for moment in range(one.t_ms + self.interval_ms, other.t_ms - self._slack, self.interval_ms):
            self._miss(result, moment, "sensor" if self._is_down(moment) else "clock" if moved else None)

    def _tail(self, result: Due, segment: Segment, mark: Mark) -> None:
        """The slots between the last reading and the end of the life, or of the run."""
        last = mark.t_ms
        end = min(segment.end, self.horizon_ms)
        set_back = max((mark.error_ms - error for error in self.cloud_errors(last, end)), default=0)
        moment = last + self.interval_ms + (max(0, set_back) if mark.quality else 0)
        while moment + self._slack < end:
            self._miss(result, moment, "sensor" if self._is_down(moment) else None)
            moment += self.interval_ms
        wake = self._open_wake(segment)
        if wake is not None and mark.quality and self._off(mark) <= self._slack:
            wake = wake if wake - last >= self.interval_ms - self._slack else None  # of a contact, not of a slot
        if wake is not None and last < wake < self.horizon_ms and last > segment.on:
            self._miss(result, wake, "reset")

    def _open_wake(self, segment: Segment) -> int | None:
        """When the wake began in whose middle this life ended; None if it ended asleep or with the run."""
        at = bisect_left(self.power, segment.end, key=lambda event: event.t_ms)
        return self.power[at - 1].t_ms if at and at < len(self.power) and self.power[at - 1].event == "wake" else None

    def _moved(self, one: Mark, other: Mark) -> bool:
        """True if the node's clock was set between two readings, as far as their rows show it."""
        if one.quality is None or other.quality is None:
            return True
        return one.quality != other.quality or abs(other.error_ms - one.error_ms) > self.set_ms

    def _off(self, mark: Mark) -> int:
        """How far a reading lies from the nearest slot of the clock that dated its row, ms."""
        late = (mark.t_ms + mark.error_ms) % self.interval_ms
        return min(late, self.interval_ms - late)

    def _check_count(self, result: Due, marks: list[Mark]) -> None:
        """Steps that each look right must add up, but for the slots that a clock set forward jumps over."""
        jumps = sum(abs(other.error_ms - one.error_ms) for one, other in pairwise(marks) if self._moved(one, other))
        steps = (marks[-1].t_ms - marks[0].t_ms) / self.interval_ms
        if abs(steps - (len(marks) - 1)) > 1.5 + jumps / self.interval_ms:
            result.faults.append(f"{len(marks)} readings from {marks[0].t_ms} to {marks[-1].t_ms}, {steps:.1f} slots")

    def _boot_reason(self, segment: Segment) -> str | None:
        if segment.end - segment.on <= self.boot_ms:
            return "reset"
        return "sensor" if self._is_down(segment.on) else None

    def _is_down(self, moment: int) -> bool:
        grace = self.interval_ms // 2 + self.boot_ms // 2
        return any(low - grace <= moment <= high + grace for low, high in self.down)

    def _miss(self, result: Due, moment: int, reason: str | None) -> None:
        result.due += 1
        if reason is None:
            result.faults.append(f"the reading of {moment} was not served")
        else:
            result.missed[reason] += 1
