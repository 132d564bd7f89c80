"""What is left of a node's rows: the database, the flash image and the gaps that the node declared, under
one numbering."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from host_sim.image import FrameError, RingImage, Row, frame_rows, journal_row, read_event, read_sectors
from host_sim.ledger.align import Reading
from host_sim.ledger.run import Node, RunError

_GENERATION = 1 << 32
"""Journal numbers are u32 and begin anew when the node's rings are formatted; each such generation lies
above the one before."""

_RING_JOURNAL, _RING_FRAMES = 0, 2
_READ_DONE = 1, 2  # operation and status of a result


class Place(Enum):
    """Where a reading lies. `SAFE`: in the image, unreleased, as a journal row or in a frame. `GIVEN_UP`:
    in the image, but only in released records, which the node will not send of its own accord."""

    DATABASE = "database"
    SAFE = "safe"
    GIVEN_UP = "given up"


class Found(NamedTuple):
    """A reading and where it lies."""

    reading: Reading
    place: Place


class SensorEvent(NamedTuple):
    """A sensor failed (state not 0) or works again (0), at Unix seconds `wall` or `uptime_ms` of `boot`."""

    sensor: int
    state: int
    boot: int
    uptime_ms: int
    wall: float | None


@dataclass
class Evidence:
    """All that is left of a node's rows.

    `found` lists the readings of each channel id in order of number. `known` holds the numbers of all rows
    found; `declared` the ranges of rows that the node gave up, and `declared_readings` how many readings it
    said stood in them. `duplicates` counts, per channel id, database rows beyond the first. `faults` are
    contradictions between the sources, a line each. `asked` are the rows that a command asked for.
    """

    found: dict[int, list[Found]] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    declared: list[tuple[int, int]] = field(default_factory=list)
    declared_readings: int = 0
    duplicates: dict[int, int] = field(default_factory=dict)
    sensor_events: list[SensorEvent] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    asked: set[int] = field(default_factory=set)

    def is_declared(self, seq: int) -> bool:
        """True if the node declared row `seq` given up."""
        return any(low <= seq <= high for low, high in self.declared)


@dataclass
class _Image:
    journal: RingImage = field(default_factory=RingImage)
    frames: RingImage = field(default_factory=RingImage)
    alerts: RingImage = field(default_factory=RingImage)


def _scaled(value: int, exponent: int, to: int) -> float:
    """`value` x 10^`exponent` in units of 10^`to`."""
    return value * 10 ** (exponent - to) if exponent >= to else value / 10 ** (to - exponent)


class _Gatherer:
    """Builds the evidence of one node, source by source; the database comes first and wins."""

    def __init__(self, node: Node) -> None:
        self.evidence = Evidence(found={channel.id: [] for channel in node.channels})
        self._exponents = {channel.id: channel.exponent for channel in node.channels}
        self._by_key: dict[tuple[int, int], Found] = {}
        self._frame_range: dict[int, tuple[int, int]] = {}
        self._generations: dict[int, int] = {}
        self._image = _Image()
        if node.image is not None:
            for name in vars(self._image):
                if name not in node.rings:  # it never lived long enough to have one
                    continue
                ring = read_sectors(node.image, node.rings[name], node.sector_size, node.granularity)
                self.evidence.faults += [f"{name} ring: {fault}" for fault in ring.faults]
                setattr(self._image, name, ring)

    def database(self, rows: Iterable[dict[str, Any]]) -> None:
        """Takes the rows of the cloud."""
        for row in rows:
            generation = self._generations.setdefault(row["stream"], len(self._generations))
            seq = generation * _GENERATION + row["journal_seq"]
            channel = row["channel_id"]
            if channel not in self._exponents:
                self.evidence.faults.append(f"row {seq}: the node has no channel {channel}")
                continue
            if (seq, channel) in self._by_key:
                self.evidence.duplicates[channel] = self.evidence.duplicates.get(channel, 0) + 1
                self.evidence.faults.append(f"row {seq}: channel {channel} is in the database twice")
                continue
            value = _scaled(row["value"], row["exponent"], self._exponents[channel])
            uptime = None if row["quality"] else row["t"]
            reading = Reading(seq, value, row["quality"], row["boot"], row["time_s"], uptime)
            self._by_key[seq, channel] = Found(reading, Place.DATABASE)
            number = generation * _GENERATION + row["frame_seq"]
            low, high = self._frame_range.get(number, (seq, seq))
            self._frame_range[number] = min(low, seq), max(high, seq)

    def image(self) -> None:
        """Takes frames and journal rows of the flash image."""
        frames, journal = self._image.frames, self._image.journal
        if frames.stream:
            self._generations.setdefault(frames.stream, len(self._generations))
        base = self._base
        for number, payload in frames.records:
            try:
                rows, exponents = frame_rows(number, payload)
            except FrameError as error:
                self.evidence.faults.append(str(error))
                continue
            self._frame_range[base + number] = base + rows[0].seq, base + rows[-1].seq
            place = Place.SAFE if number > frames.released else Place.GIVEN_UP
            for row in rows:
                self._row(row, exponents, place, f"frame {number}")
        for number, payload in journal.records:
            try:
                row = journal_row(number, payload)
            except FrameError as error:
                self.evidence.faults.append(str(error))
                continue
            place = Place.SAFE if number > journal.released else Place.GIVEN_UP
            self._row(row, self._exponents, place, "journal")

    @property
    def _base(self) -> int:
        return (max(len(self._generations), 1) - 1) * _GENERATION

    def _row(self, row: Row, exponents: dict[int, int], place: Place, source: str) -> None:
        seq = self._base + row.seq
        self.evidence.known.add(seq)
        for channel, raw in row.values.items():
            if channel not in self._exponents:
                self.evidence.faults.append(f"{source}: row {seq}: the node has no channel {channel}")
                continue
            value = _scaled(raw, exponents[channel], self._exponents[channel])
            reading = Reading(seq, value, row.quality, row.boot, row.wall, row.uptime)
            other = self._by_key.get((seq, channel))
            if other is None:
                self._by_key[seq, channel] = Found(reading, place)
                continue
            if other.place is Place.GIVEN_UP and place is Place.SAFE:
                self._by_key[seq, channel] = Found(other.reading, place)
            if not _agree(reading, other.reading):
                self.evidence.faults.append(
                    f"{source}: row {seq}, channel {channel} says {reading}, {other.place.value} says {other.reading}"
                )

    def events(self, events: Iterable[dict[str, Any]]) -> None:
        """Takes gaps and sensor events: those that reached the cloud and those still in the image. Comes
        last."""
        gaps = []
        for event in events:
            if event.get("kind") == "gap":
                gaps.append((event["ring"], event["lo"], event["hi"], event["readings"]))
            elif event.get("kind") == "result":
                self._asked(event["op"], event["status"], event["detail"])
            elif event.get("kind") == "sensor":
                self.evidence.sensor_events.append(
                    SensorEvent(event["sensor"], event["state"], event["boot"], event["uptime_ms"], event.get("time_s"))
                )
        for seq, payload in self._image.alerts.records:
            try:
                event = read_event(seq, payload)
            except FrameError as error:
                self.evidence.faults.append(str(error))
                continue
            if event is not None and event.kind == "gap":
                body = event.body
                gaps.append((body["ring"], body["lo"], body["hi"], body["readings"]))
            elif event is not None and event.kind == "result":
                self._asked(event.body["op"], event.body["status"], event.detail)
            elif event is not None:
                body = event.body
                self.evidence.sensor_events.append(
                    SensorEvent(body["sensor"], body["state"], event.boot, event.uptime_ms, event.wall)
                )
        for ring, low, high, readings in _outermost(gaps):
            if ring == _RING_JOURNAL:
                self._declare(self._base + low, self._base + high, readings)
            elif ring == _RING_FRAMES:
                self._declare(*self._rows_of_frames(self._base + low, self._base + high), readings)

    def _asked(self, op: int, status: int, detail: str) -> None:
        """A reading on command says in its result which row it is."""
        row = re.match(r"row (\d+):", detail)
        if (op, status) == _READ_DONE and row:
            self.evidence.asked.add(self._base + int(row[1]))

    def _rows_of_frames(self, low: int, high: int) -> tuple[int, int]:
        """The journal rows that stood in frames `low`..`high`: all between the frames around them,
        inclusive."""
        before = [rows[1] for number, rows in self._frame_range.items() if self._base <= number < low]
        after = [rows[0] for number, rows in self._frame_range.items() if number > high]
        last = min(after) - 1 if after else self._base + (self._image.journal.released or _GENERATION - 1)
        return max(before, default=self._base) + 1, last

    def _declare(self, low: int, high: int, readings: int) -> None:
        self.evidence.declared.append((low, high))
        self.evidence.declared_readings += readings

    def finish(self) -> Evidence:
        """Puts the readings of each channel in order of number."""
        for (seq, channel), found in sorted(self._by_key.items(), key=lambda item: item[0]):
            self.evidence.known.add(seq)
            self.evidence.found[channel].append(found)
        kept = 0
        if self.evidence.declared:
            for (seq, _), found in self._by_key.items():
                kept += found.place is not Place.GIVEN_UP and self.evidence.is_declared(seq)
        # A gap may name rows of which the cloud had a copy after all: the acknowledgement was lost, not the readings.
        self.evidence.declared_readings -= kept
        return self.evidence


def _agree(one: Reading, other: Reading) -> bool:
    """True if two sources tell the same of a row. Times compare within one quality; that of a row without a
    clock is its uptime, wherever the cloud placed it."""
    same_time = one.wall == other.wall if one.uptime is None else one.uptime == other.uptime
    return one.value == other.value and one.boot == other.boot and (same_time or one.quality != other.quality)


def _outermost(gaps: Iterable[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """The gaps (ring, lo, hi, readings) without those inside another: a cut between the declaration and the
    act repeats it."""
    kept: list[tuple[int, int, int, int]] = []
    for gap in sorted(set(gaps), key=lambda gap: (gap[0], gap[1], -gap[2])):
        if not any(ring == gap[0] and low <= gap[1] and gap[2] <= high for ring, low, high, _ in kept):
            kept.append(gap)
    return kept


def gather(node: Node, rows: Iterable[dict[str, Any]], events: Iterable[dict[str, Any]]) -> Evidence:
    """The evidence of `node` from the cloud's `rows` and `events` and its flash image.

    A row that several sources hold counts once, at the safest place: database, unreleased in the image,
    released in the image. Sources that contradict one another are faults. Raises RunError where a row or
    event lacks a field.
    """
    try:
        gatherer = _Gatherer(node)
        gatherer.database(rows)
        gatherer.image()
        gatherer.events(events)
        return gatherer.finish()
    except KeyError as error:
        raise RunError(f"{node.name}: a row or event of the cloud, or a ring of run.json, lacks {error}") from error
