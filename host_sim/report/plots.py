"""The drawings of the report. Every function returns SVG; widths are in CSS pixels at the drawing's own size.

A drawing that is as wide as the page comes twice, for a screen and for a phone: text in a scaled SVG would become too
small to read. The page shows one of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from host_sim.report import words
from host_sim.report.run import KINDS, Channel, Fault, Node, Point, Run
from host_sim.report.svg import COLOURS, draw
from host_sim.report.thin import missing, segments, thin

HALF, FULL, PHONE = 540, 1080, 340
_GAP = 3  # readings further apart than so many intervals are not joined by a line
_BUCKETS_PER_PIXEL = 0.3
_HOUR = 3_600_000
_STEPS = [_HOUR // 4, _HOUR, 3 * _HOUR, 6 * _HOUR, 12 * _HOUR] + [24 * _HOUR * days for days in (1, 2, 7, 14, 28, 84)]
_FONT = 11


def _both(make: Callable[[int, str], str]) -> str:
    return make(HALF, "wide") + make(PHONE, "phone")


def _axes(width: int, height: int, left: int = 46, bottom: int = 20, top: int = 8) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    figure.patch.set_visible(False)
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + 8) / width, 1 - (bottom + top) / height))
    axes.patch.set_visible(False)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(COLOURS["grid"])
    axes.tick_params(length=0, labelsize=_FONT, labelcolor=COLOURS["muted"], pad=5)
    axes.grid(axis="y", color=COLOURS["grid"], linewidth=1)
    axes.set_axisbelow(True)
    return figure, axes


def _time_axis(axes: Axes, run: Run, width: int) -> None:
    """UTC along the bottom, a label every 60 pixels at most; midnight by its date."""
    span = run.end_ms - run.start_ms
    step = next((step for step in _STEPS if span / step <= width / 62), _STEPS[-1])
    whole = min(step, 24 * _HOUR)  # longer steps count from the first midnight
    first = -(-run.start_ms // whole) * whole
    ticks = range(first, run.end_ms + 1, step)
    axes.set_xlim(run.start_ms, run.end_ms)
    axes.xaxis.set_major_locator(FixedLocator(list(ticks)))
    axes.set_xticklabels([words.day(t) if t % (24 * _HOUR) == 0 else f"{words.moment(t):%H:%M}" for t in ticks])
    # The first and the last label would stick out.
    labels = axes.get_xticklabels()
    for tick, label in zip(ticks, labels, strict=True):
        if tick - run.start_ms < span * 0.03:
            label.set_horizontalalignment("left")
        elif run.end_ms - tick < span * 0.03:
            label.set_horizontalalignment("right")


def _values(axes: Axes, most: int = 4, whole: bool = False) -> None:
    axes.yaxis.set_major_locator(MaxNLocator(most, integer=whole))
    axes.yaxis.set_major_formatter(lambda value, _: words.tick(value))


def _limits(axes: Axes, values: Sequence[float], floor: float | None = None) -> None:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if floor is not None:
        low = floor
    room = (high - low or abs(high) or 1.0) * 0.08
    axes.set_ylim(low if floor is not None else low - room, high + room)


def _line(axes: Axes, points: Sequence[Point], **style: Any) -> None:
    shown = {"solid_capstyle": "round", "solid_joinstyle": "round", "clip_on": False, **style}
    axes.plot([point.t_ms for point in points], [point.value for point in points], **shown)


def channel(run: Run, node: str, series: Channel) -> str:
    """What the world served, broad and pale, under what the database holds, thin and dark. A mark along the bottom
    shows where readings are missing from the database."""
    gap = max(_GAP * series.interval_ms, 1)
    holes = missing(series.world, series.database, gap)

    def make(width: int, css: str) -> str:
        figure, axes = _axes(width, 150)
        bucket = max(1, round((run.end_ms - run.start_ms) / (width * _BUCKETS_PER_PIXEL)))
        for part in segments(series.world, gap):
            _line(axes, thin(part, bucket), color=COLOURS["world"], linewidth=4)
        for part in segments(series.database, gap):
            _line(axes, thin(part, bucket), color=COLOURS["data"], linewidth=1.2)
        _limits(axes, [point.value for point in (*series.world, *series.database)])
        _time_axis(axes, run, width)
        _values(axes)
        for begin, end in holes:
            bar = [Point(begin, axes.get_ylim()[0]), Point(end, axes.get_ylim()[0])]
            label = f"title:not in the database: {_span(begin, end)}"
            _line(axes, bar, color=COLOURS["missing"], linewidth=4, gid=label, solid_capstyle="butt", zorder=5)
        return draw(figure, f"{node} {series.name}: served by the world and held by the database", css)

    return _both(make)


def _span(begin: int, end: int) -> str:
    return words.clock(begin) if begin == end else f"{words.clock(begin)} to {words.clock(end)}"


def _shade(axes: Axes, run: Run, node: str) -> None:
    """Outages that touched the node, coloured by family; an instant is a line."""
    for fault in run.faults or []:
        if fault.node in ("", node):
            colour = COLOURS[KINDS[fault.kind]]
            label = f"title:{words.kind(fault.kind)}, {_span(fault.t_ms, fault.until_ms)}"
            begin, end = max(fault.t_ms, run.start_ms), min(fault.until_ms, run.end_ms)
            axes.axvspan(begin, end, facecolor=colour, alpha=0.2, linewidth=0, gid=label, zorder=0.5)
            axes.axvline(begin, color=colour, alpha=0.75, linewidth=1, gid=label, zorder=0.6)


def _counts(node: Node) -> tuple[list[Point], list[Point]]:
    """How many readings the world had served, and how many the cloud had committed, after each change."""
    served = sorted(point.t_ms for channel in node.channels for point in channel.world)
    taken = [Point(t_ms, count) for count, t_ms in enumerate(served, 1)]
    acknowledged, count = [], 0
    for arrival in node.arrivals:
        count += arrival.readings
        acknowledged.append(Point(arrival.t_ms, count))
    return taken, acknowledged


def _backlog(taken: Sequence[Point], acknowledged: Sequence[Point]) -> list[Point]:
    changes = [(point.t_ms, 0, point.value) for point in taken] + [(p.t_ms, 1, p.value) for p in acknowledged]
    latest = [0.0, 0.0]
    found = []
    for t_ms, which, value in sorted(changes):
        latest[which] = value
        found.append(Point(t_ms, latest[0] - latest[1]))
    return found


def _edges(run: Run, points: Sequence[Point]) -> list[Point]:
    """From the begin of the run, where nothing is there yet, to its end, where the last value still holds."""
    last = points[-1].value if points else 0.0
    return [Point(run.start_ms, 0.0), *points, Point(max(run.end_ms, points[-1].t_ms if points else 0), last)]


def backlog(run: Run, node: Node) -> str:
    """Readings taken and not yet committed by the cloud, over time."""
    taken, acknowledged = _counts(node)
    points = _edges(run, _backlog(taken, acknowledged))

    def make(width: int, css: str) -> str:
        figure, axes = _axes(width, 150)
        bucket = max(1, round((run.end_ms - run.start_ms) / (width * _BUCKETS_PER_PIXEL)))
        shown = thin(points, bucket)
        _shade(axes, run, node.name)
        times, values = [point.t_ms for point in shown], [point.value for point in shown]
        area = [times[0], *times, times[-1]], [0, *values, 0]
        axes.fill(*area, color=COLOURS["world"], alpha=0.3, linewidth=0, clip_on=False)
        _line(axes, shown, color=COLOURS["world"], linewidth=1.5)
        _limits(axes, values, 0.0)
        _time_axis(axes, run, width)
        _values(axes, 4, True)
        return draw(figure, f"{node.name}: backlog over time", css)

    return _both(make)


def acknowledged(run: Run, node: Node) -> str:
    """Readings taken, broad and pale, and committed by the cloud, thin and dark, since the begin."""
    taken, committed = (_edges(run, points) for points in _counts(node))

    def make(width: int, css: str) -> str:
        figure, axes = _axes(width, 150)
        bucket = max(1, round((run.end_ms - run.start_ms) / (width * _BUCKETS_PER_PIXEL)))
        _shade(axes, run, node.name)
        _line(axes, thin(taken, bucket), color=COLOURS["world"], linewidth=4)
        _line(axes, thin(committed, bucket), color=COLOURS["data"], linewidth=1.3, drawstyle="steps-post")
        _limits(axes, [taken[-1].value, committed[-1].value], 0.0)
        _time_axis(axes, run, width)
        _values(axes, 4, True)
        return draw(figure, f"{node.name}: readings taken and acknowledged over time", css)

    return _both(make)


def timeline(run: Run, recoveries: Sequence[tuple[Fault, int | None]]) -> str:
    """A row per kind: the fault in its family's colour, and pale behind it the recovery, given in ms per fault."""
    kinds = [kind for kind in KINDS if any(fault.kind == kind for fault, _ in recoveries)]

    def make(width: int, css: str) -> str:
        left = 108
        figure, axes = _axes(width, 26 + 24 * len(kinds), left, 22, 4)
        axes.grid(axis="y", visible=False)
        axes.grid(axis="x", color=COLOURS["grid"], linewidth=1)
        least = (run.end_ms - run.start_ms) / (width - left) * 3  # three pixels, or it could not be seen
        for fault, took in recoveries:
            row, colour = kinds.index(fault.kind), COLOURS[KINDS[fault.kind]]
            label = f"title:{words.kind(fault.kind)}, {fault.node or 'cloud end'}, {_span(fault.t_ms, fault.until_ms)}"
            if took is not None:
                took = min(took, run.end_ms - fault.until_ms)
                axes.barh(row, took, 0.3, fault.until_ms, color=colour, alpha=0.35, linewidth=0, gid=label)
            length = max(least, fault.until_ms - fault.t_ms)
            for bar in axes.barh(row, length, 0.62, fault.t_ms, color=colour, linewidth=0):
                bar.set_gid(label)
        _time_axis(axes, run, width - left + 46)
        axes.set_ylim(len(kinds) - 0.4, -0.6)
        axes.yaxis.set_major_locator(FixedLocator(range(len(kinds))))
        axes.set_yticklabels([words.kind(kind) for kind in kinds], color=COLOURS["ink"])
        return draw(figure, "all faults over time, by kind", css)

    return make(FULL, "full") + make(PHONE, "full-phone")


def wear(node: str, ring: str, erases: Sequence[int]) -> str:
    """A strip of bars: how often each sector of a ring was erased, in the ring's order."""
    figure, axes = _axes(PHONE, 84, 30, 18)
    levels = [(count, len(list(run))) for count, run in groupby(erases)]
    edges = [0, *accumulate(length for _, length in levels)]
    axes.stairs([count for count, _ in levels], edges, fill=True, color=COLOURS["wear"], linewidth=0, clip_on=False)
    axes.set_xlim(0, len(erases))
    axes.set_ylim(0, max(1, max(erases, default=0)) * 1.08)
    axes.xaxis.set_major_locator(FixedLocator([0, len(erases)]))
    axes.set_xticklabels(["sector 1", str(len(erases))])
    for label, side in zip(axes.get_xticklabels(), ("left", "right"), strict=True):
        label.set_horizontalalignment(side)
    _values(axes, 2, True)
    axes.yaxis.set_major_locator(FixedLocator([0, max(1, *erases)]))
    return draw(figure, f"{node}: erases of each sector of the {ring} ring", "strip")
