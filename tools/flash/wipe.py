"""All that a board holds: read, erased, or put back."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from tools.boards import SECTOR, Board
from tools.flash import FlashError, Refusal, deploy, espimage
from tools.flash.link import Link
from tools.flash.loader import Loader
from tools.flash.progress import Update

_ERASE = "import rp2\n_d = rp2.Flash()"
_BLOCK = "from binascii import b2a_base64\nimport rp2\n_d = rp2.Flash()\n_v = bytearray(4096)\n_blank = b'\\xff' * 4096"
_READ = """
for _n in range({}, {}):
 _d.readblocks(_n, _v)
 print('-' if _v == _blank else b2a_base64(_v, newline=False).decode())
"""
_COMPARE = """
from binascii import a2b_base64, hexlify
import hashlib, rp2
_d = rp2.Flash()
_v = memoryview(bytearray(4096))
def _hash(n):
 _d.readblocks(n, _v)
 print(hexlify(hashlib.sha256(_v).digest()).decode())
"""
_LINE = 2048  # bytes of a block in one command
_READ_AT_ONCE = 8
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
    count = board.storage[1] // SECTOR
    for first in range(0, count, _READ_AT_ONCE):
        numbers = range(first, min(count, first + _READ_AT_ONCE))
        lines = link.run(_READ.format(numbers.start, numbers.stop)).split()
        data += b"".join(b"\xff" * SECTOR if line == "-" else base64.b64decode(line) for line in lines)
        if len(data) != numbers.stop * SECTOR:
            raise FlashError(f"{link.port}: block {numbers.start} did not arrive whole; run the same command again")
        update(len(data), board.storage[1])
    link.restart()
    return data


def check(content: bytes, board: Board, name: str) -> None:
    """Refuses what is no backup of such a board, before a port is touched; `name` is how the file is called."""
    if board.family == "esp32":
        at, size = board.rom.offset, board.flash_size
        known = content[at : at + 1] == b"\xe9" and content[at + 12 : at + 14] == espimage.chip_id(board)
    else:
        size = board.storage[1]
        known = any(content[at + 8 : at + 16] == b"littlefs" for at in (0, SECTOR))
    if len(content) < size or len(content) % SECTOR or not known:
        raise Refusal(f"{name}: is no backup of an {board.name}, which `fieldnode backup` makes")


def restore_esp32(board: Board, port: str, content: bytes, update: Update) -> None:
    """Brings the whole flash to hold `content`."""
    with Loader(port, board) as chip:
        if chip.flash_size != len(content):
            what = f"its flash has {chip.flash_size >> 10} KiB, the backup {len(content) >> 10} KiB"
            raise Refusal(f"{port}: {what}; nothing was done")
        chip.write_all(content, update)


def restore_rp2(link: Link, board: Board, content: bytes, update: Update) -> None:
    """Brings the blocks of the filesystem to hold `content`, writing those only that differ."""
    deploy.fits(deploy.probe(link), board, link.port)
    deploy.halt(link)
    link.run(_COMPARE)
    # littlefs begins with the first two blocks: without them a cut leaves an empty filesystem, with them a whole one,
    # and never one of which only a part has come.
    link.run("_d.ioctl(6, 0)\n_d.ioctl(6, 1)")
    count = board.storage[1] // SECTOR
    order = [*range(2, count), 0, 1]
    for first in range(0, count, _ERASE_AT_ONCE):
        numbers = order[first : first + _ERASE_AT_ONCE]
        there = link.run(f"for _n in {numbers}:\n _hash(_n)").split()
        for number, found in zip(numbers, there, strict=True):
            block = content[number * SECTOR : (number + 1) * SECTOR]
            if found != hashlib.sha256(block).hexdigest():
                _put(link, number, block)
        update((first + len(numbers)) * SECTOR, count * SECTOR)
    link.restart()


def _put(link: Link, number: int, block: bytes) -> None:
    if not block.strip(b"\xff"):
        link.run(f"_d.ioctl(6, {number})")
        return
    write, said = f"\n_d.writeblocks({number}, _v)\n_hash({number})", ""
    for at in range(0, SECTOR, _LINE):
        end = at + _LINE
        code = f"_v[{at}:{end}] = a2b_base64({base64.b64encode(block[at:end])!r})"
        said = link.run(code + (write if end == SECTOR else ""))
    if said.strip() != hashlib.sha256(block).hexdigest():
        raise FlashError(f"{link.port}: block {number} did not arrive whole; run the same command again")
