"""One channel over a span of time as SVG: drawn by matplotlib, coloured by the page's theme through CSS variables."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from datetime import timezone
from statistics import median

from matplotlib import rc_context
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

MAX_POINTS = 600
"""Above this, points become as many slices of time, each with its mean and, as a band, its extremes."""
_GAP = 4
"""A line breaks where the next point is more than this many usual intervals away."""
_INKS = {"#000001": "line", "#000002": "ink", "#000003": "grid"}
_STYLE = """<style>
:root { --line: #0b6e99; --ink: #57606a; --grid: #e4e8ec; }
@media (prefers-color-scheme: dark) { :root { --line: #5cb8e4; --ink: #9aa5b1; --grid: #2b3138; } }
</style>"""
_DAY_S = 86_400
"""matplotlib's dates are days since 1970."""
_LOCK = threading.Lock()
"""matplotlib's settings are the process's."""

Point = tuple[int, float]
"""(Unix seconds, value)"""


def draw(points: Sequence[Point], unit: str, start: int, end: int, *, narrow: bool) -> str:
    """Return the SVG of `points`, in order of time, over start..end; `narrow` for a phone's width."""
    with _LOCK, rc_context({"svg.fonttype": "none", "svg.hashsalt": "fieldnode", "font.size": 9}):
        return _draw(points, unit, start, end, (4.0, 2.1) if narrow else (8.0, 2.3))


def _draw(points: Sequence[Point], unit: str, start: int, end: int, size: tuple[float, float]) -> str:
    line, ink, grid = _INKS
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    rows = _sliced(points, start, end) if len(points) > MAX_POINTS else [(t, v, v, v) for t, v in points]
    for piece in _pieces(rows):
        when = [t / _DAY_S for t, *_ in piece]
        if any(low != high for _, _, low, high in piece):
            axes.fill_between(when, [row[2] for row in piece], [row[3] for row in piece], color=line, alpha=0.2, lw=0)
        alone = len(piece) == 1
        axes.plot(when, [row[1] for row in piece], color=line, lw=1.3, marker="o" if alone else None, ms=2.5)
    axes.set_xlim(start / _DAY_S, end / _DAY_S)
    axes.xaxis_date(timezone.utc)
    locator = AutoDateLocator(tz=timezone.utc, minticks=3, maxticks=5 if size[0] < 6 else 9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=timezone.utc))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    axes.grid(axis="y", color=grid, lw=0.8)
    axes.tick_params(colors=ink, length=0, pad=4)
    axes.xaxis.get_offset_text().set_color(ink)
    axes.spines[:].set_visible(False)
    axes.set_ylabel(unit, color=ink)
    if not points:
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no readings in this time", transform=axes.transAxes, ha="center", va="center", color=ink)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _themed(buffer.getvalue())


def _sliced(points: Sequence[Point], start: int, end: int) -> list[tuple[float, float, float, float]]:
    """Return (time, mean, least, greatest) per slice of time that has points."""
    width = max(1.0, (end - start) / MAX_POINTS)
    slices: dict[int, list[Point]] = {}
    for point in points:
        slices.setdefault(int((point[0] - start) / width), []).append(point)
    found = []
    for _, members in sorted(slices.items()):
        values = [value for _, value in members]
        mean_time = sum(t for t, _ in members) / len(members)
        found.append((mean_time, sum(values) / len(values), min(values), max(values)))
    return found


def _pieces(rows: Sequence[tuple[float, ...]]) -> list[list[tuple[float, ...]]]:
    """Return the rows in pieces without a gap: silence is not drawn as a line."""
    steps = [after[0] - before[0] for before, after in zip(rows, rows[1:], strict=False)]
    longest = _GAP * median(steps) if steps else 0
    pieces: list[list[tuple[float, ...]]] = []
    for number, row in enumerate(rows):
        if number == 0 or steps[number - 1] > longest:
            pieces.append([])
        pieces[-1].append(row)
    return pieces


def _themed(svg: str) -> str:
    """Put the theme's variables in place of the colours drawn with, and the reader's font in place of ours."""
    svg = svg[svg.index("<svg") :]
    for drawn, name in _INKS.items():
        svg = svg.replace(drawn, f"var(--{name})")
    svg = svg.replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'")
    at = svg.index(">") + 1
    return svg[:at] + _STYLE + svg[at:]
