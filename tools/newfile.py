"""A file that is made whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.flash import FlashError, Refusal

_BINARY = getattr(os, "O_BINARY", 0)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def new_file(path: Path, size: int = 0, mode: int = 0o600) -> Iterator[Callable[[bytes], None]]:
    """Gives a function that writes the whole content of `path`, which stays as it was until the `with` has ended well.

    Until then `path`.new holds `size` bytes, so that a full disk shows before the work that the content takes. `mode`:
    who may read it. Raises Refusal where it cannot be begun, FlashError where it cannot be written.
    """
    final = path.resolve()  # a link stays one
    partial = final.with_name(f"{final.name}.new")
    if final.exists() and not final.is_file():
        raise Refusal(f"{path}: is no file; name one")
    try:
        partial.unlink(missing_ok=True)
        place = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, mode)
    except OSError as error:
        raise Refusal(_said(path, error)) from error

    def put(content: bytes) -> None:
        os.lseek(place, 0, os.SEEK_SET)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(place, rest) :]
        os.ftruncate(place, len(content))
        os.fsync(place)

    def write(content: bytes) -> None:
        try:
            put(content)
        except OSError as error:
            raise FlashError(_said(path, error)) from error

    try:
        try:
            put(bytes(size))
        except OSError as error:
            raise Refusal(_said(path, error)) from error
        yield write
    except BaseException:
        os.close(place)
        partial.unlink(missing_ok=True)
        raise
    os.close(place)
    try:
        partial.replace(final)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FlashError(_said(path, error)) from error


def _said(path: Path, error: OSError) -> str:
    hint = "make room" if error.errno in _FULL else "name another place, or make this one writable"
    return f"{path}: cannot be written: {error.strerror or error}; {hint}, then run the same command again"
