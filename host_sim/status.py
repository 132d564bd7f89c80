"""How a run goes, as plain data: what every view of it shows."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from host_sim.boot import State
from host_sim.plan import START_MS, Plan
from host_sim.world.served import Served

LINGER_S = 1.0  # an outage of simulated minutes may last 10 ms of real time: nobody would see it go by


class Strike(NamedTuple):
    """A fault has struck `node`, or, where that is empty, the cloud end. True simulated Unix milliseconds."""

    t_ms: int
    kind: str
    node: str
    text: str


@dataclass(frozen=True)
class NodeStatus:
    """A node at `at_ms` of its own simulated time, which may be ahead of the others'. `taken`, `acknowledged` and
    `missed` count readings.

    `taken`         what the world served.
    `acknowledged`  what the cloud has committed.
    `missed`        moments that passed unmeasured: where two values of a channel, or the last one and now, lie about k
                    intervals apart, k - 1. Seen from outside; a clock that was set may look so, too. The ledger's
                    verdict at the end is the truth.
    `alerts`        records of ring A that the cloud has committed.
    `faults`        kinds of those that have struck and are not over, for it or for the cloud end.
    """

    name: str
    board: str
    at_ms: int
    state: State
    taken: int
    acknowledged: int
    missed: int
    alerts: int
    faults: tuple[str, ...]

    @property
    def stored(self) -> int:
        """Readings that are still with the node alone, and the few it was served but lost before they were recorded."""
        return max(0, self.taken - self.acknowledged)


@dataclass(frozen=True)
class Status:
    """A run at `at_ms` of simulated time, which is the slowest node's. `share` of it is done, 0..1; `real_s` seconds
    since the nodes were powered. `strikes`: all so far, in the order in which they struck.
    """

    share: float
    real_s: float
    at_ms: int
    nodes: tuple[NodeStatus, ...]
    strikes: tuple[Strike, ...]

    @property
    def left_s(self) -> float | None:
        """Real seconds to go at the pace so far; None while it is too early to tell."""
        return self.real_s * (1 - self.share) / self.share if self.share >= 0.02 else None


class Seen(Protocol):
    """What is asked of a node: `last_seen` in true simulated microseconds, and its state."""

    last_seen: int

    @property
    def state(self) -> State: ...


class _Watch:
    """What was seen of one node."""

    def __init__(self, board: str, intervals: dict[tuple[str, str], int]) -> None:
        self.board = board
        self.intervals = intervals  # ms by (sensor, channel)
        self.last: dict[tuple[str, str], int] = {}
        self.taken = self.acknowledged = self.missed = self.alerts = 0
        self.off_s: float | None = None  # real time at which the supply was lost

    def powered(self, t_ms: int) -> None:
        """The first reading is due at the first boot."""
        if not self.last:
            self.last = dict.fromkeys(self.intervals, t_ms)

    def served(self, t_ms: int, sensor: str, channel: str) -> None:
        key = (sensor, channel)
        self.taken += 1
        self.missed += self._between(key, t_ms)
        self.last[key] = t_ms

    def missed_until(self, t_ms: int) -> int:
        return self.missed + sum(self._between(key, t_ms) for key in self.last)

    def _between(self, key: tuple[str, str], t_ms: int) -> int:
        """Slots between the last value and `t_ms`, give or take half an interval."""
        interval = self.intervals[key]
        return max(0, (2 * (t_ms - self.last.get(key, t_ms)) - interval) // (2 * interval))


class Collector:
    """Is told what happens and says how it stands. `monotonic` reads real seconds."""

    def __init__(self, plan: Plan, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._end_ms = plan.end_ms
        self._monotonic = monotonic
        self._began = monotonic()
        self._strikes: list[Strike] = []
        self._active: list[tuple[str, str, float | None]] = []  # kind, node, real time at which it may be forgotten
        self._watches: dict[str, _Watch] = {}
        for member in plan.members:
            settings = member.node_file.settings(member.name)
            every = {sensor["name"]: 1000 * sensor["interval"] for sensor in settings["sensors"]}
            channels = [tuple(name.split(".", 1)) for _, name, _, _ in settings["channels"]]
            intervals = {(sensor, channel): every[sensor] for sensor, channel in channels}
            self._watches[member.name] = _Watch(member.board.name, intervals)

    def begin(self) -> None:
        """The nodes are powered now: real time counts from here."""
        self._began = self._monotonic()

    def tap(self, node: str, served: Served) -> Served:
        """A `Served` that counts for the node and passes on."""
        watch = self._watches[node]

        def tapped(t_ms: int, sensor: str, channel: str, value: int, exponent: int) -> None:
            watch.served(t_ms, sensor, channel)
            served(t_ms, sensor, channel, value, exponent)

        return tapped

    def noted(self, node: str, at_us: int, event: str) -> None:
        """What the node's power log was told: on, wake, sleep, off."""
        watch = self._watches[node]
        if event == "on":
            watch.powered(at_us // 1000)
        elif event == "off":
            watch.off_s = self._monotonic()

    def committed(self, commit: Mapping[str, Any]) -> None:
        """A line of `cloud tail --json`."""
        watch = self._watches.get(commit["node"])
        if watch is not None:
            watch.acknowledged += commit["readings"]
            watch.alerts += commit["ring"] == 1

    def struck(self, t_ms: int, kind: str, node: str, text: str) -> None:
        """A fault strikes the node, or, where that is empty, the cloud end."""
        self._strikes.append(Strike(t_ms, kind, node, text))
        self._active.append((kind, node, None))

    def over(self, kind: str, node: str) -> None:
        """The oldest fault of that kind that is not over is over; ValueError if there is none."""
        forget = self._monotonic() + LINGER_S
        index = self._active.index((kind, node, None))
        self._active[index] = (kind, node, forget)

    def status(self, nodes: Mapping[str, Seen], done: bool = False) -> Status:
        """How it stands, `nodes` by name. A lost supply, and a fault that is over, show for LINGER_S longer."""
        now = self._monotonic()
        self._active = [each for each in self._active if each[2] is None or each[2] > now]
        at_ms = max(START_MS, min((node.last_seen for node in nodes.values()), default=0) // 1000)
        share = 1.0 if done else min(1.0, (at_ms - START_MS) / (self._end_ms - START_MS))
        found = tuple(self._node(name, node, now) for name, node in nodes.items())
        return Status(share, now - self._began, self._end_ms if done else at_ms, found, tuple(self._strikes))

    def _node(self, name: str, node: Seen, now: float) -> NodeStatus:
        watch = self._watches[name]
        at_ms = max(START_MS, node.last_seen // 1000)
        off = watch.off_s is not None and now < watch.off_s + LINGER_S
        faults = tuple(dict.fromkeys(kind for kind, whose, _ in self._active if whose in ("", name)))
        return NodeStatus(
            name, watch.board, at_ms, "off" if off else node.state, watch.taken, watch.acknowledged,
            watch.missed_until(at_ms), watch.alerts, faults,
        )  # fmt: skip
