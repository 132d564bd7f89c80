"""The files of a finished run as the report needs them. Times are simulated Unix milliseconds."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tools.boards import ENDURANCE

_YEAR_MS = 365.25 * 86_400_000

Parsed = TypeVar("Parsed")


class ReportError(ValueError):
    """A file of the run is missing or wrong; one line with the file, the place and what is wrong."""


class Point(NamedTuple):
    """A value of a channel, in its unit."""

    t_ms: int
    value: float


class Power(NamedTuple):
    """A power event: on (a boot with `reason`), wake, sleep or off."""

    t_ms: int
    event: str
    reason: str


class Contact(NamedTuple):
    """The radio from join to end; `open_ms` is None where no socket was opened."""

    join_ms: int
    open_ms: int | None
    end_ms: int
    bytes_up: int
    bytes_down: int


class Arrival(NamedTuple):
    """A record as the cloud committed it, at true simulated time; `readings` is 0 for an event."""

    t_ms: int
    ring: int
    readings: int
    bytes: int


class Fault(NamedTuple):
    """A fault of the plan as it struck. `node` is empty for the cloud end or everybody; `until_ms` is `t_ms` for an
    instant."""

    t_ms: int
    until_ms: int
    kind: str
    node: str
    detail: str


@dataclass(frozen=True)
class Wear:
    """What the flash went through: erases of each sector of the whole chip, and all bytes programmed; and by ring how
    many years its sectors should last by the node file (tools/wear.py), empty in a run that did not say."""

    erases: list[int]
    programmed_bytes: int
    projected_years: dict[str, float]


@dataclass
class Channel:
    """A channel: what the world served and what the database holds, each in order of time. `untimed` counts readings
    of the database that have no time yet."""

    name: str
    unit: str
    interval_ms: int
    world: list[Point] = field(default_factory=list)
    database: list[Point] = field(default_factory=list)
    untimed: int = 0


@dataclass
class Node:
    """A node of the run. `contacts` and `wear` are None where the run did not write them."""

    name: str
    board: str
    channels: list[Channel]
    rings: dict[str, list[int]]
    power: list[Power]
    arrivals: list[Arrival]
    contacts: list[Contact] | None
    wear: Wear | None

    def ring_erases(self, ring: str) -> list[int]:
        """How often each sector of a ring was erased, in the ring's order; empty where the wear is unknown."""
        return [self.wear.erases[sector] for sector in self.rings[ring]] if self.wear is not None else []

    def ring_years(self, ring: str, span_ms: int) -> float | None:
        """How long the sectors of a ring last if they go on as in these `span_ms`; None where none was erased."""
        erases = self.ring_erases(ring)
        return ENDURANCE * len(erases) * span_ms / sum(erases) / _YEAR_MS if sum(erases) else None


@dataclass
class Run:
    """A whole run but for its ledger. `faults`, `seconds` (real) and `fault_set` are None where the run did not write
    them; `notes` names each file that is missing, a line each."""

    folder: Path
    start_ms: int
    end_ms: int
    seed: int
    seconds: float | None
    fault_set: str | None
    nodes: list[Node]
    faults: list[Fault] | None
    notes: list[str]

    @property
    def days(self) -> float:
        """Simulated days."""
        return (self.end_ms - self.start_ms) / 86_400_000


KINDS = {
    "power_cut": "power", "brown_out": "power", "node_kill": "power",
    "wifi_out": "network", "conn_reset": "network", "stall": "network", "drip": "network", "slow": "network",
    "dns_out": "network", "refused": "network", "conn_close": "network", "half_open": "network",
    "broker_kill": "cloud", "ingest_kill": "cloud", "auth_kill": "cloud", "db_locked": "cloud",
    "disk_full": "cloud",
    "clock_jump": "clock",
}  # fmt: skip
"""Every kind of fault and its family, by which the report colours it."""


def read_json(path: Path) -> Any:
    """The JSON of a file. Raises ReportError."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ReportError(f"{path}: no JSON: {error}") from error


def _rows(path: Path, columns: str, parse: Callable[..., Parsed]) -> Iterator[Parsed]:
    """Each line of a CSV file through `parse`, whose arguments are the columns."""
    line = 1
    try:
        with path.open(newline="") as file:
            reader = csv.reader(file)
            if (found := next(reader, None)) != columns.split(","):
                raise ReportError(f"{path}:1: the columns are {','.join(found or []) or 'missing'}, not {columns}")
            for row in reader:
                line += 1
                yield parse(*row)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    except (TypeError, ValueError) as error:
        if isinstance(error, ReportError):
            raise
        raise ReportError(f"{path}:{line}: {error}") from error


def _fault(t_ms: str, until_ms: str, kind: str, node: str, detail: str) -> Fault:
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    return Fault(int(t_ms), int(until_ms), kind, node, detail)


def _contact(join: str, opened: str, end: str, up: str, down: str) -> Contact:
    return Contact(int(join), int(opened) if opened else None, int(end), int(up), int(down))


def _seconds(text: str) -> int | None:
    """Unix seconds of `2026-06-01T00:00:12Z`; None for an empty text."""
    if not text:
        return None
    return int(datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=timezone.utc).timestamp())


def _sectors(place: Sequence[int] | dict[str, list[int]]) -> list[int]:
    """Of [first, count], or of {"sectors": [..]} where they are not side by side."""
    if isinstance(place, dict):
        return place["sectors"]
    first, count = place
    return list(range(first, first + count))


def _channels(home: Path, data: dict[str, Any]) -> list[Channel]:
    intervals = {sensor["name"]: 1000 * sensor["interval"] for sensor in data["sensors"]}
    channels = {
        name: Channel(name, unit, intervals[name.partition(".")[0]]) for _, name, unit, _ in data["channels"]
    }  # fmt: skip

    def served(t_ms: str, sensor: str, channel: str, value: str, exponent: str) -> None:
        name = f"{sensor}.{channel}"
        if name not in channels:
            raise ValueError(f"no channel {name} in run.json")
        channels[name].world.append(Point(int(t_ms), int(value) * 10.0 ** int(exponent)))

    def held(time: str, name: str, value: str, _unit: str, _quality: str) -> None:
        if name not in channels:
            raise ValueError(f"no channel {name} in run.json")
        at = _seconds(time)
        if at is None:
            channels[name].untimed += 1
        else:
            channels[name].database.append(Point(1000 * at, float(value)))

    for _ in _rows(home / "served.csv", "t_ms,sensor,channel,value,exponent", served):
        pass
    for _ in _rows(home / "database.csv", "time,channel,value,unit,quality", held):
        pass
    for channel in channels.values():
        channel.world.sort()
        channel.database.sort()
    return list(channels.values())


def _wear(path: Path) -> Wear:
    data = read_json(path)
    try:
        years = {ring: float(years) for ring, years in data.get("projected_years", {}).items()}
        return Wear([int(count) for count in data["erases"]], int(data["programmed_bytes"]), years)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ReportError(f"{path}: erases and programmed_bytes are not there as numbers: {error!r}") from error


def _power(t_ms: str, event: str, reason: str) -> Power:
    return Power(int(t_ms), event, reason)


def _arrival(
    t_ms: str, node: str, ring: str, _stream: str, _seq: str, readings: str, size: str
) -> tuple[str, Arrival]:  # fmt: skip
    return node, Arrival(int(t_ms), int(ring), int(readings), int(size))


def true_time(t_ms: int, cloud_clock: Sequence[Sequence[int]]) -> int:
    """When it was that the cloud's clock showed `t_ms`; `cloud_clock` says from when on it was wrong by how much, (ms,
    ms) in order. Of two moments the later one: a clock that was set back is read in the contact that saw it set.
    """
    for since, wrong in reversed(cloud_clock):
        if t_ms - wrong >= since:
            return t_ms - wrong
    return t_ms


def load(folder: Path) -> Run:
    """Everything but the ledger. Raises ReportError.

    `faults.csv`, and of a node `contacts.csv` and `wear.json`, may be missing: then `Run.notes` says so.
    """
    path = folder / "run.json"
    data = read_json(path)
    notes: list[str] = []

    def there(path: Path, what: str) -> bool:
        if not path.exists():
            notes.append(f"{path.relative_to(folder)} is missing: {what} not shown")
        return path.exists()

    faults = None
    if there(folder / "faults.csv", "faults are"):
        faults = sorted(_rows(folder / "faults.csv", "t_ms,until_ms,kind,node,detail", _fault))
    arrivals: dict[str, list[Arrival]] = {}
    columns = "t_ms,node,ring,stream,seq,readings,bytes"
    for name, arrival in _rows(folder / "arrivals.csv", columns, _arrival):
        arrival = arrival._replace(t_ms=true_time(arrival.t_ms, data.get("cloud_clock", [])))
        arrivals.setdefault(name, []).append(arrival)
    try:
        nodes = []
        for entry in data["nodes"]:
            home = folder / "nodes" / entry["name"]
            contacts = wear = None
            if there(home / "contacts.csv", "contacts of this node are"):
                path = home / "contacts.csv"
                contacts = sorted(_rows(path, "join_ms,open_ms,end_ms,bytes_up,bytes_down", _contact))
            if there(home / "wear.json", "the flash wear of this node is"):
                path = home / "wear.json"
                wear = _wear(path)
                last = max((sector for place in entry["rings"].values() for sector in _sectors(place)), default=-1)
                if last >= len(wear.erases):
                    raise ReportError(f"{path}: erases of {len(wear.erases)} sectors, but a ring has sector {last}")
            path = folder / "run.json"
            nodes.append(
                Node(
                    name=entry["name"],
                    board=entry["board"],
                    channels=_channels(home, entry),
                    rings={name: _sectors(place) for name, place in entry["rings"].items()},
                    power=list(_rows(home / "power.csv", "t_ms,event,reason", _power)),
                    arrivals=sorted(arrivals.get(entry["name"], [])),
                    contacts=contacts,
                    wear=wear,
                )
            )
        start, end, seed = data["start_ms"], data["end_ms"], data["seed"]
    except KeyError as error:
        raise ReportError(f"{path}: {error} is missing") from error
    names = {"", *(node.name for node in nodes)}
    for fault in faults or []:
        if fault.node not in names:
            raise ReportError(f"{folder / 'faults.csv'}: no node {fault.node} in run.json")
    return Run(folder, start, end, seed, data.get("seconds"), data.get("faults"), nodes, faults, notes)


def load_ledger(folder: Path) -> dict[str, Any]:
    """The ledger of the run, as `Ledger.to_json` wrote it. Raises ReportError."""
    path = folder / "ledger.json"
    ledger = read_json(path)
    if not isinstance(ledger, dict) or not {"balanced", "totals", "nodes"} <= ledger.keys():
        raise ReportError(f"{path}: balanced, totals or nodes is missing")
    return ledger
