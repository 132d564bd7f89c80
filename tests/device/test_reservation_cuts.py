# heap: 8192K
# vm31: no, its VM has no littlefs
"""Rings in reserved blocks on a littlefs in use, the supply cut in a flash operation of either, torn in several ways.

Before an operation is carried out, what each way of cutting it would leave is mounted elsewhere, as the next boot does:
no reserved block has moved, every record that was durable is there, every file is what it was when it was closed. Then
that boot goes on, is cut as well, and is held to the same. `python -m tools.torture` does so at every operation, the
test here at some.
"""

import hashlib
import os
import random

import reservation
import vfs
from flashring import NoRing, Ring, RingBusy, RingError, Window
from lfskit import MODES, Nor, RingPort, Tears, Watched, digest, mounted
from reservation import ReservationError

BLOCKS = 40
SECTORS = (4, 5)  # of the rings
COUNT = sum(SECTORS)
TURNS = 120
UNSENT = 6  # records that are not released; in pages with what two cuts leave unused they must fit two sectors
SEED = 1  # of the sample; tools/torture.py takes others


def payload(seq):
    """What record `seq` holds."""
    return bytes([seq & 255]) * (seq * 37 % 90)


def rings_of(device, blocks):
    """Two rings in the reserved blocks, not mounted."""
    window = Window(RingPort(device, blocks), 100)
    return [Ring(window.flash, 0, SECTORS[0], window), Ring(window.flash, SECTORS[0], SECTORS[1], window)]


def append(ring):
    """The next record, durable; and the release of what is older than UNSENT."""
    try:
        seq = ring.append(payload(ring.range()[2]))
    except RingBusy:
        ring.idle()
        seq = ring.append(payload(ring.range()[2]))
    ring.release(max(0, seq - UNSENT))
    return seq


class Torture:
    """A life that is cut at every `stride`th operation from `offset` on, and what follows at every `again`th.
    What it finds: `cuts`, `second` (cuts of what follows a cut), and lines in `lost`, `wrong` and `unmountable`.
    """

    def __init__(self, stride, offset, again=1):
        self._stride, self._offset, self._again = stride, offset, again
        self.operations = self.cuts = self.second = 0
        self.lost, self.wrong, self.unmountable = [], [], []
        self._tears = Tears()
        self._files = {}  # name: content
        self._hashes = {}  # name: of the content
        self._pending = {}  # name: what it may be by now, hashes; None: gone; empty: anything
        self._last = [0, 0]  # record that is durable in each ring
        self.full = 0
        self.device = Watched(BLOCKS)
        vfs.VfsLfs2.mkfs(self.device, progsize=256)
        mounted(self.device)
        self.blocks = reservation.reserve(self.device, "ring", COUNT, b"12345678")
        self._rings = rings_of(self.device, self.blocks)
        for number, ring in enumerate(self._rings):
            ring.format(number + 1)

    def run(self):
        """Files written, appended to, renamed and deleted until the filesystem is full, and again; mounted anew; with
        records in both rings between.
        """
        self.device.watch = self._cut
        for turn in range(TURNS):
            for _ in range(turn % 4 + 1):
                self._last[turn & 1] = append(self._rings[turn & 1])
            name, what = "f%d" % (turn * 7 % 15), turn * 5 % 8
            if what == 0 and name in self._files:
                self._remove(name)
            elif what == 1 and name in self._files:
                self._rename(name, "g%d" % turn)
            else:
                self._write(name, bytes([turn]) * (turn * 977 % 11000), what == 2)
            if turn % 20 == 19:
                mounted(self.device)
                self._rings = rings_of(self.device, self.blocks)
                for ring in self._rings:
                    ring.mount()
        self.device.watch = None

    def _write(self, name, data, more):
        """Closed, it is durable: until then it is what it was."""
        old = self._files.get(name)
        new = (old or b"") + data if more else data
        hashed = hashlib.sha256(new).digest()
        made = hashlib.sha256(b"").digest() if old is None else hashed  # what opening it makes of it
        self._pending = {name: (self._hashes.get(name), made, hashed)}
        try:
            with open("/lfs/" + name, "ab" if more else "wb") as file:
                file.write(data)
        except OSError as error:
            if error.errno != 28:
                raise
            self.full += 1
            self._pending = {name: ()}
            os.remove("/lfs/" + name)
            self._files.pop(name, None)
            self._hashes.pop(name, None)
            for other in sorted(self._files)[::3]:
                self._remove(other)
        else:
            self._files[name], self._hashes[name] = new, hashed
        self._pending = {}

    def _remove(self, name):
        self._pending = {name: (self._hashes[name], None)}
        os.remove("/lfs/" + name)
        del self._files[name], self._hashes[name]
        self._pending = {}

    def _rename(self, name, other):
        hashed = self._hashes[name]
        self._pending = {name: (hashed, None), other: (hashed, None)}
        os.rename("/lfs/" + name, "/lfs/" + other)
        self._files[other], self._hashes[other] = self._files.pop(name), self._hashes.pop(name)
        self._pending = {}

    def _cut(self, start, data):
        self.operations += 1
        if self.operations % self._stride != self._offset:
            return
        for mode in MODES:
            cells = bytearray(self.device.cells)
            self._tears.leave(mode, cells, start, data)
            name = "operation %d, %s" % (self.operations, mode)
            self.cuts += 1
            if self._verify(bytearray(cells), name):
                self._cut_again(cells, name)

    def _cut_again(self, cells, name):
        """What follows, each operation of it torn in one of the ways, and the boot after that."""
        device = Watched(BLOCKS, cells)

        def cut(start, data):
            if (device.operations + self.cuts) % self._again:
                return
            mode = random.choice(MODES)
            cells = bytearray(device.cells)
            self._tears.leave(mode, cells, start, data)
            self.second += 1
            self._verify(cells, "%s, then %d, %s" % (name, device.operations, mode), True)

        device.watch = cut
        self._go_on(device)

    def _go_on(self, device):
        """What a boot does next. What its files hold then is as open as what was being written."""
        vfs.mount(vfs.VfsLfs2(device, progsize=256), "/next")
        try:
            rings = rings_of(device, self.blocks)
            for ring in rings:
                ring.mount()
                append(ring)
            try:
                with open("/next/after", "wb") as file:
                    file.write(b"a" * 3000)
            except OSError as error:
                if error.errno != 28:  # a full filesystem is no cut
                    raise
            append(rings[0])
        finally:
            device.watch = None
            vfs.umount("/next")

    def _verify(self, cells, name, again=False):
        """Whether a boot from `cells` finds everything; `again`: more was appended after a first cut."""
        device = Nor(BLOCKS, cells)
        try:
            vfs.mount(vfs.VfsLfs2(device, progsize=256), "/torn")
        except OSError as error:
            self.unmountable.append("%s: %s" % (name, error))
            return False
        before = len(self.lost) + len(self.wrong) + len(self.unmountable)
        try:
            if reservation.load("/torn/ring", COUNT) != self.blocks:
                self.wrong.append("%s: another map" % name)
            reservation.check(device, "/torn/ring", self.blocks)
            for which, ring in enumerate(rings_of(device, self.blocks)):
                ring.mount()
                self._records(ring, self._last[which], name, again)
            self._contents(name)
        except NoRing as error:
            self.unmountable.append("%s: %s" % (name, error))
        except (ReservationError, OSError) as error:
            self.wrong.append("%s: %s" % (name, error))
        finally:
            vfs.umount("/torn")
        return before == len(self.lost) + len(self.wrong) + len(self.unmountable)

    def _records(self, ring, last, name, again):
        """`last`: the newest that is durable. UNSENT up to it must be there, whatever the ring says is released; with
        `again`, up to the newest there is.
        """
        oldest, released, following = ring.range()
        if following <= last:
            self.lost.append("%s: records %d..%d of %d" % (name, oldest, following - 1, last))
        if released > max(0, following - 1 - UNSENT):
            self.wrong.append("%s: released %d of %d" % (name, released, following - 1))
        if again:
            last = max(last, following - 1)
        for seq in range(max(1, last + 1 - UNSENT), following):
            try:
                if ring.read(seq) != payload(seq):
                    self.wrong.append("%s: record %d" % (name, seq))
            except KeyError as error:
                self.lost.append("%s: %s" % (name, error))

    def _contents(self, name):
        seen = os.listdir("/torn")
        for file in set(list(self._hashes) + list(self._pending)):
            allowed = self._pending.get(file, (self._hashes.get(file),))
            found = digest("/torn/" + file) if file in seen else None
            if allowed and found not in allowed:
                self.wrong.append("%s: file %s" % (name, file))
        if len(self._pending) == 2 and not any(file in seen for file in self._pending):
            self.wrong.append("%s: renamed away" % name)


def found(torture):
    """What is printed of one that has run."""
    return {
        "operations": torture.operations, "cuts": torture.cuts, "second": torture.second, "full": torture.full,
        "lost": torture.lost, "wrong": torture.wrong, "unmountable": torture.unmountable,
    }  # fmt: skip


class _Rewritten(Torture):
    """Somebody copies a reserved file anew over the cable: littlefs gives it another block."""

    def _rename(self, name, other):
        super()._rename(name, other)
        with open("/lfs/ring/003", "wb") as file:
            file.write(b"\xff" * 4096)


class _Astray(Torture):
    """A ring that erases a block that is not its own."""

    def _rename(self, name, other):
        super()._rename(name, other)
        for block in range(BLOCKS):
            if block not in list(self.blocks) and self._holds_a_file(block):
                self.device.erase(block)
                return

    def _holds_a_file(self, block):
        start = bytes(self.device.cells[block * 4096 : block * 4096 + 600])
        return start == start[:1] * 600 and any(start[:1] == data[:1] for data in self._files.values())


class _Unsettled(Torture):
    """Whoever boots takes the records of the newest sector for released."""

    def _records(self, ring, last, name, again):
        ring.drop(max(1, ring.range()[2] - 1))
        super()._records(ring, last, name, again)


def test_planted_bugs_are_caught():
    for planted, kind in ((_Rewritten, "wrong"), (_Astray, "wrong"), (_Unsettled, "wrong")):
        random.seed(SEED)
        torture = planted(101, 5, 40)
        try:
            torture.run()
        except (OSError, RingError) as error:
            print("the life itself: %s" % error)
        assert getattr(torture, kind), planted.__name__


def test_a_cut_in_either_hurts_neither():
    random.seed(SEED)
    torture = Torture(41, 5, 7)
    torture.run()
    assert not torture.lost and not torture.wrong and not torture.unmountable, found(torture)
    assert torture.full > 3 and torture.cuts > 100 and torture.second > 100, found(torture)
