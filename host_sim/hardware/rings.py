"""Where the rings of a node stand in its flash, for run.json: counted from the outside, past the node's own code."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from host_sim.image import reservation
from tools.boards import SECTOR, Board

# Runs in the VM: littlefs itself must say what its files hold.
_READ = """
import sys, vfs
class Region:
    def __init__(self, path, base, blocks):
        self.file, self.base, self.blocks = open(path, "rb"), base, blocks
    def readblocks(self, block, buf, offset=0):
        self.file.seek(self.base + block * 4096 + offset)
        self.file.readinto(buf)
    def ioctl(self, op, arg):
        return {4: self.blocks, 5: 4096}.get(op, 0)
path, base, size, name = sys.argv[1:]
vfs.mount(vfs.VfsLfs2(Region(path, int(base), int(size) // 4096), progsize=256), "/image")
with open("/image/" + name, "rb") as file:
    print(file.read().hex())
"""


def read_file(image: Path, storage: tuple[int, int], name: str) -> bytes:
    """The file `name` of the littlefs that fills `storage` (offset, size) of a flash image. OSError without it."""
    command = [sys.executable, "-m", "micropython_unix", "-c", _READ, str(image), *map(str, storage), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise OSError(f"{image}: {name}: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
    return bytes.fromhex(done.stdout)


def _count(board: Board) -> int:
    return max(start + count for start, count in board.rings.values())


def places(board: Board, image: Path) -> dict[str, Any]:
    """Each ring as [first sector, count], or as {"sectors": [..]} where they are not side by side. A node that never
    lived long enough to reserve any has none; nor has one whose map cannot be read nor be found."""
    if board.reserved is None:
        (ring,) = (each for each in board.partitions if each.label == "ring")
        first = ring.offset // SECTOR
        return {name: [first + start, count] for name, (start, count) in board.rings.items()}
    try:
        blocks = reservation.read_map(read_file(image, board.storage, f"{board.reserved}/map"))
    except (OSError, ValueError):
        # The filesystem may be damaged; the map is a few bytes that say whether they are whole.
        start, size = board.storage
        maps = reservation.find_maps(image.read_bytes()[start : start + size], _count(board))
        if len(maps) != 1:
            return {}
        (blocks,) = maps
    base = board.storage[0] // SECTOR
    return {
        name: {"sectors": [base + block for block in blocks[start : start + count]]}
        for name, (start, count) in board.rings.items()
    }
