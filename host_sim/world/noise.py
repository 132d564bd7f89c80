"""Counter-based random numbers: one key and counter, one number, in whatever order they are asked.

A stream (random.Random) would make each sample depend on how many were drawn before it, so that one retry
more on the bus would change everything after. Generator: SplitMix64's finalizer (Steele, Lea, Flood,
2014).
"""

from __future__ import annotations

import hashlib
from math import cos, log, pi, sqrt

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def key(*parts: object) -> int:
    """Return a 64-bit key for these parts (seed, site ...); stable over processes and Python versions."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def gauss(key: int, counter: int) -> float:
    """Return a standard normal number (mean 0, deviation 1) for `counter` (integer) of `key`; Box-Muller."""
    z = _mix((key + _GOLDEN * counter) & _MASK)
    radius = ((z >> 11) + 1) * 2.0**-53
    angle = _mix((z + _GOLDEN) & _MASK) * (2.0 * pi * 2.0**-64)
    return sqrt(-2.0 * log(radius)) * cos(angle)
