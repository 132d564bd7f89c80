"""Fewer points for a drawing, without losing what the eye looks for: extremes and gaps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from host_sim.report.run import Point


def segments(points: Sequence[Point], gap_ms: int) -> list[list[Point]]:
    """The points, in order of time, cut wherever two lie further apart than `gap_ms`."""
    found: list[list[Point]] = []
    for point in points:
        if not found or point.t_ms - found[-1][-1].t_ms > gap_ms:
            found.append([])
        found[-1].append(point)
    return found


def thin(points: Sequence[Point], bucket_ms: int) -> list[Point]:
    """Per bucket of `bucket_ms` the lowest and the highest point, in order of time, and the very first and last."""
    if len(points) < 3:
        return list(points)
    kept = {0, len(points) - 1}
    start = 0
    while start < len(points):
        end, bucket = start, points[start].t_ms // bucket_ms
        while end < len(points) and points[end].t_ms // bucket_ms == bucket:
            end += 1
        kept.add(min(range(start, end), key=lambda index: points[index].value))
        kept.add(max(range(start, end), key=lambda index: points[index].value))
        start = end
    return [points[index] for index in sorted(kept)]


def missing(world: Sequence[Point], database: Sequence[Point], gap_ms: int) -> list[tuple[int, int]]:
    """Stretches, first and last moment, of what the world served while the database holds nothing for longer than
    `gap_ms`: at the begin, in between, at the end.

    A row may be dated a little off its reading, so what lies within half of `gap_ms` of a row is not missing.
    """
    held = [point.t_ms for point in database]
    found: list[tuple[int, int]] = []
    latest = -1  # the place in `held` of the row before the stretch that grows
    for point in world:
        at = bisect_left(held, point.t_ms)
        before = held[at - 1] if at else None
        after = held[at] if at < len(held) else None
        if before is not None and after is not None and after - before <= gap_ms:
            continue
        if any(row is not None and abs(row - point.t_ms) <= gap_ms // 2 for row in (before, after)):
            continue
        if found and latest == at:
            found[-1] = found[-1][0], point.t_ms
        else:
            found.append((point.t_ms, point.t_ms))
        latest = at
    return found
