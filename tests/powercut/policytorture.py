"""The policy of a node's three rings (firmware/node/store.py, eviction.py, framing.py) under a cut at every flash
operation of a scripted life, in every way a cut can tear it, and a second cut at every operation of what follows.

The oracle keeps its own log: what was appended, and what the cloud has acknowledged. After each cut and boot it reads
the flash by the host's reader, and every row, frame and event in the log must be acknowledged, waiting, or declared by
a gap that waits or is acknowledged itself. That the node takes a record for released, or counts it as dropped, proves
nothing.
"""

from __future__ import annotations

import random
import struct
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from types import ModuleType
from typing import Any

import flashring
from ringtorture import Score
from torncells import Cells, Flash, Operation

from host_sim.image import RingImage, frame_rows, journal_row, read_ring
from host_sim.image.records import Row


def _node_modules() -> tuple[ModuleType, ModuleType, ModuleType]:
    """The node's own modules under CPython: it lacks only `const`, and a log whose clock is the board's."""
    real = sys.modules.get("micropython")
    stub: Any = ModuleType("micropython")
    stub.const = lambda value: value
    sys.modules["micropython"] = stub
    quiet: Any = ModuleType("node.log")
    quiet.warning = lambda text: None
    try:
        from node import eviction, framing, store, wire  # noqa: F401 -- imported here while `const` is there
    finally:
        del sys.modules["micropython"]
        if real is not None:
            sys.modules["micropython"] = real
    import node

    sys.modules["node.log"] = node.log = quiet  # pyright: ignore[reportAttributeAccessIssue]
    for module in (eviction, store):
        module.print = lambda *_: None  # pyright: ignore[reportAttributeAccessIssue]
    return store, framing, eviction


store, framing, eviction = _node_modules()

SECTOR = 4096
PLACES = {"journal": (0, 3), "alerts": (3, 3), "frames": (6, 3)}
JOURNAL, ALERTS, FRAMES = range(3)  # as gaps name them
GEOMETRIES = {"byte": 1, "page": 256}
CHANNELS = [(1, -2), (2, 0), (3, -3)]
ALARM, SENSOR, GAP = 1, 2, 5  # lib/mqtt/PROTOCOL.md
SEVERE = (ALARM, GAP)
FULL = 1  # reason of a gap
_GAP = struct.Struct("<BIIBI")  # ring, lo, hi, reason, readings; behind 14 bytes that all events begin with


@dataclass(frozen=True)
class Appended:
    """Record `seq` of a ring is durable."""

    ring: int
    seq: int
    payload: bytes


@dataclass(frozen=True)
class Acked:
    """The cloud has committed these records of a ring, seq to payload, and said so."""

    ring: int
    records: dict[int, bytes]


Log = list[Appended | Acked]


@dataclass
class Moment:
    """A flash operation. `log`: what had happened by then; `coming`: what the same call appended after it; `alive`:
    events that were waiting as the call began; `damaged`: numbers of those that damage, not the node, has taken since;
    `plain`: the only operation of its call.
    """

    operation: Operation
    log: Log
    coming: Log
    alive: set[bytes]
    damaged: set[int]
    plain: bool


class Contradiction(Exception):
    """The node says something that its log does not."""


class _Keeper:
    """Stamps every event with another time, so that no two are alike."""

    def __init__(self, now: int) -> None:
        self.now = now

    def wall(self) -> tuple[int, int]:
        return 0, 0

    def uptime_ms(self) -> int:
        self.now += 1
        return self.now


class _BootLog:
    boot = 3


class Node:
    """A node on `flash`; its calls and their operations are noted in `log` and `moments`. `wanted(index)`: whether
    operation `index` of this node is kept. `cut`: the moment whose cut it follows. `live`: the events that wait.
    """

    def __init__(
        self, flash: Flash, log: Log, wanted: Callable[[int], bool] = lambda index: True, cut: Moment | None = None
    ) -> None:
        self.flash, self.log = flash, log
        self.moments: list[Moment] = []
        self.operations = 0
        self._wanted = wanted
        self._keeper = _Keeper(1000 * len(log))
        self.live: dict[bytes, int] = dict.fromkeys(cut.alive, 1 << 32) if cut else {}  # event to its last number
        self._coming: Log = cut.coming if cut else []
        self._damaged = cut.damaged if cut else set()
        self.store: Any = None
        self.framer: Any = None

    def call(self, verb: Callable, *args: object) -> None:
        """Do something, and keep the moments of it."""
        alive = set(self.live)
        noted = _Noted(self.log)
        self.flash.operations = noted
        try:
            verb(*args)
        finally:
            self.flash.operations = None
        for at, operation in noted.places:
            self.operations += 1
            if self._wanted(self.operations - 1):
                coming = self._coming + self.log[at:]
                plain = len(noted.places) == 1
                self.moments.append(Moment(operation, self.log[:at], coming, alive, self._damaged, plain))

    def boot(self, clean: bool = False) -> None:
        """A wake; without `clean` it follows a cut, or may."""
        hints = bytearray(9)
        if self.store is not None:
            self.store.hints(hints)
        made = store.Store(self.flash, PLACES, len(CHANNELS), self._keeper, _BootLog())
        for number, ring in enumerate((made.journal, made.alerts, made.frames)):
            self._watch(number, ring)
        self.store, self.framer = made, framing.Framer(made, CHANNELS)
        self.call(self._mount, clean, hints)

    def _mount(self, clean: bool, hints: bytearray) -> None:
        self.store.mount(not clean, hints)
        self.store.mount_rest()
        if self.store.formatted:
            raise Contradiction("a ring was formatted anew")
        if not clean:
            self.framer.settle()

    def settled(self, found: list[RingImage]) -> None:
        """What the boot after a cut has found, the log has."""
        recorded = {(entry.ring, entry.seq) for entry in self.log if isinstance(entry, Appended)}
        for ring, image in enumerate(found):
            self.log += [Appended(ring, *each) for each in image.records if (ring, each[0]) not in recorded]
        self.live = {payload: seq for seq, payload in _waiting(found[ALERTS]).items()}
        self._coming = []

    def _watch(self, number: int, ring: Any) -> None:
        append, append_batch, drop = ring.append, ring.append_batch, ring.drop

        def note(first: int, payloads: list[bytes]) -> None:
            for seq, payload in enumerate(payloads, first):
                self.log.append(Appended(number, seq, payload))
                if number == ALERTS:
                    self.live[payload] = seq

        def appended(payload: Any, reserve: bool = False) -> int:
            kept = bytes(payload)
            seq = append(payload, reserve)
            note(seq, [kept])
            return seq

        def batch_appended(payloads: Any, reserve: bool = False) -> int:
            first = append_batch(payloads, reserve)
            note(first, [bytes(each) for each in payloads])
            return first

        def dropped(seq: int) -> None:
            drop(seq)
            if number == ALERTS:
                self._forget(seq)

        ring.append, ring.append_batch, ring.drop = appended, batch_appended, dropped

    def _forget(self, upto: int) -> None:
        self.live = {payload: seq for payload, seq in self.live.items() if seq > upto}

    def row(self, number: int) -> None:
        """A row whose values follow from `number`, and pack badly."""
        rng = random.Random(number)
        values = array("i", [rng.randrange(-(1 << 29), 1 << 29) for _ in CHANNELS])
        self.call(self.store.append_row, 2, 3, 1000 + 60 * number, number % 7 + 1, 0, values)

    def lesser(self, number: int) -> None:
        """An event that may be given up."""
        self.call(self.store.sensor, number >> 8 & 0xFF, number & 0xFF)

    def alarm(self, number: int) -> None:
        """One that may not."""
        self.call(self.store.alarm, 1, 1, 0, number, 5)

    def ack(self, number: int, count: int) -> None:
        """The cloud has what it was sent: the oldest `count` records that wait."""
        ring = (self.store.journal, self.store.alerts, self.store.frames)[number]
        oldest, released, following = ring.range()
        first = max(oldest, released + 1)
        sent = {}
        for seq in range(first, min(first + count, following)):
            try:
                sent[seq] = ring.read(seq)
            except KeyError:
                self.call(self.store.unreadable, number, seq)
        if sent:
            self.log.append(Acked(number, sent))
            self.call(ring.release, max(sent))
            if number == ALERTS:
                self._forget(max(sent))

    def run(self) -> None:
        """Frames out of rows."""
        self.call(self.framer.run)


class _Noted(list):
    """Stands for the flash's list of operations: `places` has with each how long the log was."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.places: list[tuple[int, Operation]] = []
        self._log = log

    def append(self, operation: Operation) -> None:
        self.places.append((len(self._log), operation))


@lru_cache(maxsize=64)
def _read(data: bytes, unit: int) -> RingImage:
    return read_ring(data, 0, len(data) // SECTOR, SECTOR, unit)


def images(flash: Flash) -> list[RingImage]:
    """What the host's reader finds: journal, alerts, frames."""
    data = bytearray(len(flash.cells.data))
    flash.read_into(0, data)
    return [
        _read(bytes(data[first * SECTOR : (first + count) * SECTOR]), flash.unit)
        for first, count in (PLACES["journal"], PLACES["alerts"], PLACES["frames"])
    ]


def _waiting(image: RingImage) -> dict[int, bytes]:
    return {seq: payload for seq, payload in image.records if seq > image.released}


@lru_cache(maxsize=4096)
def _row(seq: int, payload: bytes) -> Row:
    return journal_row(seq, payload)


@lru_cache(maxsize=1024)
def _rows(seq: int, payload: bytes) -> list[Row]:
    return frame_rows(seq, payload)[0]


class Ledger:
    """What became of everything in `log`, by what `found` holds of the three rings. `coming`: records that may be
    there or not. `alive`: events that were waiting as the call began, `damaged`: numbers of those damage has taken.
    `second`: the second cut of an eviction may find alarms in RAM alone that the first has left no room for.

    `faults` has (what, text) for each that is not as it should be; `twice` counts rows in frames that are declared
    lost, `by_birth` events that no gap declares, `in_ram` such alarms.
    """

    def __init__(
        self,
        found: list[RingImage],
        log: Log,
        coming: Log | None = None,
        alive: set[bytes] | None = None,
        damaged: set[int] | None = None,
        second: bool = False,
    ) -> None:
        self.faults: list[tuple[str, str]] = []
        self.by_birth = self.in_ram = 0
        self.held = {entry.payload for entry in coming or () if isinstance(entry, Appended)} if second else set()
        self.recorded: list[dict[int, bytes]] = [{}, {}, {}]
        self.acked: list[dict[int, bytes]] = [{}, {}, {}]
        for entry in log:
            if isinstance(entry, Acked):
                self.acked[entry.ring].update(entry.records)
            else:
                self.recorded[entry.ring][entry.seq] = entry.payload
        self._may = [{seq: {payload} for seq, payload in each.items()} for each in self.recorded]
        for entry in coming or ():
            if isinstance(entry, Appended):
                self._may[entry.ring].setdefault(entry.seq, set()).add(entry.payload)
        self.waiting = [_waiting(image) for image in found]
        for ring, image in enumerate(found):
            self._contents(ring, image)
        self._gaps()
        self._numbers(damaged or set())
        self._framed(found[FRAMES])
        self._severity(alive or set(), damaged or set())

    def _fault(self, what: str, text: str) -> None:
        self.faults.append((what, text))

    def _contents(self, ring: int, image: RingImage) -> None:
        """Nothing stands there that was not written, and the cloud has what it said."""
        for seq, payload in image.records:
            if payload not in self._may[ring].get(seq, ()):
                self._fault("wrong", f"ring {ring} holds another record {seq}")
        for seq, payload in self.acked[ring].items():
            if self.recorded[ring].get(seq) != payload:
                self._fault("wrong", f"ring {ring}: record {seq} was sent otherwise than written")

    def _gaps(self) -> None:
        """Which numbers are declared lost, and how many readings that were."""
        self.declared: list[set[int]] = [set(), set(), set()]
        for payload in (*self.waiting[ALERTS].values(), *self.acked[ALERTS].values()):
            if payload[0] != GAP:
                continue
            ring, lo, hi, reason, readings = _GAP.unpack_from(payload, 14)
            self.declared[ring].update(range(lo, hi + 1))
            lost = sum(self._readings(ring, seq) for seq in range(lo, hi + 1))
            if reason == FULL and readings != lost:
                self._fault("wrong", f"a gap of ring {ring}, {lo}..{hi}, tells {readings} readings")
            if not lo <= hi <= max(self._may[ring], default=0):
                self._fault("wrong", f"a gap declares {lo}..{hi} of ring {ring}, which were never written")

    def _readings(self, ring: int, seq: int) -> int:
        payload = self.recorded[ring].get(seq)
        if payload is None or ring == ALERTS:
            return 0
        rows = [_row(seq, payload)] if ring == JOURNAL else _rows(seq, payload)
        return sum(len(row.values) for row in rows)

    def _numbers(self, damaged: set[int]) -> None:
        """Every frame and event that was recorded waits, is acknowledged or declared. What damage has taken of the
        events, the oldest number in the next birth declares, if a cut has taken the gap.
        """
        for ring in (ALERTS, FRAMES):
            known = self.waiting[ring].keys() | self.acked[ring].keys() | self.declared[ring]
            gone = sorted(self.recorded[ring].keys() - known)
            if ring == ALERTS and gone and damaged.issuperset(gone):
                self.by_birth, gone = len(gone), []
            if gone:
                self._fault("lost", f"ring {ring}: {len(gone)} records from {gone[0]} on, no gap declares them")

    def _framed(self, image: RingImage) -> None:
        """Every row waits, is in one frame, or declared; and no row is in two."""
        frames = {**self.recorded[FRAMES], **dict(image.records)}
        owner: dict[int, int] = {}
        for seq, payload in frames.items():
            for row in _rows(seq, payload):
                if row.seq in owner:
                    self._fault("wrong", f"row {row.seq} is in frame {owner[row.seq]} and in {seq}")
                owner[row.seq] = seq
                written = self.recorded[JOURNAL].get(row.seq)
                if written is None or row != _row(row.seq, written):
                    self._fault("wrong", f"row {row.seq} in frame {seq} is not as it was written")
        known = self.waiting[JOURNAL].keys() | owner.keys() | self.declared[JOURNAL]
        gone = sorted(self.recorded[JOURNAL].keys() - known)
        if gone:
            self._fault("lost", f"{len(gone)} rows from {gone[0]} on, no gap declares them")
        self.twice = len(owner.keys() & self.declared[JOURNAL])

    def _severity(self, alive: set[bytes], damaged: set[int]) -> None:
        """No alarm that was waiting is given up while a lesser event that was waiting, too, is kept."""
        now = set(self.waiting[ALERTS].values())
        sent = set(self.acked[ALERTS].values())
        numbers = {payload: seq for seq, payload in self.recorded[ALERTS].items()}
        gone = {each for each in alive - now - sent if each[0] == ALARM and numbers.get(each) not in damaged}
        if gone and gone <= self.held:
            self.in_ram, gone = len(gone), set()
        kept = [each for each in alive & now if each[0] not in SEVERE]
        if gone and kept:
            self._fault("lost", f"{len(gone)} alarms were given up, {len(kept)} lesser events kept")


def fresh(unit: int, seed: object) -> Flash:
    """A flash with three empty rings."""
    flash = Flash(unit, SECTOR, Cells.erased(9 * SECTOR), random.Random(str(seed)))
    for stream, place in enumerate(PLACES.values(), 1):
        flashring.Ring(flash, *place).format(stream)
    return flash


def lived(unit: int, wanted: Callable[[int], bool] = lambda index: True) -> Node:
    """A life in which each of the rings is filled and gives up, and the cloud is heard now and then."""
    node = Node(fresh(unit, unit), [], wanted)
    node.boot()
    number = 0

    def mixed(alarms: int, until: int) -> None:
        """Events, one in `alarms` an alarm, until the alerts were given up `until` times."""
        nonlocal number
        given_up = node.store.alerts.dropped
        while until:
            number += 1
            if number % alarms:
                node.lesser(number)
            else:
                node.alarm(number)
            if node.store.alerts.dropped != given_up:
                given_up, until = node.store.alerts.dropped, until - 1

    def rows(ring: Any, each: int, until: int) -> None:
        """Rows, framed `each` at a time (0: not at all), until `ring` was given up `until` times."""
        nonlocal number
        given_up = ring.dropped
        while until:
            number += 1
            node.row(number)
            if each and number % each == 0:
                node.run()
            if ring.dropped != given_up:
                given_up, until = ring.dropped, until - 1

    mixed(5, 2)
    node.boot(clean=True)
    rows(node.store.journal, 0, 2)
    node.run()
    node.boot()
    node.ack(FRAMES, 2)
    rows(node.store.frames, 24, 2)
    node.boot()
    mixed(1, 2)  # nothing but alarms
    node.ack(ALERTS, 20)
    node.boot(clean=True)
    mixed(3, 2)
    rows(node.store.journal, 0, 1)
    node.run()
    node.ack(ALERTS, 1000)
    node.ack(FRAMES, 1000)
    for _ in range(10):
        number += 1
        node.row(number)
        node.lesser(number)
    node.run()
    return node


def recover(node: Node) -> None:
    """What a node does next: the events of a boot, a row, a contact that frames, an alarm, answers."""
    number = 1 << 20
    node.lesser(0)
    node.row(number)
    node.run()
    node.alarm(number)
    node.ack(FRAMES, 1)
    node.ack(ALERTS, 2)
    node.row(number + 1)
    node.lesser(1)


def check(flash: Flash, moment: Moment, score: Score, name: str, second: bool = False) -> Node | None:
    """Boot after a cut at `moment`, the `second` of two, and hold what is there against the log. Returns the node, None
    if it failed.
    """
    score.cuts += 1
    node = Node(flash, list(moment.log), cut=moment)
    try:
        node.boot()
    except (flashring.RingError, Contradiction, ValueError, IndexError, KeyError) as error:
        score.fault("unmountable", f"{name}: {error!r}")
        return None
    found = images(flash)
    ledger = Ledger(found, node.log, moment.coming, moment.alive, moment.damaged, second)
    _count(ledger, score, name)
    node.settled(found)
    return None if ledger.faults else node


def _count(ledger: Ledger, score: Score, name: str) -> None:
    score.kinds["alarms in RAM alone at a second cut"] += ledger.in_ram > 0
    score.kinds["events declared by the birth alone"] += ledger.by_birth > 0
    score.kinds["rows declared lost and framed"] += ledger.twice
    for what, text in ledger.faults:
        score.fault(what, f"{name}: {text}")


def spoilt(cells: Cells, unit: int, place: tuple[int, int]) -> tuple[Cells, set[int]] | None:
    """The same with damage to the header of the ring's sector after the head, and what numbers are in it, if they still
    wait: the ring skips them then by itself. None if they do not.
    """
    first, count = place
    image = _read(bytes(cells.data[first * SECTOR : (first + count) * SECTOR]), unit)
    if len(image.sectors) < count or image.sectors[1].first <= image.released + 1:
        return None
    cells = cells.copy()
    at = (first + image.sectors[0].lap % count) * SECTOR
    for byte, bit in ((3, 0x10), (14, 1), (22, 1)):
        cells.data[at + byte] ^= bit
    return cells, set(range(image.sectors[0].first, image.sectors[1].first))


def follow(cells: Cells, unit: int, moment: Moment, share: float, score: Score, name: str, rng: random.Random) -> None:
    """Boot from `cells` after `moment`, and cut a `share` of what the node does then; 0: boot only."""
    node = check(Flash(unit, SECTOR, cells, random.Random(rng.random())), moment, score, name)
    if node is None or not share:
        return
    waited = set(node.live)
    try:
        recover(node)
    except (flashring.RingError, Contradiction, ValueError, IndexError, KeyError) as error:
        score.fault("lost", f"{name}: goes on no more: {error!r}")
        return
    _count(Ledger(images(node.flash), node.log, None, waited, moment.damaged), score, f"{name}, gone on")
    for number, later in enumerate(node.moments):
        for again, cells2 in later.operation.torn(rng):
            if rng.random() < share:
                score.kinds[f"second: {again}"] += 1
                check(Flash(unit, SECTOR, cells2, random.Random(rng.random())), later, score,
                      f"{name}, then {number} ({again})", True)  # fmt: skip


def crowded(unit: int) -> list[Moment]:
    """The moments of a call that gives up a sector full of alarms, with lesser events behind it: the copies need nearly
    all the room there is, and a cut takes some of it.
    """
    node = Node(fresh(unit, unit), [])
    node.boot()
    number = 0
    while node.store.alerts.dropped == 0:
        number += 1
        node.moments.clear()
        if node.store.alerts.hint()[0] == 0:  # the first sector
            node.alarm(number)
        else:
            node.lesser(number)
    return node.moments


def unheard(unit: int, until: int) -> Node:
    """A node that no cloud hears, until the alerts were given up `until` times; its moments are those of the call that
    did so last. It loses a record at a time, so that gaps soon fill a sector: first rows, then frames.
    """
    node = Node(fresh(unit, unit), [])
    node.boot()
    number, half = 0, until // 2
    while until:
        given_up = node.store.alerts.dropped
        number += 1
        if number % 100 == 0:
            node.boot(clean=number % 200 == 0)
        node.row(number)
        if until <= half:
            node.run()
        ring, taker = (FRAMES, node.store.frames) if until <= half else (JOURNAL, node.store.journal)
        node.moments.clear()
        node.call(node.store._give_up, ring, taker, taker.range()[2] - 1)
        if node.store.alerts.dropped == given_up and number % 10 == 0:
            node.moments.clear()
            node.alarm(number) if number % 20 else node.lesser(number)
        until -= node.store.alerts.dropped != given_up
    return node


def torture(
    unit: int, share: float, part: int = 0, parts: int = 1, plain: bool = True
) -> Iterator[tuple[int, int, Score]]:
    """Yields (operations done, operations in all, the score so far) after each operation of this part of `parts` of the
    life. Without `plain` those are left out that were the only one of their call.
    """
    moments = lived(unit, lambda index: index % parts == part).moments
    return cut([each for each in moments if plain or not each.plain], unit, share, f"part {part} of {parts}")


def cut(moments: list[Moment], unit: int, share: float, where: str) -> Iterator[tuple[int, int, Score]]:
    """As `torture`, at `moments`. `share`: of the first cuts after which what follows is cut, too, and of the ways to
    cut that; where the operation was the only one of its call, a tenth of them.
    """
    score = Score()
    for number, moment in enumerate(moments):
        rng = random.Random(f"{unit} {where} {number}")
        kind = "erase" if moment.operation.erase else "program"
        name = f"unit {unit}, {where}, moment {number} ({kind}"
        for mode, cells in moment.operation.torn(rng):
            score.kinds[f"{kind}, {mode}"] += 1
            followed = rng.random() < (share / 10 if moment.plain else share)
            follow(cells, unit, moment, share if followed else 0, score, f"{name}, {mode})", rng)
        damaged = spoilt(moment.operation.cells, unit, PLACES["alerts"])
        if damaged:
            cells, numbers = damaged
            score.kinds["a header spoilt"] += 1
            follow(cells, unit, replace(moment, damaged=numbers), share, score, f"{name}, a header spoilt)", rng)
        yield number + 1, len(moments), score


def skipped(unit: int, ring: int, share: float) -> Score:
    """A journal, or alerts, whose sector after the head holds what waits, and has its header damaged: the ring skips
    that by itself, and the boot that finds it so is cut.
    """
    node = Node(fresh(unit, unit), [])
    node.boot()
    full, number = False, 0
    while not full:
        number += 1
        if ring == JOURNAL:
            payload = node.store.rows.pack(2, 3, 1000 + 60 * number, 7, 0, array("i", [number] * len(CHANNELS)))
        else:
            payload = struct.pack("<BIIIBBB", SENSOR, 3, number, 0, 0, 0, 1)
        taker = node.store.journal if ring == JOURNAL else node.store.alerts
        try:
            taker.append(payload, True)  # the room that is kept for copies: nothing else goes there
        except flashring.RingBusy:
            taker.idle()
        except flashring.RingFull:
            full = True
    score = Score()
    damaged = spoilt(node.flash.cells, unit, list(PLACES.values())[ring])
    if damaged is None:
        raise Contradiction("the ring is not full")
    numbers = damaged[1] if ring == ALERTS else set()
    moment = Moment(Operation(node.flash.cells, 0, b"", False, SECTOR), node.log, [], set(), numbers, False)
    follow(damaged[0], unit, moment, share, score, f"unit {unit}, a header spoilt", random.Random(unit))
    return score
