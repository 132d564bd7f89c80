"""All drawings of a report, drawn in parallel: the drawing library is imported in the processes that draw."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from host_sim.report.recovery import slowest
from host_sim.report.run import Run, load

NODES_DRAWN = 8
"""Beyond these the page would grow past what opens in a second; the tables have every node."""


@dataclass(frozen=True)
class NodeDrawings:
    """SVG of one node; `channels` by name, `wear` by ring (empty where the wear is unknown)."""

    backlog: str
    acknowledged: str
    channels: dict[str, str]
    wear: dict[str, str]


@dataclass(frozen=True)
class Drawings:
    """SVG of a run; `timeline` is empty where there were no faults. `nodes` has the first NODES_DRAWN by name."""

    timeline: str
    nodes: dict[str, NodeDrawings]


def draw_all(run: Run) -> Drawings:
    """Every drawing of the run, one node a task."""
    names = [node.name for node in run.nodes[:NODES_DRAWN]]
    # Not forked: whoever calls may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(names), os.cpu_count() or 1), mp_context=context) as pool:
        timeline = pool.submit(_timeline, run.folder)
        nodes = dict(zip(names, pool.map(_node, [run.folder] * len(names), names), strict=True))
        return Drawings(timeline.result(), nodes)


@cache
def _load(folder: Path) -> Run:
    return load(folder)


def _timeline(folder: Path) -> str:
    from host_sim.report import plots

    run = _load(folder)
    faults = [(fault, slowest(fault, run.nodes)) for fault in run.faults or []]
    return plots.timeline(run, faults) if faults else ""


def _node(folder: Path, name: str) -> NodeDrawings:
    from host_sim.report import plots

    run = _load(folder)
    (node,) = (node for node in run.nodes if node.name == name)
    rings = node.rings if node.wear is not None else ()
    return NodeDrawings(
        backlog=plots.backlog(run, node),
        acknowledged=plots.acknowledged(run, node),
        channels={channel.name: plots.channel(run, name, channel) for channel in node.channels},
        wear={ring: plots.wear(name, ring, node.ring_erases(ring)) for ring in rings},
    )
