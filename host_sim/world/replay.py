"""The weather: a recorded station, replayed; see data/SOURCES.md for the record."""

from __future__ import annotations

import csv
import random
from functools import cache
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parent / "data"


class Quantity(NamedTuple):
    """Where a quantity is recorded and how sites differ in it.

    A site's value is record * scale * gain + offset, limited to [low, high]; gain is drawn once per site
    from [gain_low, 1], offset from [-offset, +offset], both uniform.
    """

    file: str
    step_ms: int
    scale: float
    offset: float
    gain_low: float
    low: float
    high: float


_WEATHER_MS = 5 * 60 * 1000
_IRRADIANCE_MS = 60 * 1000

QUANTITIES = {
    "temperature": Quantity("weather.csv", _WEATHER_MS, 1.0, 1.0, 1.0, -60.0, 85.0),  # degC
    "humidity": Quantity("weather.csv", _WEATHER_MS, 1.0, 3.0, 1.0, 0.0, 100.0),  # %RH
    "pressure": Quantity("weather.csv", _WEATHER_MS, 100.0, 120.0, 1.0, 30e3, 110e3),  # Pa
    "irradiance": Quantity("irradiance.csv", _IRRADIANCE_MS, 1.0, 0.0, 0.85, -20.0, 1500.0),  # W/m2
}


def fill(points: list[float | None]) -> list[float]:
    """Fill gaps (None) by linear interpolation between their neighbours; the series is a ring.

    Raises ValueError if no point is known.
    """
    known = [(i, point) for i, point in enumerate(points) if point is not None]
    if not known:
        raise ValueError("a series without a single point")
    filled = [0.0] * len(points)
    around = [*known[1:], (known[0][0] + len(points), known[0][1])]
    for (left, a), (right, b) in zip(known, around, strict=True):
        for i in range(left, right):
            filled[i % len(points)] = a + (b - a) * (i - left) / (right - left)
    return filled


@cache
def recorded(name: str) -> tuple[float, ...]:
    """Return the record at equal steps, in the unit of World.value, gaps filled; the first point again last.

    An empty field or a NaN is a gap.
    """
    quantity = QUANTITIES[name]
    points: list[float | None] = []
    with (DATA / quantity.file).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            text = row[name]
            points.append(None if text in ("", "NaN", "nan") else float(text) * quantity.scale)
    filled = fill(points)
    return (*filled, filled[0])


class World:
    """The physical world around the nodes: a pure function of seed, quantity, time and site.

    The first row of each record (local midnight at the station) is at `start_ms`, Unix milliseconds;
    choose it at local midnight to have day and night in their places. Between recorded points the value
    is interpolated linearly. Past the end the record starts over: the last point leads to the first over
    one ordinary step, so the seam is a steep slope, never a jump. The irradiance repeats after 1 day, the
    weather after 3.
    """

    def __init__(self, seed: int, start_ms: int) -> None:
        self.seed = seed
        self.start_ms = start_ms
        self._sites: dict[tuple[str, str], tuple[float, float]] = {}

    def value(self, quantity: str, t_ms: float, site: str) -> float:
        """Return "temperature" degC, "humidity" %RH, "pressure" Pa or "irradiance" W/m2 at Unix time `t_ms`.

        Raises ValueError for another quantity.
        """
        if quantity not in QUANTITIES:
            raise ValueError(f"the world has no {quantity!r}; it has {', '.join(QUANTITIES)}")
        model = QUANTITIES[quantity]
        gain, offset = self._sites.get((quantity, site)) or self._site(quantity, site)
        points = recorded(quantity)
        period_ms = (len(points) - 1) * model.step_ms
        index, rest = divmod((t_ms - self.start_ms) % period_ms, model.step_ms)
        here = points[int(index)]
        value = here + (points[int(index) + 1] - here) * (rest / model.step_ms)
        return min(max(value * gain + offset, model.low), model.high)

    def _site(self, quantity: str, site: str) -> tuple[float, float]:
        model = QUANTITIES[quantity]
        draw = random.Random(f"{self.seed}/{site}/{quantity}")
        pair = draw.uniform(model.gain_low, 1.0), draw.uniform(-model.offset, model.offset)
        self._sites[quantity, site] = pair
        return pair
