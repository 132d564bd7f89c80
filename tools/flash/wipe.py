"""All that a board holds: read, or erased."""

from __future__ import annotations

import base64
from collections.abc import Callable

from tools.boards import SECTOR, Board
from tools.flash import FlashError, deploy
from tools.flash.link import Link
from tools.flash.loader import Loader
from tools.flash.progress import Update

_ERASE = "import rp2\n_d = rp2.Flash()"
_BLOCK = "from binascii import b2a_base64\nimport rp2\n_d = rp2.Flash()\n_v = bytearray(4096)\n_blank = b'\\xff' * 4096"
_ERASE_AT_ONCE = 16  # blocks, some 50 ms each


def esp32(board: Board, port: str) -> None:
    """Erases the whole flash, firmware included."""
    with Loader(port, board) as chip:
        chip.erase()


def read_esp32(board: Board, port: str, update: Update) -> bytes:
    """The whole flash."""
    with Loader(port, board) as chip:
        return chip.read(0, chip.flash_size, update)


def rp2(link: Link, board: Board, step: Callable[[int], None] = lambda block: None) -> None:
    """Erases the blocks of the filesystem; the firmware formats them at its next start."""
    deploy.fits(deploy.probe(link), board, link.port)
    deploy.halt(link)
    link.run(_ERASE)
    count = board.storage[1] // SECTOR
    for first in range(0, count, _ERASE_AT_ONCE):
        link.run(f"for _n in range({first}, {min(count, first + _ERASE_AT_ONCE)}):\n _d.ioctl(6, _n)")
        step(first)
    link.restart()


def read_rp2(link: Link, board: Board, update: Update) -> bytes:
    """The blocks of the filesystem, rings included."""
    deploy.fits(deploy.probe(link), board, link.port)
    link.run(_BLOCK)
    data = b""
    for block in range(board.storage[1] // SECTOR):
        text = link.run(f"_d.readblocks({block}, _v)\nprint('' if _v == _blank else b2a_base64(_v).decode())")
        data += base64.b64decode(text) or b"\xff" * SECTOR
        if len(data) != (block + 1) * SECTOR:
            raise FlashError(f"{link.port}: block {block} did not arrive whole; run the same command again")
        update(len(data), board.storage[1])
    link.restart()
    return data
