"""The ring: append, read, release and drop of numbered records. SPEC.md beside this file gives every byte."""

from struct import pack_into, unpack_from

from crc import crc24

from flashring import entries, headers
from flashring.window import Window


class RingError(Exception):
    """What the ring refuses; the text says what and where."""


class NoRing(RingError):
    """`mount` found no ring in its sectors; the text says what stands there."""


class RingFull(RingError):
    """No room before unreleased records. `seq`: once it is released or dropped, the call succeeds."""

    def __init__(self, seq):
        super().__init__("ring full: records up to %d must be released or dropped first" % seq)
        self.seq = seq


class Ring:
    """A ring of `sector_count` (3 or more) sectors of `flash` from `first_sector` on.

    The flash port is described at `Window`; rings on one flash may share a window. Nothing is read or written before
    `format` or `mount`. What a method writes is durable when it returns. An OSError of the port passes through; what
    was being written is then in the ring or not, and the next write opens another sector.

    Attributes: `stream` (u32; 0: not mounted), `dropped` (records given up unreleased since `format`).
    """

    def __init__(self, flash, first_sector, sector_count, window=None):
        if sector_count < 3:
            raise ValueError("a ring needs 3 sectors, not %d" % sector_count)
        self._window = window or Window(flash)
        self._headers = headers.Headers(flash, first_sector, sector_count)
        self._count = sector_count
        self._size = self._window.size
        self._unit = self._window.unit
        self._start = self._room(headers.SIZE)  # of the first entry in a sector
        self._lap4 = bytearray(4)
        self._set_head(0, 0, 1, 0, 0)

    def _set_head(self, lap, stream, first, released, dropped):
        self.stream = stream
        self.dropped = dropped
        self._lap = lap  # of the head, the sector being written
        self._seed = self._seed_of(lap)
        self._first = first  # seq of the first record that stands or will stand in the head
        self._next = first
        self._released = released
        self._position = self._start  # of the next entry in the head; sector size: the head is closed
        self._edge = 0  # the oldest seq readable without the sector after the head; 0: not looked up yet
        self._reader = (0, 0, 0)  # seq after the one read last, and the lap and position to look for it

    # The life of a ring

    def format(self, stream):
        """Start an empty ring under `stream` (u32, random, not 0). What stood in these sectors is lost.

        The new ring opens one sector above the highest lap found: a cut leaves the old ring or the new one.
        """
        if not 0 < stream <= 0xFFFFFFFF:
            raise ValueError("stream %d is not in 1..2^32-1" % stream)
        lap = self._headers.newest_of_all()
        if self._headers.holds(lap, stream):
            raise ValueError("stream %d is the old ring's: a new one needs another" % stream)
        self._open(lap + 1, stream, 1, 0, 0)

    def mount(self, hint=None):
        """Find the ring. Raises NoRing if there is none; never formats.

        `hint`: what `hint()` once gave, which saves the search. None, or one that no longer fits, costs only time.
        """
        self.stream = 0
        if hint is None or not self._mount_hinted(hint[0], hint[1] | hint[2] << 8):
            lap = self._headers.newest()
            if lap < 0:
                raise NoRing("no ring in " + self._headers.describe())
            self._walk_head(lap)

    def hint(self):
        """3 bytes for a later `mount`: sector u8, offset u16. It need not be kept, nor still be right."""
        offset = min(self._position, 0xFFFF)
        return bytes((self._lap % self._count & 0xFF, offset & 0xFF, offset >> 8))

    def idle(self):
        """Do what an append would else wait for: erase the sector after the head, if nothing in it is needed."""
        self._check_mounted()
        if self._after_head_is_free():
            self._headers.read((self._lap + 1) % self._count)
            # A look at the header's place is enough here: `_open` looks at the whole sector.
            if not self._headers.looks_erased():
                self._window.erase(self._headers.sector(self._lap + 1))

    # Writing

    def append(self, payload, sync=True):
        """Write a record; it is durable on return whatever `sync` says. Returns its seq. Raises RingFull.

        `payload`: bytes-like, at most 1024 bytes and at most what a sector holds, else ValueError.
        """
        self._check_mounted()
        room = self._room(entries.FRAME + len(payload))
        if len(payload) > entries.MAX_PAYLOAD or self._start + room > self._size:
            raise ValueError("payload of %d bytes is too long for a record" % len(payload))
        # A record is taken only while the sector after its own is free: release and drop must find room.
        if self._position + room > self._size:
            edge = self._headers.first_since(self._lap + 3 - self._count, self._lap, self.stream)
            if self._released + 1 < edge:
                raise RingFull(edge - 1)
            self._open(self._lap + 1, self.stream, self._next, self._released, self.dropped)
            self._edge = edge
        elif self._next == self._first and not self._after_head_is_free():
            raise RingFull(self._edge - 1)
        seq = self._next
        self._write(entries.RECORD, seq, payload, room)
        self._next = seq + 1
        return seq

    def sync(self):
        """Make what was appended with sync=False durable. It is: this format gains nothing by waiting."""
        self._check_mounted()

    def release(self, seq):
        """The records up to `seq` need not be kept: the cloud has committed them. ValueError if it is not written.

        RingFull: the ring is full and its last sector used up, by a cut or by drops and rewinds. Nothing is changed;
        only a release or drop that reaches the exception's `seq` is taken.
        """
        self._check_written(seq)
        if seq > self._released:
            self._move(entries.RELEASE, seq, self.dropped)

    def drop(self, seq):
        """Give up the records up to `seq`; those not released count as dropped. Raises as `release` does."""
        self._check_written(seq)
        if seq > self._released:
            self._move(entries.DROP, seq, self.dropped + seq - self._released)

    def rewind(self, seq):
        """Make the records from `seq` on unreleased again. ValueError if `seq` is not readable; RingFull."""
        oldest, released, end = self.range()
        if not oldest <= seq < end:
            raise ValueError("rewind to %d: readable are %d..%d" % (seq, oldest, end - 1))
        if seq <= released:
            self._move(entries.REWIND, seq - 1, self.dropped)

    # Reading

    def range(self):
        """(oldest readable seq, released: every seq <= it is, next seq to be given). Empty: oldest == next."""
        self._check_mounted()
        oldest = 0
        if not self._after_head_is_free() and self._headers.holds(self._lap + 1 - self._count, self.stream):
            oldest = self._headers.field(headers.FIRST)
        return oldest or self._edge, self._released, self._next

    def read(self, seq):
        """The payload of record `seq`, bytes. KeyError if it is overwritten, not written yet or damaged.

        Reading in order costs one search and one read of the flash for each sector.
        """
        oldest, _, end = self.range()
        if not oldest <= seq < end:
            raise KeyError("record %d: readable are %d..%d" % (seq, oldest, end - 1))
        payload = None
        if self._reader[0] == seq:
            payload = self._find(seq, self._reader[1], self._reader[2])
        if payload is None:
            lap = self._headers.lap_of(seq, self._lap, self.stream)
            payload = self._find(seq, lap, self._start)
            if payload is None:
                raise KeyError("record %d: damaged in sector %d" % (seq, self._headers.sector(lap)))
        return payload

    def _find(self, seq, lap, position):
        """The payload of record `seq` if it stands in `lap` at or after `position`, else None."""
        view = self._window.load(self._headers.sector(lap))
        found = entries.find(view, position, seq, self._seed_of(lap), self._unit)
        if found is None:
            return None
        self._reader = (seq + 1, lap, found[1])
        return bytes(found[0])

    # Sectors and entries

    def _room(self, length):
        return (length + self._unit - 1) // self._unit * self._unit

    def _seed_of(self, lap):
        pack_into("<I", self._lap4, 0, lap)
        return crc24(self._lap4)

    def _write(self, kind, seq, payload, room):
        """Write an entry of `room` bytes, padding included, at the head's position."""
        start = self._position
        view = self._window.load(self._headers.sector(self._lap))
        entries.put(view, start, kind, seq, payload, self._seed)
        self._position = self._size  # nothing more goes here, should the port raise
        self._window.program(start, start + room)
        self._position = start + room

    def _move(self, kind, cursor, dropped):
        """Move the release cursor: by an entry or, without room for it, by the header of the next sector."""
        payload = b""
        if kind == entries.DROP:
            payload = bytearray(4)
            pack_into("<I", payload, 0, dropped)
        room = self._room(entries.FRAME + len(payload))
        if self._position + room <= self._size:
            self._write(kind, cursor, payload, room)
            self._released, self.dropped = cursor, dropped
        elif self._after_head_is_free() or cursor + 1 >= self._edge:
            # If only this call frees it, a cut in here may leave what it gives up gone with no word of it.
            self._open(self._lap + 1, self.stream, self._next, cursor, dropped)
        else:
            raise RingFull(self._edge - 1)

    def _open(self, lap, stream, first, released, dropped):
        """Make the sector of `lap`, in which nothing is needed, the head."""
        sector = self._headers.sector(lap)
        view = self._window.load(sector)
        if not self._window.is_blank(0):
            self._window.erase(sector)
        headers.build(view, lap, stream, first, released, dropped)
        self._window.program(0, self._start)
        self._set_head(lap, stream, first, released, dropped)

    def _after_head_is_free(self):
        """Whether nothing in the sector after the head is unreleased: it is then no part of the log."""
        if not self._edge:
            count, lap = self._count, self._lap
            self._edge = self._headers.first_since(lap + 2 - count, lap, self.stream)
            if self._released + 1 < self._edge and not self._headers.holds(lap + 1 - count, self.stream):
                self._released = self._edge - 1  # given up by a `_move` that was cut
        return self._released + 1 >= self._edge

    def _check_mounted(self):
        if not self.stream:
            raise RingError("the ring is not mounted")

    def _check_written(self, seq):
        self._check_mounted()
        if seq >= self._next:
            raise ValueError("record %d is not written yet; next is %d" % (seq, self._next))

    # Mounting

    def _mount_hinted(self, index, offset):
        """Mount with `index` as the head, if it is the head and its entries reach `offset`."""
        if index >= self._count:
            return False
        lap = self._headers.read(index)
        if lap < 0:
            return False
        self._walk_head(lap)
        if self._position >= offset and self._headers.is_newest(lap):
            return True
        self.stream = 0
        return False

    def _walk_head(self, lap):
        """Take the sector of `lap`, whose header fits, as the head and go on where its entries end."""
        view = self._window.load(self._headers.sector(lap))
        _, stream, first, released, dropped = unpack_from("<IIIII", view, headers.LAP)
        self._set_head(lap, stream, first, released, dropped)
        self._position, self._next, self._released, self.dropped = entries.walk(
            view, self._start, first, released, dropped, self._seed, self._unit
        )
        if not self._window.is_blank(self._position):
            self._position = self._size
