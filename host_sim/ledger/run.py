"""The run folder as the world left it: what every node should have measured, what it was served, when it
had power."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

POWER_EVENTS = ("on", "wake", "sleep", "off")


class RunError(ValueError):
    """An input of the ledger is missing or wrong; says which file and where."""


class Served(NamedTuple):
    """One value that the world served: true simulated Unix milliseconds; value x 10^exponent in the
    channel's unit."""

    t_ms: int
    value: int
    exponent: int


class Power(NamedTuple):
    """One power event. `on` is a boot other than a deep-sleep wake; after `off` there is no power until the
    next `on`."""

    t_ms: int
    event: str


class Segment(NamedTuple):
    """A life of the node from one boot to the next or to power-off: [on, end), Unix milliseconds. Sleep
    belongs to it."""

    on: int
    end: int


@dataclass
class Channel:
    """A channel with what it was served, in order of time. `sensor_index` is the sensor's place in the
    settings."""

    id: int
    name: str
    exponent: int
    interval_ms: int
    sensor_index: int
    served: list[Served] = field(default_factory=list)


@dataclass
class Node:
    """A node of the run. `rings` are the sectors in order by name; `image` is its flash, None where there
    is none."""

    name: str
    channels: list[Channel]
    power: list[Power]
    segments: list[Segment]
    rings: dict[str, Sequence[int]]
    sector_size: int
    granularity: int
    window_s: int  # how long a start that is no wake waits before its first reading
    image: bytes | None


@dataclass
class Run:
    """A whole run; start and end are true simulated Unix milliseconds. `cloud_clock`: from when on the cloud's clock,
    which sets the nodes', was wrong by how much, (ms, ms) in order.
    """

    start_ms: int
    end_ms: int
    seed: int
    nodes: list[Node]
    cloud_clock: list[tuple[int, int]]


def _power(path: Path, end_ms: int) -> tuple[list[Power], list[Segment]]:
    events: list[Power] = []
    with path.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), 2):
            event = Power(int(row["t_ms"]), row["event"])
            if event.event not in POWER_EVENTS:
                raise RunError(f"{path}:{line}: event {event.event!r} is none of {', '.join(POWER_EVENTS)}")
            if events and event.t_ms < events[-1].t_ms:
                raise RunError(f"{path}:{line}: time goes back from {events[-1].t_ms} to {event.t_ms}")
            if event.event != "on" and (not events or events[-1].event == "off"):
                raise RunError(f"{path}:{line}: {event.event} while there is no power")
            events.append(event)
    edges = [event for event in events if event.event in ("on", "off")] + [Power(end_ms, "off")]
    segments = [
        Segment(edge.t_ms, after.t_ms)
        for edge, after in zip(edges, edges[1:], strict=False)
        if edge.event == "on" and after.t_ms > edge.t_ms
    ]
    return events, segments


def _fill_served(path: Path, channels: dict[tuple[str, str], Channel]) -> None:
    with path.open(newline="") as file:
        reader = csv.reader(file)
        if next(reader, None) != ["t_ms", "sensor", "channel", "value", "exponent"]:
            raise RunError(f"{path}:1: the columns are not t_ms,sensor,channel,value,exponent")
        for line, (t_ms, sensor, name, value, exponent) in enumerate(reader, 2):
            channel = channels.get((sensor, name))
            if channel is None:
                raise RunError(f"{path}:{line}: no channel {sensor}.{name} in run.json")
            channel.served.append(Served(int(t_ms), int(value), int(exponent)))
    for channel in channels.values():
        channel.served.sort(key=lambda served: served.t_ms)


def _node(folder: Path, data: dict[str, Any], end_ms: int) -> Node:
    sensors = {sensor["name"]: (index, sensor["interval"]) for index, sensor in enumerate(data["sensors"])}
    channels = {}
    for number, name, _, exponent in data["channels"]:
        sensor, _, short = name.partition(".")
        if sensor not in sensors:
            raise RunError(f"run.json: channel {name} of {data['name']} belongs to no sensor")
        index, interval = sensors[sensor]
        channels[sensor, short] = Channel(number, name, exponent, 1000 * interval, index)
    home = folder / "nodes" / data["name"]
    power, segments = _power(home / "power.csv", end_ms)
    _fill_served(home / "served.csv", channels)
    return Node(
        name=data["name"],
        channels=list(channels.values()),
        power=power,
        segments=segments,
        rings={name: _sectors(place) for name, place in data["rings"].items()},
        sector_size=data.get("sector_size", 4096),
        granularity=data.get("granularity", 1),
        window_s=data.get("window_s", 0),
        image=(folder / data["image"]).read_bytes() if data.get("image") else None,
    )


def _sectors(place: list[int] | dict[str, list[int]]) -> Sequence[int]:
    """Of [first, count], or of {"sectors": [..]} where they are not side by side."""
    if isinstance(place, dict):
        return place["sectors"]
    first, count = place
    return range(first, first + count)


def load_run(folder: Path) -> Run:
    """Reads `run.json` of the folder and, of every node, `served.csv`, `power.csv` and the flash image.

    Raises RunError with the file and the place.
    """
    path = folder / "run.json"
    try:
        data = json.loads(path.read_text())
        nodes = [_node(folder, node, data["end_ms"]) for node in data["nodes"]]
        cloud_clock = [(at, by) for at, by in data.get("cloud_clock", [])]
        return Run(data["start_ms"], data["end_ms"], data["seed"], nodes, cloud_clock)
    except OSError as error:
        raise RunError(f"{error.filename}: {error.strerror}") from error
    except KeyError as error:
        raise RunError(f"{path}: {error} is missing") from error
