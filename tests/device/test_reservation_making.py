# heap: 4096K
# vm31: no, its VM has no littlefs
"""A reservation cut while it is made, torn in several ways, and cut again as the next boot makes it anew: there is
none, or it is whole; it is refused where a block is no longer ours; and no file beside it is hurt.
"""

import os
import random
from array import array

import reservation
import vfs
from lfskit import MODES, Nor, Tears, Watched, digest, mounted
from reservation import ReservationError

BLOCKS = 24
COUNT = 4
SEED = 1
FILES = {"settings": b"s" * 700, "old": b"o" * 9000, "small": b"tiny"}


class Making:
    """Making it is cut at every `stride`th operation from `offset` on, making it anew at every `again`th. What it
    finds: `cuts`, `second`, `whole` (states in which there was one), and lines in `wrong`.
    """

    def __init__(self, stride, offset, again=1):
        self._stride, self._offset, self._again = stride, offset, again
        self.operations = self.cuts = self.second = self.whole = 0
        self.wrong = []
        self._tears = Tears()

    def run(self):
        """First where there was none, then over what an earlier try has left."""
        device = Watched(BLOCKS)
        vfs.VfsLfs2.mkfs(device, progsize=256)
        mounted(device)
        for name, data in FILES.items():
            with open(name, "wb") as file:
                file.write(data)
        self._hashes = {name: digest(name) for name in FILES}
        os.mkdir("ring")
        for name in ("000", "new"):  # of a try before this one
            with open("ring/" + name, "wb") as file:
                file.write(b"FNV" + bytes(4093))
        device.watch = lambda start, data: self._cut(device, start, data)
        reservation.reserve(device, "/lfs/ring", COUNT, b"12345678")
        device.watch = None

    def _cut(self, device, start, data):
        self.operations += 1
        if self.operations % self._stride != self._offset % self._stride:
            return
        for mode in MODES:
            cells = bytearray(device.cells)
            self._tears.leave(mode, cells, start, data)
            self.cuts += 1
            name = "operation %d, %s" % (self.operations, mode)
            if self._verify(bytearray(cells), name) is False:
                self._make_anew(cells, name)

    def _make_anew(self, cells, name):
        device = Watched(BLOCKS, cells)

        def cut(start, data):
            if (device.operations + self.cuts) % self._again:
                return
            mode = random.choice(MODES)
            torn = bytearray(device.cells)
            self._tears.leave(mode, torn, start, data)
            self.second += 1
            self._verify(torn, "%s, then %d, %s" % (name, device.operations, mode))

        vfs.mount(vfs.VfsLfs2(device, progsize=256), "/next")
        try:
            device.watch = cut
            reservation.reserve(device, "/next/ring", COUNT, b"another.")
            device.watch = None
        finally:
            vfs.umount("/next")
        if not self._verify(cells, name + ", made anew"):
            self.wrong.append("%s: cannot be made any more" % name)

    def _verify(self, cells, name):
        """Whether there is a reservation; None: something is wrong. A whole one is then harmed and must be refused."""
        device = Nor(BLOCKS, cells)
        try:
            vfs.mount(vfs.VfsLfs2(device, progsize=256), "/torn")
        except OSError as error:
            self.wrong.append("%s: no filesystem: %s" % (name, error))
            return None
        try:
            for file, hashed in self._hashes.items():
                if digest("/torn/" + file) != hashed:
                    self.wrong.append("%s: file %s" % (name, file))
            blocks = reservation.load("/torn/ring", COUNT)
            if blocks is None:
                return False
            reservation.check(device, "/torn/ring", blocks)
            if len(set(blocks)) != COUNT:
                self.wrong.append("%s: a block twice" % name)
            self.whole += 1
            self._harm(device, blocks, name)
            return True
        except (ReservationError, OSError) as error:
            self.wrong.append("%s: %s" % (name, error))
            return None
        finally:
            vfs.umount("/torn")

    def _harm(self, device, blocks, name):
        """A reserved file is copied anew, which gives it another block, or makes room for another file."""
        index = self.whole % COUNT
        path = "/torn/ring/%03d" % index
        if self.whole % 3 == 0:
            os.remove(path)
        with open("/torn/thief" if self.whole % 3 == 0 else path, "wb") as file:
            file.write(b"y" * 4096)
        try:
            reservation.check(device, "/torn/ring", blocks)
        except ReservationError as error:
            if path in str(error):
                return
        self.wrong.append("%s: block %d is taken for ours" % (name, blocks[index]))


def found(making):
    """What is printed of one that has run."""
    return {
        "operations": making.operations, "cuts": making.cuts, "second": making.second, "whole": making.whole,
        "lost": [], "wrong": making.wrong, "unmountable": [],
    }  # fmt: skip


def _planted(name, made):
    """Runs a sample with `made` in the place of reservation.`name`; returns what was found wrong."""
    kept = getattr(reservation, name)
    setattr(reservation, name, made)
    random.seed(SEED)
    making = Making(7, 3, 30)
    try:
        making.run()
    except ReservationError as error:
        making.wrong.append("%s" % error)
    finally:
        setattr(reservation, name, kept)
    return making.wrong


def test_planted_bugs_are_caught():
    find, store = reservation._find, reservation._store

    def map_in_place(device, folder, count, nonce):
        """A map is begun in place, not beside and renamed."""
        blocks = find(device, folder, count, nonce)
        with open(folder + "/map", "wb") as file:
            file.write(b"FNM")
        return blocks

    def one_twice(device, folder, count, nonce):
        blocks = find(device, folder, count, nonce)
        blocks[0] = blocks[1]
        return blocks

    assert _planted("_find", map_in_place)
    assert _planted("_find", one_twice)
    assert _planted("_store", lambda folder, blocks, nonce: store(folder, array("H", reversed(blocks)), nonce))
    assert _planted("check", lambda device, folder, blocks: None)


def test_cut_while_it_is_made_it_is_whole_or_not_there():
    random.seed(SEED)
    making = Making(1, 0, 11)
    making.run()
    assert not making.wrong, found(making)
    assert making.cuts > 150 and making.second > 300 and making.whole > 100, found(making)
