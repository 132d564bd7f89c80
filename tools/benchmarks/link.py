"""What the link is worth: how soon an alarm is out before a backlog, what a connection moves, what a contact costs.

Everything is real but the way: the firmware's own uplink, session and MQTT client in the unix VM, TLS, and the cloud
end as `python -m cloud serve` starts it. The way (tools/load/way.py) has the rate, the delay and the failures that a
figure names. A moment is the node's: when the ACK came that says the record is committed.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.benchmarks import Figure
from tools.load import vm
from tools.load.admit import TENANT, admit
from tools.load.cloud import Cloud
from tools.load.way import Pace, Way

SECTION = "link"
SLOW = Pace(bytes_s=2500, delay_s=0.25)
"""20 kbit/s each way, half a second there and back."""
FAILING = Pace(bytes_s=125_000, delay_s=0.05, failing=0.3)
"""1 Mbit/s each way, 100 ms there and back; 30% of all connections fail."""
FAR = Pace(bytes_s=125_000, delay_s=0.05)
_BACKLOG = 250
"""Frames of 100 rows of 4 channels: 100,000 samples."""
_NODES = 8
_ALERTS = 200
_ALERTS_FAILING = 480
_GOODPUT_RUNS = 5


class Bench:
    """A cloud end with nodes that each come by a way of their own. Use as a context manager."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self._folder = folder
        admit(folder / "cloud", folder / "nodes", nodes)
        self._cloud = Cloud(folder / "cloud")
        self._boot = 0
        self._pools: dict[int, Path] = {}

    def __enter__(self) -> Bench:
        self._cloud.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._cloud.__exit__()

    async def job(self, node: int, pace: Pace, rows: int = 100, **job: Any) -> tuple[list[dict[str, Any]], Way]:
        """Give node number `node` a job; return what it said, and its way. Its rings are new each time."""
        self._boot += 1
        if rows not in self._pools:
            self._pools[rows] = self._folder / f"pool{rows}"
            vm.write_pool(self._pools[rows], rows)
        name = f"node{node:04}"
        async with Way(self._cloud.mqtt, pace, seed=self._boot) as way:
            whole = {
                "node": name, "tenant": TENANT, "cloud": ["127.0.0.1", way.port], "boot": self._boot, "rows": rows,
                "pool": str(self._pools[rows]), "seed": self._boot, **job,
            }  # fmt: skip
            said = await vm.run(self._folder / "nodes" / name, whole)
        return said, way


def _p99(samples: list[float]) -> float:
    """The smallest sample that 99 of 100 do not exceed."""
    return sorted(samples)[-(-99 * len(samples) // 100) - 1]


async def _alerts(bench: Bench, first: int, pace: Pace, count: int = _ALERTS, **job: Any) -> list[dict[str, Any]]:
    """What _NODES nodes, from number `first` on, say of `count` alarms together."""
    jobs = [
        bench.job(first + number, pace, kind="alert", frames=_BACKLOG, contacts=count // _NODES, **job)
        for number in range(_NODES)
    ]
    return [each for said, _ in await asyncio.gather(*jobs) for each in said]


def _seconds(said: list[dict[str, Any]], what: str) -> Figure:
    """The p99 of what was said in ms. An alarm that was not out within its contact stands for the contact's 6
    connections, which nothing bounds: RuntimeError unless they are fewer than one in 100."""
    samples = sorted(each[what] / 1000 for each in said if what in each)
    failed = sum("failed" in each for each in said)
    samples += [float("inf")] * failed
    value = _p99(samples)
    if value == float("inf") or not samples:
        raise RuntimeError(f"link: {failed} of {len(samples)} alarms were not out in their contact")
    return Figure(value, "s", samples[0], samples[-1 - failed], len(samples))


async def alerts(bench: Bench) -> dict[str, Figure]:
    """An alarm before a backlog, and behind it in one FIFO lane."""
    connack, linkup, fifo_connack, fifo_linkup = await asyncio.gather(
        _alerts(bench, 0, SLOW, amid=True), _alerts(bench, _NODES, FAILING, _ALERTS_FAILING),
        _alerts(bench, 2 * _NODES, SLOW, _NODES, fifo=True), _alerts(bench, 3 * _NODES, FAILING, fifo=True),
    )  # fmt: skip
    return {
        "alert_p99_s_connack": _seconds(connack, "connack"),
        "alert_p99_s_connack_fifo": _seconds(fifo_connack, "connack"),
        "alert_p99_s_amid": _seconds(connack, "amid"),
        "alert_p99_s_linkup_30": _seconds(linkup, "linkup"),
        "alert_p99_s_linkup_30_fifo": _seconds(fifo_linkup, "linkup"),
    }


async def goodput(bench: Bench, pace: Pace, frames: int, runs: int = _GOODPUT_RUNS) -> tuple[Figure, Figure, Figure]:
    """(ratio, frames/s with the window, with stop-and-wait), run by run in turn."""
    rates: dict[int, list[float]] = {12: [], 1: []}
    for _ in range(runs):
        for window, share in ((12, 1), (1, 8)):
            said, _ = await bench.job(0, pace, kind="goodput", frames=frames // share, window=window)
            if not said[-1]["done"]:
                raise RuntimeError(f"link: {frames // share} frames were not committed in one contact")
            rates[window].append(1000 * (frames // share) / said[-1]["ms"])
    ratios = [fast / slow for fast, slow in zip(rates[12], rates[1], strict=True)]
    return Figure.of(ratios, "x"), Figure.of(rates[12], "1/s"), Figure.of(rates[1], "1/s")


async def contact(bench: Bench) -> dict[str, Figure]:
    """An hourly contact with one frame, of 60 rows: bytes of TLS records both ways."""
    whole, handshake = [], []
    for _ in range(5):
        said, way = await bench.job(0, FAR, rows=60, kind="contact", frames=1)
        if said != [{"done": True}]:
            raise RuntimeError(f"link: a contact that ended with {said}")
        handshake.append(float(way.up.handshake + way.down.handshake))
        whole.append(handshake[-1] + way.up.data + way.down.data)
    return {"contact_bytes": Figure.of(whole, "B"), "contact_bytes_handshake": Figure.of(handshake, "B")}


def with_bench(action: Callable[[Bench], Any], nodes: int = 4 * _NODES) -> Any:
    """Run the coroutine that `action` makes of a bench."""
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder), nodes) as bench:
        return asyncio.run(action(bench))


async def _all(bench: Bench) -> dict[str, Figure]:
    figures = await contact(bench)
    far, near = await goodput(bench, FAR, 800), await goodput(bench, Pace(), 1600)
    for name, (ratio, windowed, waiting) in (("", far), ("_near", near)):
        figures |= {f"goodput_x{name}": ratio, f"goodput{name}_s": windowed, f"goodput{name}_s_stop_and_wait": waiting}
    return figures | await alerts(bench)


def run() -> dict[str, Figure]:
    """`alert_p99_s_connack`: 20 kbit/s, from CONNACK; `_amid`: raised while the backlog goes. `alert_p99_s_linkup_30`:
    from link-up, 30% of connections failing. `_fifo`: the alarm as the last of one lane. `goodput_x`: against
    stop-and-wait, 100 ms there and back, `_near` without any. `contact_bytes`: one frame of 60 rows.
    """
    return with_bench(_all)
