"""What a record costs in flash stays below what lib/flashring/README.md claims; `make bench` has the whole table."""

from __future__ import annotations

import pytest

from tools.benchmarks import ring


@pytest.mark.parametrize(
    ("unit", "batch", "kind", "most"),
    [("1", "1", "any", 1.12), ("1", "16", "told", 1.03), ("256", "16", "told", 1.2), ("256", "1", "any", 10)],
)
def test_bytes_programmed_per_byte(unit: str, batch: str, kind: str, most: float) -> None:
    found = ring.measure("ring", unit, batch, kind)
    assert 1 < found["wa"] <= most, found
    assert found["spread"] <= 1 and found["in_append"] == 0, found


def test_reads_of_a_mount() -> None:
    found = ring.measure("mount")
    assert 0 < found["reads"] <= 11
    assert 0 < found["cold"] <= 12
