"""All drawings of a report, drawn in parallel."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field

from host_sim.report import plots
from host_sim.report.recovery import slowest
from host_sim.report.run import Run

NODES_DRAWN = 8
"""Beyond these the page would grow past what opens in a second; the tables have every node."""


@dataclass
class NodeDrawings:
    """SVG of one node; `channels` by name, `wear` by ring (empty where the wear is unknown)."""

    backlog: str
    acknowledged: str
    channels: dict[str, str] = field(default_factory=dict)
    wear: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawings:
    """SVG of a run; `timeline` is empty where there were no faults. `nodes` has the first NODES_DRAWN by name."""

    timeline: str
    nodes: dict[str, NodeDrawings]


def draw_all(run: Run) -> Drawings:
    """Every drawing of the run, on all processors. No thread may be running: the processes that draw are forked, so
    that they have the run and the drawing library, where the system can."""
    how = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(how)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, initializer=_take, initargs=(run,)) as pool:

        def draw(what: Callable[..., str], *which: int | str) -> Future[str]:
            return pool.submit(what, *which)

        timeline = draw(_timeline)
        pending = []
        for number, node in enumerate(run.nodes[:NODES_DRAWN]):
            rings = node.rings if node.wear is not None else ()
            pending.append(
                (
                    node.name,
                    draw(_backlog, number),
                    draw(_acknowledged, number),
                    {channel.name: draw(_channel, number, at) for at, channel in enumerate(node.channels)},
                    {ring: draw(_wear, number, ring) for ring in rings},
                )
            )
        nodes = {
            name: NodeDrawings(
                backlog.result(),
                acknowledged.result(),
                {channel: drawn.result() for channel, drawn in channels.items()},
                {ring: drawn.result() for ring, drawn in wear.items()},
            )
            for name, backlog, acknowledged, channels, wear in pending
        }
        return Drawings(timeline.result(), nodes)


_run: Run  # in a process that draws


def _take(run: Run) -> None:
    global _run
    _run = run


def _timeline() -> str:
    faults = [(fault, slowest(fault, _run.nodes)) for fault in _run.faults or []]
    return plots.timeline(_run, faults) if faults else ""


def _backlog(node: int) -> str:
    return plots.backlog(_run, _run.nodes[node])


def _acknowledged(node: int) -> str:
    return plots.acknowledged(_run, _run.nodes[node])


def _channel(node: int, channel: int) -> str:
    return plots.channel(_run, _run.nodes[node].name, _run.nodes[node].channels[channel])


def _wear(node: int, ring: str) -> str:
    return plots.wear(_run.nodes[node].name, ring, _run.nodes[node].ring_erases(ring))
