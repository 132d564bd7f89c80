"""The file `cloud.log`: what the children complain of, and what the supervisor did about it.

Strangers cause lines, and the disk may be full: the file is bounded, and a line that cannot be written stops nobody.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

ROLL_BYTES = 4 << 20
"""A file of this size becomes the older one, which is given up: together they are at most twice as large."""


def older(path: Path) -> Path:
    """Return where the older file of the log at `path` lies."""
    return path.with_name(path.name + ".1")


class Log:
    """The log at `path`, with one older file beside it."""

    def __init__(self, path: Path, roll_bytes: int = ROLL_BYTES) -> None:
        """Build only; the file is made by the first line."""
        self._path = path
        self._roll_bytes = roll_bytes
        self._missing = 0

    def note(self, who: str, text: str) -> None:
        """Append a line, with the time. If that fails it is said once on standard error, until a line can be written
        again; that one is preceded by how many are missing.
        """
        try:
            with suppress(FileNotFoundError):
                if self._path.stat().st_size >= self._roll_bytes:
                    self._path.replace(older(self._path))
            with self._path.open("a") as file:
                if self._missing:
                    # What could not be written may have left a part of a line.
                    file.write(f"\n{_now()} log: {self._missing} lines are missing\n")
                file.write(f"{_now()} {who}: {text}\n")
        except OSError as problem:
            if not self._missing:
                complain(f"{self._path}: {problem}")
            self._missing += 1
        else:
            self._missing = 0


def complain(text: str) -> None:
    """Say something on standard error, if anybody listens."""
    with suppress(OSError, ValueError):
        print(f"{_now()} {text}", file=sys.stderr, flush=True)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
