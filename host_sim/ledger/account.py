"""One node's account: what was due against what was served, what was served against what is left."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from host_sim.ledger.align import Anchors, Pair, Reading, align
from host_sim.ledger.book import Figures, NodeAccount
from host_sim.ledger.due import DueRule, Mark
from host_sim.ledger.evidence import Evidence, Place, SensorEvent
from host_sim.ledger.run import Channel, Node


@dataclass(frozen=True)
class Limits:
    """How exact the ledger is.

    `tolerance_s`: a row's time may lie so far off the true one. `value_slack`: units of the last digit
    between the driver's integers and the datasheet's formula. `margin_s`: readings so near the end of the run
    may be unfinished. `boot_s`: a boot's reading follows so soon, unless it dies before. `set_s`: a change of
    clock error above it means that the clock was set. A clock may drift by `drift` of the time passed.
    """

    tolerance_s: float = 90.0
    value_slack: int = 1
    margin_s: float = 5.0
    boot_s: float = 10.0
    set_s: float = 1.5
    drift: float = 0.05


def _variety(channel: Channel) -> int:
    """How often what the world served changes from one reading to the next."""
    return sum(one.value != other.value for one, other in pairwise(channel.served))


class _Account:
    def __init__(
        self, node: Node, evidence: Evidence, end_ms: int, limits: Limits, cloud_clock: list[tuple[int, int]]
    ) -> None:
        self._node = node
        self._evidence = evidence
        self._limits = limits
        self._cloud_clock = cloud_clock
        self._horizon_ms = end_ms - round(1000 * limits.margin_s)
        self._known = sorted(evidence.known)
        self._boot_segment: dict[int, int] = {}
        self.result = NodeAccount(node.name, {}, faults=list(evidence.faults))
        self.result.node.unexplained = len(evidence.faults) - sum(evidence.duplicates.values())

    def run(self) -> NodeAccount:
        """The account. Pairs all channels first: they tell which boot number belongs to which boot. The channel whose
        values change most shows when its rows were taken, and binds the others.
        """
        worst = max((abs(by) for _, by in self._cloud_clock), default=0)
        tolerance_ms, boot_ms = round(1000 * self._limits.tolerance_s) + worst, round(1000 * self._limits.boot_s)
        starts = [segment.on for segment in self._node.segments]
        votes: Counter[tuple[int, int]] = Counter()
        paired = []
        moments: dict[int, int] = {}
        for channel in sorted(self._node.channels, key=_variety, reverse=True):
            readings = [found.reading for found in self._evidence.found[channel.id]]
            doubtful = frozenset(index for index in range(len(channel.served)) if self._was_in_hand(channel, index))
            pairs = align(
                channel.served,
                readings,
                self._node.segments,
                tolerance_ms,
                self._limits.value_slack,
                doubtful,
                min(boot_ms, channel.interval_ms // 2),
                Anchors(dict(moments), channel.interval_ms // 4),
            )
            for pair in pairs:
                moment = channel.served[pair.served].t_ms
                votes[readings[pair.row].boot, bisect_right(starts, moment) - 1] += 1
                moments.setdefault(readings[pair.row].seq, moment)
            paired.append((channel, readings, pairs))
        self._boot_segment = {boot: segment for (boot, segment), _ in reversed(votes.most_common())}
        for channel, readings, pairs in paired:
            self.result.channels[channel.name] = self._channel(channel, readings, pairs)
        self._check_declared()
        return self.result

    def _channel(self, channel: Channel, readings: list[Reading], pairs: list[Pair]) -> Figures:
        figures = Figures(duplicates=self._evidence.duplicates.get(channel.id, 0))
        faults: list[str] = []
        faults += self._sort_rows(channel, figures, {pair.row for pair in pairs})
        faults += self._misdated(channel, readings, pairs)
        unserved = self._sort_unpaired(channel, figures, readings, pairs, faults)
        marks = []
        paired = {pair.served: pair for pair in pairs}
        for index, served in enumerate(channel.served):
            pair = paired.get(index)
            if pair is not None:
                row = readings[pair.row]
                marks.append(Mark(served.t_ms, row.quality, pair.error_ms, row.seq in self._evidence.asked))
            elif index not in unserved:
                marks.append(Mark(served.t_ms, None, 0))
        rule = DueRule(
            interval_ms=channel.interval_ms,
            segments=self._node.segments,
            power=self._node.power,
            horizon_ms=self._horizon_ms,
            boot_ms=round(1000 * (self._limits.boot_s + self._node.window_s)),
            set_ms=round(1000 * self._limits.set_s),
            down=self._down(channel.sensor_index),
            cloud_errors=self._cloud_errors,
        )
        due = rule.account(marks)
        figures.due = due.due
        figures.missed += due.missed
        faults += due.faults
        figures.unexplained = len(faults)
        self.result.faults += [f"{channel.name}: {fault}" for fault in faults]
        return figures

    def _sort_rows(self, channel: Channel, figures: Figures, paired: set[int]) -> list[str]:
        """Counts the readings by where they lie; a reading that no served one stands for is a fault."""
        faults = []
        for index, (reading, place) in enumerate(self._evidence.found[channel.id]):
            where = f"row {reading.seq} (value {reading.value}, {place.value})"
            if place is Place.DATABASE:
                figures.acknowledged += 1
            elif place is Place.GIVEN_UP and self._evidence.is_declared(reading.seq):
                figures.lost += 1
            else:
                figures.stored += 1
                if place is Place.GIVEN_UP:
                    faults.append(f"{where} is released, yet neither committed nor declared lost")
            if index not in paired:
                faults.append(f"{where} stands for nothing that was served")
        return faults

    def _misdated(self, channel: Channel, readings: list[Reading], pairs: list[Pair]) -> list[str]:
        """A clock goes wrong slowly, or at a boot, and is put right at once: an error that jumps up within a boot is a
        fault of the row, not of the clock. Unless the cloud's own clock was wrong, and by as much."""
        faults = []
        for before, pair in zip(pairs, pairs[1:], strict=False):
            one, other = readings[before.row], readings[pair.row]
            if one.boot != other.boot or one.quality != other.quality or abs(pair.error_ms) <= abs(before.error_ms):
                continue
            passed = channel.served[pair.served].t_ms - channel.served[before.served].t_ms
            allowed = 1000 * self._limits.set_s + self._limits.drift * passed
            since, until = channel.served[before.served].t_ms, channel.served[pair.served].t_ms
            wrong = self._cloud_errors(since, until)
            if min(abs(pair.error_ms - error) for error in (before.error_ms, *wrong)) > allowed:
                faults.append(
                    f"row {other.seq} is dated {pair.error_ms} ms off, row {one.seq} before it {before.error_ms} ms"
                )
        return faults

    def _cloud_errors(self, since: int, until: int) -> list[int]:
        """By how much the cloud's clock was wrong at any time between two moments, ms."""
        found = [by for at, by in self._cloud_clock if since < at <= until]
        return [*[by for at, by in self._cloud_clock if at <= since][-1:], *found]

    def _sort_unpaired(
        self, channel: Channel, figures: Figures, readings: list[Reading], pairs: list[Pair], faults: list[str]
    ) -> set[int]:
        """Sorts the served readings of which no row is left: lost (declared), missed by a reset, or a
        fault. Counts those taken.

        Returns the indices of those so near the end of the run that they may still be in hand: they are not
        due.
        """
        figures.taken = len(pairs)
        in_hand = set()
        fences = [Pair(-1, -1, 0), *pairs, Pair(len(channel.served), len(readings), 0)]
        for before, after in zip(fences, fences[1:], strict=False):
            between = range(before.served + 1, after.served)
            if not between:
                continue
            room = self._declared_between(before, after, readings)
            # Where numbers are short, the row in hand at a reset is the one that never got any.
            for index in sorted(between, key=lambda index: (self._was_in_hand(channel, index), index)):
                moment = channel.served[index].t_ms
                if room:
                    room -= 1
                    figures.taken += 1
                    figures.lost += 1
                elif self._was_in_hand(channel, index):
                    figures.missed["reset"] += 1
                elif moment >= self._horizon_ms:
                    in_hand.add(index)
                else:
                    faults.append(f"served at {moment} ({channel.served[index].value}), and no row is left of it")
        return in_hand

    def _declared_between(self, before: Pair, after: Pair, readings: list[Reading]) -> int:
        """How many row numbers between two paired rows are declared given up and found nowhere."""
        low = readings[before.row].seq + 1 if before.row >= 0 else 0
        high = readings[after.row].seq - 1 if after.row < len(readings) else 1 << 62
        count = 0
        for first, last in self._evidence.declared:
            first, last = max(first, low), min(last, high)
            if first <= last:
                count += last - first + 1 - (bisect_right(self._known, last) - bisect_left(self._known, first))
        return count

    def _was_in_hand(self, channel: Channel, index: int) -> bool:
        """True if power went or a reset came after the served reading before the node slept or was served
        the next one."""
        moment = channel.served[index].t_ms
        power = self._node.power
        at = bisect_left(power, moment, key=lambda event: event.t_ms)
        while at < len(power) and power[at].t_ms == moment and power[at].event in ("on", "wake"):
            at += 1
        if at == len(power) or power[at].event not in ("on", "off"):
            return False
        return index + 1 == len(channel.served) or channel.served[index + 1].t_ms >= power[at].t_ms

    def _moment(self, event: SensorEvent) -> int | None:
        """True simulated ms of an event, as near as its clock told; None where its boot is unknown."""
        if event.wall is not None:
            return round(1000 * event.wall)
        segment = self._boot_segment.get(event.boot, event.boot - 1)
        if 0 <= segment < len(self._node.segments):
            return self._node.segments[segment].on + event.uptime_ms
        return None

    def _down(self, sensor: int) -> list[tuple[int, int]]:
        """The times (ms) in which the node had declared the sensor failed."""
        changes = []
        for event in self._evidence.sensor_events:
            moment = self._moment(event)
            if event.sensor == sensor and moment is not None:
                changes.append((moment, event.state))
        down, since = [], None
        for moment, state in sorted(changes):
            if state and since is None:
                since = moment
            elif not state and since is not None:
                down.append((since, moment))
                since = None
        return [*down, (since, self._horizon_ms)] if since is not None else down

    def _check_declared(self) -> None:
        """What the gaps declared must be what is lost, reading by reading."""
        lost = sum(figures.lost for figures in self.result.channels.values())
        declared = self._evidence.declared_readings
        if lost != declared:
            self.result.node.unexplained += abs(declared - lost)
            self.result.faults.append(f"gaps declare {declared} readings lost, {lost} are")


def account(
    node: Node, evidence: Evidence, end_ms: int, limits: Limits, cloud_clock: list[tuple[int, int]] | None = None
) -> NodeAccount:
    """The account of `node` over a run that ended at `end_ms` (true simulated Unix milliseconds); `cloud_clock` as in
    `Run`.
    """
    return _Account(node, evidence, end_ms, limits, cloud_clock or []).run()
