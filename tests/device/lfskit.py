"""What tests of reserved blocks share: NOR cells under littlefs and under rings."""

import hashlib
import os
import random

import vfs

BLOCK = 4096
BLOCKS = 64


class Nor:
    """A block device of NOR cells: programs whole pages, clears bits only. `left`: operations until the supply goes."""

    def __init__(self, blocks=BLOCKS, cells=None):
        self.cells = cells or bytearray(b"\xff" * (blocks * BLOCK))
        self.blocks = blocks
        self.left = -1
        self.operations = 0
        # The supply has gone; made ahead, for a collected file is closed where nothing can be allocated.
        self.cut = OSError(5)

    def after_cut(self):
        """The same cells, mounted afresh; what the VM still holds of the time before reaches them no more."""
        self.left = 0
        again = Nor(self.blocks, self.cells)
        mounted(again)
        return again

    def readblocks(self, block, buf, offset=0):
        if self.left == 0:
            raise self.cut
        start = block * BLOCK + offset
        buf[:] = self.cells[start : start + len(buf)]

    def _operate(self, start, data):
        self.left -= 1
        self.operations += 1
        if self.left == 0:
            data = data[: len(data) // 2]
        self.cells[start : start + len(data)] = data
        if self.left == 0:
            raise self.cut

    def writeblocks(self, block, buf, offset):
        if self.left == 0:
            raise self.cut
        if offset % 256 or len(buf) % 256:
            raise ValueError("not whole pages")
        start = block * BLOCK + offset
        old = memoryview(self.cells)[start : start + len(buf)]
        self._operate(start, bytes([a & b for a, b in zip(old, buf)]))

    def ioctl(self, op, arg):
        if op == 4:
            return self.blocks
        if op == 5:
            return BLOCK
        if op == 6:
            if self.left == 0:
                raise self.cut
            self._operate(arg * BLOCK, b"\xff" * BLOCK)
        return 0

    def erase(self, block):
        self.ioctl(6, block)


class Watched(Nor):
    """Tells `watch` of each operation before it is done: where, and what the cells hold when it is."""

    watch = None

    def _operate(self, start, data):
        if self.watch:
            self.watch(start, data)
        super()._operate(start, data)


MODES = ("nothing", "prefix", "few bits", "half the bits", "all")


class Tears:
    """Ways to cut an operation; the noise is drawn once."""

    def __init__(self):
        self._noise = bytes(random.getrandbits(8) for _ in range(9000))

    def torn(self, mode, old, new):
        """What is left of `new`, 4096 bytes or less, over `old`."""
        size = len(new)
        if mode == "nothing":
            return old
        if mode == "all":
            return new
        if mode == "prefix":
            end = random.randrange(1, size)
            return new[:end] + old[end:]
        noise = self._some(size)
        if mode == "few bits":
            noise &= self._some(size)
        before = int.from_bytes(old, "big")
        return (before ^ (before ^ int.from_bytes(new, "big")) & noise).to_bytes(size, "big")

    def _some(self, size):
        at = random.randrange(9000 - size)
        return int.from_bytes(self._noise[at : at + size], "big")

    def leave(self, mode, cells, start, data):
        """Put into `cells` what a cut of writing `data` at `start` leaves."""
        end = start + len(data)
        cells[start:end] = self.torn(mode, bytes(cells[start:end]), bytes(data))


def mounted(device):
    """Mounts it afresh, as a boot does; relative paths are in it."""
    os.chdir("/")
    if "lfs" in os.listdir("/"):
        try:
            vfs.umount("/lfs")
        except OSError as error:
            if error.errno != 22:
                raise
    vfs.mount(vfs.VfsLfs2(device, progsize=256), "/lfs")
    os.chdir("/lfs")


def formatted(blocks=BLOCKS):
    device = Nor(blocks)
    vfs.VfsLfs2.mkfs(device, progsize=256)
    mounted(device)
    return device


def digest(name):
    """What tells the content of a file from another."""
    found = hashlib.sha256()
    with open(name, "rb") as file:
        while True:
            data = file.read(512)
            if not data:
                return found.digest()
            found.update(data)


class RingPort:
    """The reserved blocks as the flash of rings."""

    sector_size = BLOCK
    page_size = granularity = 256

    def __init__(self, device, blocks):
        self.device = device
        self.blocks = blocks

    def read_into(self, addr, buf):
        self.device.readblocks(self.blocks[addr // BLOCK], buf, addr % BLOCK)

    def program(self, addr, buf):
        self.device.writeblocks(self.blocks[addr // BLOCK], buf, addr % BLOCK)

    def erase(self, sector):
        self.device.ioctl(6, self.blocks[sector])
