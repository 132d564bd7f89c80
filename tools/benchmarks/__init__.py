"""Benchmarks: each module here has a `SECTION` and a `run()` that returns {metric: Figure}."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One measured quantity: the median `value` of `runs` runs in `unit`, and their range `low`..`high`.

    What does not vary (a size, a ratio of a fixed input) has runs = 1 and low = high = value.
    """

    value: float
    unit: str
    low: float
    high: float
    runs: int

    @classmethod
    def exact(cls, value: float, unit: str) -> "Figure":
        """Return the figure of a quantity that is the same in every run."""
        return cls(value, unit, value, value, 1)

    @classmethod
    def of(cls, samples: list[float], unit: str) -> "Figure":
        """Return the figure of a quantity measured once per run; `samples` is not empty."""
        return cls(median(samples), unit, min(samples), max(samples), len(samples))


def timed(action: Callable[[], object], runs: int = 7) -> Figure:
    """Return the wall time of `action()` in ms over `runs` runs (5 or more), after one not counted."""
    if runs < 5:
        raise ValueError(f"timed: {runs} runs say nothing about the range; 5 or more are wanted")
    action()
    samples = []
    for _ in range(runs):
        begun = time.perf_counter_ns()
        action()
        samples.append((time.perf_counter_ns() - begun) / 1e6)
    return Figure.of(samples, "ms")
