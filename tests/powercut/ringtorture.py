"""The ring under a cut at every flash operation of a scripted life, in every way a cut can tear it, and a second cut at
every operation of what follows.

The life runs once and notes, for each operation, what the ring had promised before the call and what it promises after.
From each operation the cells are torn, the ring mounted and held against that; then what it does next is torn as well.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from crc import crc24
from flashring import NoRing, Ring, RingBusy, RingError, RingFull, Window, checks, commit, headers, repair
from flashring.commit import Commit
from torncells import Cells, Flash, Operation

from host_sim.image import read_ring


@functools.lru_cache(1 << 17)
def _crc_of(data: bytes, start: int) -> int:
    return crc24(data, start)


# Half of the time went into the checks of the same few hundred records, a thousand times over.
for _module in (checks, commit, headers, repair):
    vars(_module)["crc24"] = lambda buf, crc=checks.HEADER_START: _crc_of(bytes(buf), crc)

LARGEST = 300
FIRST_LAP = 65_533  # of an older ring that stands there: laps pass 2^16 on the way
STREAM = 77


def measure(view: memoryview, start: int) -> int:
    """The length of the record that starts there, where records tell their own."""
    return view[start] | view[start + 1] << 8


@functools.cache
def _record(seq: int) -> bytes:
    rng = random.Random(seq)
    return bytes(rng.choices((0x00, 0xFF, seq & 0xFF, 0x5A), k=rng.choice((0, 5, 30, 30, 41, 61, 62, 130, 280))))


@dataclass(frozen=True)
class Geometry:
    """A flash and a ring on all of it; `runs`: its records tell their own length."""

    unit: int
    sectors: int = 4
    sector: int = 2048
    runs: bool = False

    def flash(self, rng: random.Random, cells: Cells | None = None, misread: int = -1) -> Flash:
        """`cells`, or erased ones."""
        return Flash(self.unit, self.sector, cells or Cells.erased(self.sectors * self.sector), rng, misread=misread)

    def ring(self, flash: Flash) -> Ring:
        """The ring of all sectors of `flash`, not mounted."""
        return Ring(flash, 0, self.sectors, Window(flash, LARGEST), measure if self.runs else None)

    def payload(self, seq: int) -> bytes:
        """What record `seq` holds: nobody need remember it."""
        record = _record(seq)
        return (2 + len(record)).to_bytes(2, "little") + record if self.runs else record

    def records(self, found: list[tuple[int, bytes]]) -> dict[int, bytes]:
        """What the host's reader has found, by number; to it a run of records is one."""
        if not self.runs:
            return dict(found)
        records: dict[int, bytes] = {}
        for seq, run in found:
            while run:
                length = measure(memoryview(run), 0)
                records[seq], run, seq = run[:length], run[length:], seq + 1
        return records


GEOMETRIES = {
    "byte": Geometry(1), "align 16": Geometry(16), "align 32": Geometry(32), "page": Geometry(256),
    "runs": Geometry(1, 3, 4096, True),
}  # fmt: skip


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


class Contradiction(Exception):
    """The ring says of itself what does not follow from the calls made, or what the host's reader does not find."""


@dataclass
class Moment:
    """An operation within a call that leads from `before` to `after` (None: no ring). `durable`: the release cursor
    that is in flash for certain. `wiped`: released records from this one on may read now so, now so, for the call, or
    one that was cut before it, makes them unreadable."""

    operation: Operation
    before: State | None
    after: State
    durable: int
    wiped: int | None = None


@dataclass
class Score:
    """What a run has found. `kinds` counts cuts by geometry, kind and mode; `faults` has a line for the first of each.
    """

    cuts: int = 0
    lost: int = 0
    wrong: int = 0
    unmountable: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, what: str, text: str) -> None:
        """Count a failure: `what` is lost, wrong or unmountable."""
        setattr(self, what, getattr(self, what) + 1)
        if len(self.faults) < 20:
            self.faults.append(f"{what}: {text}")

    @property
    def clean(self) -> bool:
        return not (self.lost or self.wrong or self.unmountable)

    def add(self, other: Score) -> None:
        """Take in what another run has found."""
        self.cuts += other.cuts
        self.lost += other.lost
        self.wrong += other.wrong
        self.unmountable += other.unmountable
        self.kinds += other.kinds
        self.faults += other.faults[: 20 - len(self.faults)]


class Life:
    """Calls a ring and notes the operations of each call. `model`: what the ring must say after it (`oldest` apart),
    by the arguments alone.
    """

    def __init__(self, geometry: Geometry, flash: Flash, ring: Ring, state: State | None = None) -> None:
        self.geometry, self.flash, self.ring = geometry, flash, ring
        self.moments: list[Moment] = []
        self.model = state or State(0, 0, 0, 1, 0)
        self.durable = state.released if state else 0

    def call(self, verb: Callable, *args: object) -> RingError | None:
        """The RingFull or RingBusy that refused the call, if one did."""
        before = State.of(self.ring) if self.ring.stream else None
        self.flash.operations = []
        refused = None
        try:
            verb(*args)
        except (RingFull, RingBusy) as error:
            refused = error
        operations, self.flash.operations = self.flash.operations, None
        after = State.of(self.ring)
        if refused is None:
            self.expect(verb, *args)
        self.hold_against(after)
        self.moments += [Moment(operation, before, after, self.durable) for operation in operations]
        if operations and not self.ring._head.unsaved:
            self.durable = after.released
        return refused

    def expect(self, verb: Callable, *args: Any) -> None:
        """`verb` was called and not refused."""
        model, ring = self.model, self.ring
        if verb == ring.format:
            model = State(args[0], 0, 0, 1, 0)
        elif verb == ring.append:
            model = replace(model, next=model.next + 1)
        elif verb == ring.append_batch:
            model = replace(model, next=model.next + len(args[0]))
        elif verb == ring.release:
            model = replace(model, released=max(model.released, args[0]))
        elif verb == ring.drop:
            given_up = max(0, args[0] - model.released)
            model = replace(model, released=model.released + given_up, dropped=model.dropped + given_up)
        elif verb == ring.rewind:
            model = replace(model, released=min(model.released, args[0] - 1))
        self.model = model

    def hold_against(self, state: State) -> None:
        """Raises Contradiction where `state` is not what the model says."""
        if replace(state, oldest=self.model.oldest) != self.model:
            raise Contradiction(f"the ring says {state}, expected {self.model}")

    def hold_against_reader(self) -> None:
        """What is in flash by the reader that was written from SPEC.md."""
        state = State.of(self.ring)
        shape = self.geometry
        image = read_ring(bytes(self.flash.cells.data), 0, shape.sectors, shape.sector, shape.unit)
        found = image.stream, image.released, image.next, image.dropped
        records = shape.records(image.records)
        if found != (state.stream, state.released, state.next, state.dropped) or any(
            records.get(seq) != shape.payload(seq) for seq in range(state.oldest, state.next)
        ):
            raise Contradiction(f"the ring says {state}, the reader finds {found} and {len(records)} records")

    def hold_for_good(self, first: int) -> None:
        """What stands from record `first` on is read again, in whatever way the cells read by then."""
        state = State.of(self.ring)
        for _ in range(2):
            again = self.geometry.ring(self.flash)
            again.mount(None, True)
            if replace(State.of(again), oldest=state.oldest, released=state.released) != state:
                raise Contradiction(f"{state}, then {State.of(again)}")
            for seq in range(max(first, state.oldest), state.next):
                try:
                    if again.read(seq) == self.geometry.payload(seq):
                        continue
                except KeyError:
                    pass
                raise Contradiction(f"record {seq} of {state} is not there another time")

    def append(self, reserve: bool = False) -> RingError | None:
        refused = self.call(self.ring.append, self.geometry.payload(self.ring.range()[2]), reserve)
        if isinstance(refused, RingBusy):
            self.call(self.ring.idle)
            refused = self.call(self.ring.append, self.geometry.payload(self.ring.range()[2]), reserve)
        return refused

    def append_batch(self, count: int) -> None:
        first = self.ring.range()[2]
        batch = [self.geometry.payload(first + i) for i in range(count)]
        longest = LARGEST if self.geometry.runs else 255
        while batch and (sum(map(len, batch)) + len(batch) > LARGEST or max(map(len, batch)) > longest):
            batch.pop()
        if batch and isinstance(self.call(self.ring.append_batch, batch), RingBusy):
            self.call(self.ring.idle)
            self.call(self.ring.append_batch, batch)

    def wipe(self) -> None:
        """Make what is released unreadable, a sector a call."""
        steps, fresh = self.ring.erase_released(), len(self.moments)
        oldest, *_ = self.ring.range()
        left: list[object] = [None]
        while left:
            left.clear()
            self.call(lambda: left.extend(["more"] for _ in itertools.islice(steps, 1)))
        for moment in self.moments[fresh:]:
            moment.wiped = oldest

    def boot(self, clean: bool) -> None:
        """Another object on the same cells; without `clean` it does what is done after a cut."""
        hint = self.ring.hint()
        before = State.of(self.ring)
        self.hold_against_reader()
        durable = self.durable
        self.ring = self.geometry.ring(self.flash)
        self.flash.operations = []
        self.ring.mount(hint, clean)
        operations, self.flash.operations = self.flash.operations, None
        after = State.of(self.ring)
        self.hold_against(after)
        self.moments += [Moment(operation, before, after, durable) for operation in operations]


def lived(geometry: Geometry, steps: int = 150) -> Life:
    """Format over an older ring; fill, release one by one, drop, rewind, copy forward, batches; wrap several times,
    with and without idle; restarts of both kinds."""
    rng = random.Random(geometry.unit)
    flash = geometry.flash(rng)
    old = Commit(64)
    old.begin(0, checks.lap_seed(FIRST_LAP))
    old.header(FIRST_LAP, 5, 1, 0, 0)
    old.pad(geometry.unit)
    flash.program(FIRST_LAP % geometry.sectors * geometry.sector, old.data)
    life = Life(geometry, flash, geometry.ring(flash))
    life.call(life.ring.format, STREAM)
    while not life.append():
        pass
    for seq in range(1, 9):
        life.call(life.ring.release, seq)
    for step in range(steps):
        refused = life.append()
        if isinstance(refused, RingFull):
            _, released, end = life.ring.range()
            verb = rng.choice((life.ring.release, life.ring.drop, None))
            if verb is None:  # as the policy of alerts does it
                for _ in range(2):
                    life.append(True)
                life.call(life.ring.drop, refused.seq)
            else:
                life.call(verb, min(end - 1, released + rng.randrange(1, 20)))
        if step % 5 == 4:
            life.call(life.ring.idle)
        if step % 4 == 1:
            _, released, end = life.ring.range()
            life.call(life.ring.release, min(end - 1, released + rng.randrange(4)), rng.random() < 0.5)
        if step % 6 == 3:
            life.append_batch(rng.randrange(2, 9))
        if step % 7 == 6:
            life.call(life.ring.idle)  # saves a cursor that waits
            life.boot(clean=step % 2 == 0)
        if step % 23 == 22:
            life.wipe()
        if step % 17 == 16:
            oldest, released, _ = life.ring.range()
            if released >= oldest:
                life.call(life.ring.rewind, rng.randrange(oldest, released + 1))
    return life


def check(geometry: Geometry, flash: Flash, moment: Moment, score: Score, name: str) -> Ring | None:
    """Mount after a cut at `moment` and hold the ring against what was promised. None: it says that there was no ring
    yet, or it failed."""
    score.cuts += 1
    before, after = moment.before, moment.after
    made = geometry.ring(flash)
    try:
        made.mount()
        flash.misread = -1
        state = State.of(made)
    except NoRing as error:
        if before is not None:
            score.fault("unmountable", f"{name}: {error}")
        return None
    except (RingError, ValueError, IndexError, KeyError) as error:
        score.fault("unmountable", f"{name}: {error!r}")
        return None
    if before is None and state.stream != STREAM:
        return None  # the older ring
    faults = _faults(geometry, made, state, before, after, moment.durable, moment.wiped)
    for what, text in faults:
        score.fault(what, f"{name}: {text}")
    # What it has said holds, however often the cells are read.
    again = geometry.ring(flash)
    again.mount(made.hint(), True)
    said = State.of(again)
    if moment.wiped is not None and said.oldest <= said.released + 1:
        said = replace(said, oldest=state.oldest)
    if said != state and not faults:
        score.fault("wrong", f"{name}: {state}, then {State.of(again)}")
    return None if faults else made


def _faults(
    geometry: Geometry, made: Ring, state: State, before: State | None, after: State, durable: int, wiped: int | None
) -> list[tuple[str, str]]:
    faults: list[tuple[str, str]] = []
    expected = [each for each in (before, after) if each]
    if state.next < min(each.next for each in expected):
        faults.append(("lost", f"{state}, expected {before} or {after}"))
    elif (state.stream, state.next) not in [(each.stream, each.next) for each in expected]:
        faults.append(("wrong", f"{state}, expected {before} or {after}"))
    drops = [each.dropped for each in expected]
    # A sector may have been freed by the very call that opens it: what it gives up may be gone already, and counts.
    frees = before is not None and after.oldest > before.released + 1
    if frees and before:
        drops = range(before.dropped, max(after.dropped, before.dropped + after.oldest - 1 - durable) + 1)
    if not state.oldest <= state.released + 1 <= state.next or state.dropped not in drops:
        faults.append(("wrong", f"{state}, expected {before} or {after}"))
    if frees:
        given_up, cursors = after.released, range(durable, after.released + 1)
        oldest = range(before.oldest if before else 1, after.oldest + 1)
    else:
        given_up, cursors = 0, [durable, *(each.released for each in expected)]
        oldest = [each.oldest for each in expected]
    if wiped is not None:
        given_up, oldest = after.released, range(wiped, after.released + 2)
    if made._head.first == made._head.next and state.released in cursors:
        # To make what it has read of a torn cursor hold, a mount may open a sector in the place of released records.
        oldest = range(min(oldest), state.released + 2)
    if state.released not in cursors or state.oldest not in oldest:
        what = "lost" if state.oldest > max(oldest) else "wrong"
        faults.append((what, f"{state}, expected {before} or {after}, released in {list(cursors)[:5]}"))
    for seq in range(state.oldest, state.next):
        try:
            if made.read(seq) != geometry.payload(seq):
                faults.append(("wrong", f"record {seq} of {state}"))
        except KeyError as error:
            if seq > given_up:
                faults.append(("lost", f"{error} of {state}"))
        except (IndexError, ValueError) as error:
            faults.append(("wrong", f"record {seq}: {error!r} of {state}"))
    return faults


def recover(geometry: Geometry, flash: Flash, made: Ring) -> list[Moment]:
    """What a node does next: sleep, perhaps; append twice, idle, release, append. Returns the moments of it."""
    life = Life(geometry, flash, made, State.of(made))
    first = life.ring.range()[1] + 1
    if flash.rng.random() < 0.5:
        life.boot(clean=True)
    for step in range(3):
        refused = life.append()
        if isinstance(refused, RingFull):
            life.call(life.ring.release, life.ring.range()[1] + 1)
        for _ in range(2):
            if not isinstance(refused, RingFull):
                break
            if life.call(life.ring.drop, refused.seq):
                raise RingError("no way out of a full ring")
            refused = life.append()
        if refused:
            raise RingError(f"no room after what was asked for: {refused}")
        if step == 1:
            life.call(life.ring.idle)
            life.call(life.ring.release, life.ring.range()[2] - 2)
    life.hold_for_good(first)
    return life.moments


def following_of(geometry: Geometry, flash: Flash, cut: Moment) -> list[Moment]:
    """The moments of what follows `cut`: the mount, which has told nobody anything before it returns, and what a node
    does next.
    """
    flash.operations = []
    made = geometry.ring(flash)
    made.mount()
    operations, flash.operations = flash.operations, None
    mounting = [Moment(operation, cut.before, cut.after, cut.durable) for operation in operations]
    following = mounting + recover(geometry, flash, made)
    for moment in following:
        moment.wiped = cut.wiped
    return following


def torture(geometry: Geometry, share: float, part: int = 0, parts: int = 1) -> Iterator[tuple[int, int, Score]]:
    """Yields (operations done, operations in all, the score so far) after each operation of this part of `parts` of the
    life.

    `share`: of the first cuts after which what follows is cut, too, and of the ways to cut that.
    """
    moments = lived(geometry).moments[part::parts]
    unit = geometry.unit
    score = Score()
    for number, moment in enumerate(moments):
        rng = random.Random(f"{unit} {part} {number}")
        kind = "erase" if moment.operation.erase else "program"
        for mode, cells in moment.operation.torn(rng):
            flash = geometry.flash(random.Random(rng.random()), cells.copy())
            score.kinds[f"{kind}, {mode}"] += 1
            name = f"unit {unit}, operation {number * parts + part} ({kind}, {mode})"
            made = check(geometry, flash, moment, score, name)
            for read in rng.sample(range(14), 2) if mode in ("nothing", "all", "done") else ():
                flash = geometry.flash(random.Random(rng.random()), cells.copy(), read)
                check(geometry, flash, moment, score, f"{name}, read {read} at mount misread")
                score.kinds["a misread at mount"] += flash.misreads
            if made is None or rng.random() >= share:
                continue
            torn = geometry.flash(random.Random(rng.random()), cells)
            try:
                # With loose bits another mount may see the other outcome: what it then does is judged by what it saw.
                following = following_of(geometry, torn, moment)
            except RingError as error:
                score.fault("lost", f"{name}: {error}")
                continue
            except Contradiction as error:
                score.fault("wrong", f"{name}: {error}")
                continue
            for second, later in enumerate(following):
                for again, cells2 in later.operation.torn(rng):
                    if rng.random() >= share:
                        continue
                    score.kinds[f"second: {again}"] += 1
                    check(geometry, geometry.flash(random.Random(rng.random()), cells2), later, score,
                          f"{name}, then {second} ({again})")  # fmt: skip
        yield number + 1, len(moments), score
