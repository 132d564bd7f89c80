"""A simulated board on the bench for tests: real mpremote at its port, a deploy tree, a cloud end."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from host_sim.bench import BenchBoard
from host_sim.hardware import image
from tools import boards, build
from tools.nodefile import NodeFile

ROOT = Path(__file__).resolve().parents[1]
MPREMOTE = [sys.executable, "-m", "mpremote"]


# Runs in a VM: the board's own littlefs and reservation code, on the file that its flash is, without its pace.
_FILL = """
import os, sys, vfs
class Region:
    def __init__(self, path, base, blocks):
        self.file, self.base, self.blocks = open(path, "r+b"), base, blocks
    def readblocks(self, block, buf, offset=0):
        self.file.seek(self.base + block * 4096 + offset)
        self.file.readinto(buf)
    def writeblocks(self, block, buf, offset=0):
        self.file.seek(self.base + block * 4096 + offset)
        self.file.write(buf)
    def ioctl(self, op, arg):
        return {4: self.blocks, 5: 4096}.get(op, 0)
flash, base, size, progsize, source, lib, folder, count = sys.argv[1:]
region = Region(flash, int(base), int(size) // 4096)
vfs.VfsLfs2.mkfs(region, progsize=int(progsize))
vfs.mount(vfs.VfsLfs2(region, progsize=int(progsize)), "/board")
def copy(path):
    for name, kind, *_ in os.ilistdir(source + path):
        at = path + "/" + name
        if kind == 0x4000:
            os.mkdir("/board" + at)
            copy(at)
        else:
            with open(source + at, "rb") as file, open("/board" + at, "wb") as made:
                made.write(file.read())
copy("")
if folder:
    sys.path[:] = [lib]
    import reservation
    reservation.reserve(region, "/board/" + folder, int(count), b"12345678")
vfs.umount("/board")
region.file.close()
"""


def fill(flash: Path, board: boards.Board, source: Path) -> None:
    """Gives a board that was not powered yet what a deploy would: the files of `source`, and its flash prepared."""
    image.open_flash(flash, board)
    storage = map(str, (*board.storage, board.granularity if board.reserved else 32))
    reserved = (board.reserved, str(board.ring_sectors)) if board.reserved else ("", "0")
    command = [sys.executable, "-m", "micropython_unix", "-X", "heapsize=4M", "-c", _FILL, str(flash), *storage]
    done = subprocess.run(
        [*command, str(source), str(build.OUT / "lib"), *reserved], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


ARMED_MAIN = """
import board, crc, struct, time
ports = board.build()
ports.attend(False)
if ports.power.reset_cause() == 1:
    table = bytearray(range(1, 29))
    table[2] &= 0x9F  # the board's marks
    struct.pack_into("<H", table, 0, crc.crc16(memoryview(table)[2:]))
    ports.power.retain(table)
try:
    while True:
        ports.power.feed()
        time.sleep(1)
except KeyboardInterrupt:
    ports.attend(True)
    raise
"""


BOOT = "import board\nboard.boot()\n"
LIB = ("attendance", "crc", "divider", "reservation", "station")


def put_ports(board: BenchBoard, boot: str = BOOT, **replaced: str) -> None:
    """Puts the board's ports on it, before it has power, and a main.py that keeps a table and feeds the watchdog.

    `replaced`: modules of the family's ports whose text is another.
    """
    build.build()
    tree = board.folder / "ports"
    tree.mkdir()
    (tree / "boot.py").write_text(boot)
    (tree / "main.py").write_text(ARMED_MAIN)
    (tree / "settings.json").write_text(json.dumps({"wifi": list(board.chip.networks.items())}))
    for part in [build.OUT / "lib" / each for each in LIB] + [
        package for each in board.board.packages for package in (build.OUT / each.relative_to(ROOT)).iterdir()
    ]:
        shutil.copytree(part, tree / part.name)
    for name, text in replaced.items():
        ports = tree / f"{board.board.family}_ports"
        (ports / f"{name}.mpy").unlink()
        (ports / f"{name}.py").write_text(text)
    fill(board.folder / "flash.bin", board.board, tree)


async def running(board: BenchBoard) -> Path:
    """The port of a board whose main.py has armed the watchdog."""
    for _ in range(500):
        if board.chip.watchdog.runs:
            return await port_of(board)
        await asyncio.sleep(0.02)
    raise AssertionError(board.console_log.read_text())


async def mpremote(port: Path, *words: str, timeout: float = 40.0) -> str:
    """Runs the real mpremote, unpatched, on the port; returns what it printed. AssertionError if it fails."""
    process = await asyncio.create_subprocess_exec(
        *MPREMOTE, "connect", str(port.resolve()), *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said = (await asyncio.wait_for(process.communicate(), timeout))[0].decode()
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"mpremote {' '.join(words)}: nothing within {timeout} s") from None
    assert process.returncode == 0, f"mpremote {' '.join(words)}: {said}"
    return said


async def port_of(board: BenchBoard, timeout: float = 15.0) -> Path:
    """The board's port, as soon as it is there."""
    for _ in range(int(timeout / 0.02)):
        if board.port.there:
            return board.port.link
        await asyncio.sleep(0.02)
    raise AssertionError(f"no port within {timeout} s; the board is {board.state}")


async def prompt_of(board: BenchBoard, timeout: float = 15.0) -> Path:
    """The board's port, as soon as a board without a main.py is at its prompt: before that it is deaf."""
    for _ in range(int(timeout / 0.02)):
        if board.console_log.read_bytes().endswith(b">>> ") and board.port.there:
            return board.port.link
        await asyncio.sleep(0.02)
    raise AssertionError(f"no prompt within {timeout} s: {board.console_log.read_text()}")


def tree(folder: Path, node_file: NodeFile, files: Path) -> Path:
    """What is to be on the board: the firmware, what it is made of, and the node's own `files`."""
    build.build()
    board = boards.load(node_file.board)
    made = folder / "tree"
    out = build.OUT
    parts = [out / "firmware", out / "lib", *(out / each.relative_to(ROOT) for each in board.packages)]
    for part in parts:
        shutil.copytree(part, made, dirs_exist_ok=True)
    (files / "settings.json").write_text(json.dumps(node_file.settings(), separators=(",", ":")))
    shutil.copytree(files, made, dirs_exist_ok=True)
    return made


async def deploy(board: BenchBoard, made: Path) -> None:
    """Copies the tree to the root of the board's filesystem and prepares its flash, in one session."""
    port = await prompt_of(board)
    entries = [str(entry) for entry in sorted(made.iterdir())]
    await mpremote(port, "fs", "cp", "-r", *entries, ":", timeout=120)
    await mpremote(port, "exec", "import board; board.build().flash.prepare()", timeout=60)


def environment() -> dict[str, str]:
    """For programs of ours that are to be found in this checkout."""
    return os.environ | {"PYTHONPATH": str(ROOT)}
