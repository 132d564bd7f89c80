"""Which MicroPython image goes onto a board: the pin in boards/<board>/image.toml, or a file that the user names.

A pin is complete once a person has confirmed the SHA-256 of a first download; from then on another file is refused.
"""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from tools.boards import Board
from tools.catalogue import BOARDS, CACHE, CHECKOUT
from tools.flash import FlashError, Refusal
from tools.flash.progress import Update
from tools.newfile import new_file
from tools.toml_lines import tomllib

_CHUNK = 64 << 10
_TIMEOUT_S = 30
_LARGEST = 16 << 20
_VERSION = re.compile(rb"v\d+\.\d+\.\d+[\w.-]* on \d{4}-\d\d-\d\d")


@dataclass(frozen=True)
class Pin:
    """`size` (bytes) and `sha256` (hex) are None until a first download was confirmed. `offset`: where in flash the
    image begins, None for UF2, which says so itself.
    """

    path: Path
    version: str
    url: str
    offset: int | None
    size: int | None
    sha256: str | None


def pin(board: Board, boards: Path = BOARDS, recorded: Path | None = None) -> Pin:
    """The pin of a board. Raises Refusal if it has none, or none that can be read.

    `recorded`: where size and hash are kept if not in the pin's own file, as in an installed Fieldnode.
    """
    path = boards / board.name / "image.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        beside = recorded if recorded is not None else None if CHECKOUT else CACHE / "pins" / f"{board.name}.toml"
        if beside is not None and beside.exists():
            data |= tomllib.loads(beside.read_text(encoding="utf-8"))
        facts = (data["version"], data["url"], data.get("offset"), data.get("size"), data.get("sha256"))
        return Pin(beside or path, *facts)
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise Refusal(f"{path}: no image is pinned for {board.name} ({error!r}); give a file with --fw") from error


def fetch(
    wanted: Pin, bar: Callable[[], AbstractContextManager[Update]], confirm: Callable[[str], bool],
    cache: Path = CACHE / "images",
) -> bytes:  # fmt: skip
    """The pinned image, from the cache or from its URL, while `bar()` is entered.

    `confirm(sha256)` is asked once in a pin's life, and its yes recorded. Raises FlashError if it cannot be had,
    Refusal for another hash than the pinned one, or a no.
    """
    path = cache / wanted.url.rpartition("/")[2]
    image = path.read_bytes() if path.exists() else b""
    if not image or wanted.sha256 and hashlib.sha256(image).hexdigest() != wanted.sha256:
        with bar() as progress:
            image = _download(wanted, progress)
    found = hashlib.sha256(image).hexdigest()
    if wanted.sha256 is None:
        if not confirm(found):
            raise Refusal(f"{wanted.url}: its SHA-256 {found} was not accepted; nothing was done")
        record(wanted, len(image), found)
    elif found != wanted.sha256:
        raise Refusal(
            f"{wanted.url}: SHA-256 {found} is not the pinned {wanted.sha256}; somebody has changed the file: ask "
            f"before you change {wanted.path}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path, mode=0o644) as write:
        write(image)
    return image


def record(wanted: Pin, size: int, sha256: str) -> Pin:
    """Completes a pin -> the complete one."""
    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    before = wanted.path.read_bytes() if wanted.path.exists() else b""
    with new_file(wanted.path, mode=0o644) as write:
        write(before + f'size = {size}\nsha256 = "{sha256}"\n'.encode())
    return replace(wanted, size=size, sha256=sha256)


def _download(wanted: Pin, progress: Update) -> bytes:
    image = b""
    try:
        with urllib.request.urlopen(wanted.url, timeout=_TIMEOUT_S) as answer:
            expected = int(answer.headers.get("Content-Length") or wanted.size or 0)
            while chunk := answer.read(_CHUNK):
                image += chunk
                progress(len(image), max(expected, len(image)))
                if len(image) > _LARGEST:
                    raise FlashError(f"{wanted.url}: longer than {_LARGEST} bytes; that is no image")
    except (OSError, urllib.error.URLError, ValueError) as error:
        what = getattr(error, "reason", error)
        raise FlashError(f"{wanted.url}: {what}; check the network, or download it elsewhere and give --fw") from error
    if expected and len(image) != expected:
        raise FlashError(f"{wanted.url}: {len(image)} of {expected} bytes came; run the same command again")
    return image


def built(image: bytes) -> str | None:
    """What MicroPython says of itself in an image, as `os.uname().version` begins: "v1.28.0 on 2026-04-06"."""
    found = _VERSION.search(image)
    return found[0].decode() if found else None
