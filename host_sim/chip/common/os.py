"""`os` whose random bytes come from the run's seed: the same seed, the same run."""

import uhashlib
from uos import *  # noqa: F403

_seed = b""
_count = 0


def urandom(n):
    """n bytes of SHA-256 in counter mode over (seed, node, boot, count). For simulation only: not secret."""
    global _count
    out = b""
    while len(out) < n:
        _count += 1
        out += uhashlib.sha256(_seed + str(_count).encode()).digest()
    return out[:n]
