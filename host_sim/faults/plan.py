"""Which faults strike when: drawn from a named set and the seed before the run, by simulated time."""

import random
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_sim.faults import kinds
from host_sim.faults.kinds import KINDS, Kind
from host_sim.faults.stage import STAGES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports] -- installed below 3.11 only

SETS = Path(__file__).with_name("sets")
_KEYS = {"kind", "times", "at", "lasts", "size", "together", "stage"}
_STAGED = {kinds.CONN_RESET, kinds.CONN_CLOSE, kinds.HALF_OPEN, kinds.STALL, kinds.DRIP, kinds.SLOW}
_QUIET_END_S = 4 * 3600  # what strikes late must still be seen to heal
_TRIES = 20  # draws of an outage that lies within none; a run that is too short for it has to do with the last


class FaultSetError(ValueError):
    """A set of faults that cannot be used; says which file, which entry, and what to do."""


@dataclass(frozen=True)
class Fault:
    """Strikes `count` events (`Kind.reach`) after `at_us`, simulated microseconds. `node` is empty for the cloud end,
    `lasts_us` and `size` are as drawn. With a `stage` it strikes at the first data of that, not by `count`.
    """

    at_us: int
    kind: str
    node: str = ""
    lasts_us: int = 0
    count: int = 0
    size: int = 0
    stage: str = ""

    def line(self, start_ms: int) -> str:
        """Day and time of a run that began at `start_ms`, kind, whom it hits, what it does."""
        day, seconds = divmod(self.at_us // 1_000_000 - start_ms // 1000, 86400)
        when = f"day {day + 1} {seconds // 3600:02}:{seconds // 60 % 60:02}"
        return f"{when}  {self.kind:<11}  {self.node or 'cloud end':<16}  {self}"

    def __str__(self) -> str:
        lasts = f", {self.lasts_us / 60e6:.0f} min" if self.lasts_us >= 120e6 else ""
        lasts = lasts or (f", {self.lasts_us / 1e6:.0f} s" if self.lasts_us else "")
        size = {kinds.CLOCK_JUMP: f" by {self.size:+d} s", kinds.BROWN_OUT: f", {self.size} times"}.get(self.kind, "")
        stage = f", at {self.stage}" if self.stage else ""
        return f"{KINDS[self.kind].text}{size}{lasts}{stage}"


@dataclass(frozen=True)
class Entry:
    """One entry of a set. `times`: on each node, or on the cloud end. `at`: seconds from the start, None for drawn.
    `together`: all nodes at the same moment. `stage`: how far a connection must have come, "" for anywhere.
    """

    kind: str
    times: int = 1
    at: float | None = None
    lasts: tuple[float, float] = (0, 0)
    size: tuple[int, int] = (0, 0)
    together: bool = False
    stage: str = ""


def names() -> list[str]:
    """The sets that come with the project."""
    return sorted(path.stem for path in SETS.glob("*.toml"))


def load(name: str) -> list[Entry]:
    """The entries of a named set, or of the set in the file `name`. Raises FaultSetError."""
    path = SETS / f"{name}.toml" if name in names() else Path(name)
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise FaultSetError(
            f"faults {name}: {error.strerror or error}; give one of {', '.join(names())}, or a file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FaultSetError(f"{path}: {error}") from error
    entries = table.pop("fault", [])
    if table or not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise FaultSetError(f"{path}: holds something else than [[fault]] entries: {', '.join(table) or 'fault'}")
    return [_entry(f"{path}: fault {number}", each) for number, each in enumerate(entries, 1)]


def _entry(where: str, table: dict[str, Any]) -> Entry:
    if unknown := set(table) - _KEYS:
        raise FaultSetError(f"{where}: unknown {', '.join(sorted(unknown))}; known are {', '.join(sorted(_KEYS))}")
    kind = table.get("kind")
    if kind not in KINDS:
        raise FaultSetError(f"{where}: kind {kind!r} is none of {', '.join(KINDS)}")
    if table.get("together") and KINDS[kind].hits != kinds.NODE:
        raise FaultSetError(f"{where}: {kind} hits the cloud end, there is no together")
    stage = table.get("stage", "")
    if stage and (kind not in _STAGED or stage not in STAGES):
        raise FaultSetError(f"{where}: stage {stage!r} is none of {', '.join(STAGES)}, or {kind} has no stages")
    at = table.get("at")
    if at is not None:
        (at,) = _numbers(where, "at", [at])
    (times,) = _numbers(where, "times", [table.get("times", 1)])
    lasts = _numbers(where, "lasts", table.get("lasts", list(KINDS[kind].lasts)))
    size = table.get("size", list(KINDS[kind].size))
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(each, int) for each in size):
        raise FaultSetError(f"{where}: size must be [least, most], whole numbers")
    if len(lasts) != 2 or lasts[0] > lasts[1] or size[0] > size[1]:
        raise FaultSetError(f"{where}: a range is [least, most]")
    together = bool(table.get("together"))
    return Entry(kind, int(times), at, (lasts[0], lasts[1]), (size[0], size[1]), together, stage)


def _numbers(where: str, key: str, values: Any) -> list[float]:
    listed = values if isinstance(values, list) else [values]
    for value in listed:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise FaultSetError(f"{where}: {key} = {value!r} is no number from 0 up")
    return listed


def draw(entries: Iterable[Entry], seed: int, nodes: Sequence[str], start_us: int, end_us: int) -> list[Fault]:
    """The plan of a run from `start_us` to `end_us`, in order of time; the same seed gives the same plan."""
    dice = random.Random(f"{seed} faults")
    last = max(start_us + 1, end_us - min(_QUIET_END_S * 1_000_000, (end_us - start_us) // 4))
    faults: list[Fault] = []
    for entry in sorted(entries, key=lambda each: each.at is None):  # those with a moment of their own come first
        kind = KINDS[entry.kind]
        groups = [[node] for node in nodes] if kind.hits == kinds.NODE else [[""]]
        if entry.together:
            groups = [list(nodes)]
        for group in groups:
            for _ in range(entry.times):
                for _ in range(_TRIES):
                    at = dice.randrange(start_us, last) if entry.at is None else start_us + int(entry.at * 1e6)
                    lasts, size = int(dice.uniform(*entry.lasts) * 1e6), _size(dice, kind, entry)
                    drawn = [
                        Fault(at, entry.kind, node, lasts, dice.randrange(kind.reach), size, entry.stage)
                        for node in group
                    ]
                    if entry.at is not None or not any(_hidden(each, faults) for each in drawn):
                        break
                faults += drawn
    return sorted((fault for fault in faults if fault.at_us < end_us), key=lambda fault: (fault.at_us, fault.node))


def kills(seed: int, count: int, nodes: Sequence[str], start_us: int, end_us: int) -> list[Fault]:
    """`count` processes killed at any moment; two in three are nodes, and half of those in a flash operation."""
    dice = random.Random(f"{seed} kills")
    chosen = (kinds.NODE_KILL, kinds.POWER_CUT, kinds.NODE_KILL, kinds.POWER_CUT, kinds.INGEST_KILL, kinds.BROKER_KILL)
    faults = []
    for at in sorted(dice.randrange(start_us, end_us) for _ in range(count)):
        kind = dice.choice(chosen)
        node = dice.choice(nodes) if KINDS[kind].hits == kinds.NODE else ""
        faults.append(Fault(at, kind, node, count=dice.randrange(KINDS[kind].reach)))
    return faults


def _hidden(fault: Fault, others: Iterable[Fault]) -> bool:
    """True where the node would have no Wi-Fi anyway: an outage within an outage shows nothing."""
    return fault.kind == kinds.WIFI_OUT and any(
        (other.kind, other.node) == (fault.kind, fault.node)
        and fault.at_us < other.at_us + other.lasts_us
        and other.at_us < fault.at_us + fault.lasts_us
        for other in others
    )


def _size(dice: random.Random, kind: Kind, entry: Entry) -> int:
    """Never 0 where the kind has a size at all: a jump by nothing is none."""
    size = dice.randint(*entry.size)
    return size or (kind.size[1] and entry.size[1])
