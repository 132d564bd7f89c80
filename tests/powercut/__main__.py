"""`python -m tests.powercut`: every bit of the ring's headers and newest sectors flipped, one at a time."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "lib")]

from test_ring_flips import flip  # noqa: E402

for granularity in (1, 16, 256):
    noticed = flip(granularity, 4 * 8 * 26, 2 * 8 * 2048)
    print(f"unit {granularity}: every bit flipped, {noticed} noticed, none cost more than its record", flush=True)
