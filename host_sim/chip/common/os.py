"""`os` of a board: its filesystem, and random bytes that come from the run's seed: the same seed, the same run.

What the unix port has beyond that (`system`, `getenv`, `errno` ...) no board has.
"""

import uhashlib
from uos import (  # noqa: F401
    chdir,
    getcwd,
    ilistdir,
    listdir,
    mkdir,
    mount,
    remove,
    rename,
    rmdir,
    stat,
    statvfs,
    umount,
    unlink,
)

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


class _Name:
    """What `uname` answers: who runs here, as the images of micropython.org say it."""

    def __init__(self):
        import _model

        self.machine = _model.MACHINE
        self.release = "1.28.0"
        self.version = "v1.28.0 on 2026-04-06 (simulated)"


def uname():
    """Fields by name only."""
    return _Name()
