"""The ring: append, read, release and drop of numbered records. SPEC.md beside this file gives every byte."""

from flashring import checks, headers
from flashring.entries import CURSOR_SIZE, DROP_SIZE, record_size
from flashring.error import NoRing, RingBusy, RingError, RingFull
from flashring.head import Head
from flashring.reader import Reader
from flashring.window import Window


class Ring:
    """A ring of `sector_count` (3 or more) sectors of `flash` from `first_sector` on.

    The flash port is described at `Window`; rings on one flash may share a window. Nothing is read or written before
    `format` or `mount`. What a method writes is durable when it returns. An OSError of the port passes through; what
    was being written is then in the ring or not, and the next write goes elsewhere. `measure(view, start)`: the length
    of the record that starts there, for records that tell their own; a batch then keeps no lengths.

    Attributes: `stream` (u32; 0: not mounted), `damaged` (records that `read` found damaged since the mount, and places
    in the newest sector that a cut tore or damage spoilt), `skipped` (None, or the first and the last seq of
    unreleased records in a sector whose header damage has spoilt: they count as dropped. Whoever has declared them sets
    it to None).
    """

    def __init__(self, flash, first_sector, sector_count, window=None, measure=None):
        if sector_count < 3:
            raise ValueError("a ring needs 3 sectors, not %d" % sector_count)
        self._window = window or Window(flash)
        self._headers = headers.Headers(flash, first_sector, sector_count)
        self._count = sector_count
        self._head = Head(self._window)
        self._measure = measure
        self._reader = None
        self.stream = 0
        self.damaged = 0
        self.skipped = None
        self._failed = -1  # the lap that did not hold when it was opened last
        self._forget()

    def _forget(self):
        """What was looked up holds for one head only."""
        self._edge = 0  # the oldest seq readable without the sector after the head; 0: not looked up yet
        self._next_edge = 0  # the same once that sector is the head; 0: it is not erased yet

    # The life of a ring

    def format(self, stream):
        """Start an empty ring under `stream` (u32, random, not 0). What stood in these sectors is lost.

        The new ring opens one sector above the highest lap found: a cut leaves the old ring or the new one.
        """
        from flashring import setup  # once in a node's life

        self._reader = None
        lap = setup.clear(self._headers, self._window, stream)
        self._forget()
        self.stream = stream
        self.skipped = None
        self._head.lap, self._head.next = lap, 1
        if not self._open(0, 0):
            self.stream = 0
            raise self._broken(lap + 1)

    def mount(self, hint=None, clean=False):
        """Find the ring. Raises NoRing if there is none; never formats.

        `clean`: the caller knows that no write was cut since the last one returned, as after a deep sleep. Without it,
        what a cut may have left half done is settled: the last entries are programmed once more, a torn sector is
        marked. `hint`: what `hint()` once gave, which saves the search. None, or one that no longer fits, costs only
        time.
        """
        self.stream = 0
        found, window, head = self._headers, self._window, self._head
        lap = -1
        if hint is not None and hint[0] < self._count:
            lap = found.read(hint[0])
            if lap >= 0 and not found.is_newest(lap, clean):
                lap = -1
        if lap < 0:
            lap = found.newest()
        above = found.above
        for _ in range(2 * self._count):
            if lap < 0:
                from flashring import setup

                raise NoRing("no ring in " + setup.describe(found))
            stream = self._load_head(lap, clean)
            if not stream:
                # It was read otherwise before: a cut has left it between 0 and 1.
                window.spoil(found.sector(lap))
            else:
                if clean or 0 <= above < lap:
                    break
                above = found.read((lap + 1) % self._count)
                if above <= lap:
                    break
                # The end of the log is further on: what was read of it before was misread.
            lap, above = found.newest_of_all(), -1
        else:
            raise RingError("no two reads of the headers agree")
        self._forget()
        self._reader = self.skipped = None
        self.damaged = head.damaged
        self.stream = stream
        if not clean:
            window.rewrite(found.sector(lap), head.settle, head.end)
            if head.torn:
                window.void(found.sector(lap), head.end)
            # Erased or not, who knows: only one that was never touched since it was written is left as it is.
            if not 0 <= above < lap:
                self._spoil_after_head()

    def _spoil_after_head(self):
        """See to it that the sector after the head, whose header was read last and does not fit, is not taken for
        erased, nor for one that was opened, by a later mount.
        """
        found, lap = self._headers, self._head.lap + 1
        if not found.looks_erased() and found.start()[0] and self._after_head_is_free() and self.skipped:
            from flashring.repair import stands

            # Damage to the header alone: it is left to whoever can read it better.
            if stands(self._window.load(found.sector(lap)), checks.lap_seed(lap - self._count)):
                return
        self._window.spoil(found.sector(lap))

    def _load_head(self, lap, clean):
        """Take the sector of `lap` for the head. Returns its stream; 0: the header does not stand there, however often
        it is read.

        What is to be marked as torn or damaged must read so twice in a row.
        """
        found, window, head = self._headers, self._window, self._head
        seen, stream = None, 0
        for _ in range(6):
            view = window.load(found.sector(lap))
            stream = 0
            if found.look(view, lap % self._count) == lap:
                stream = found.field(headers.STREAM)
                head.load(view, lap, found, clean)
                before, seen = seen, (head.next, head.end, head.released, head.damaged)
                if not head.damaged or seen == before:
                    break
            window.forget()
        return stream

    def hint(self):
        """3 bytes for a later `mount`: sector u8, which is all that it uses, and offset u16. They need not be kept, nor
        still be right.
        """
        offset = min(self._head.position, 0xFFFF)
        return bytes((self._head.lap % self._count & 0xFF, offset & 0xFF, offset >> 8))

    def room(self):
        """Bytes left before `idle` must have erased the next sector."""
        self._check_mounted()
        return self._head.size - self._head.position

    def idle(self):
        """Erase the sector after the head, if nothing in it is needed. True if it is ready for records.

        `append` never erases: without this it raises RingBusy where the head is full.
        """
        self._check_mounted()
        head = self._head
        if head.unsaved or head.owed:
            self._move(head.released, head.dropped, False)
        if not self._next_edge and self._after_head_is_free():
            # Blank means erased: a mount after a cut spoils what only looks so.
            if self._headers.read((head.lap + 1) % self._count) >= 0 or not self._headers.looks_erased():
                self._erase_after_head()
            self._next_edge = self._edge_after_next()
        return self._next_edge > 0

    def erase_released(self):
        """Make what is released unreadable, oldest first, but for the sector with the newest record: the sector after
        the head is erased, the others are programmed with zeros.

        A generator that yields after each sector, 80 ms at most; between two steps the ring may be used as ever. What
        was released stays released. RingFull as `release`.
        """
        self._check_mounted()
        head, lap = self._head, 0
        while True:
            was_ready = self._next_edge > 0
            if self.idle() and not was_ready:
                yield
            lap = max(lap, head.lap + 2 - self._count)
            if not self._is_past(lap):
                return
            # Zeros, for only the sector after the head may look erased: of no other a mount asks whether it is.
            if self._window.wipe(self._headers.sector(lap)):
                self._edge = 0
                self._reader = None
                if self._next_edge:
                    self._next_edge = self._edge_after_next()
                yield
            lap += 1

    def _erase_after_head(self):
        found, lap = self._headers, self._head.lap + 1
        if found.read(lap % self._count) >= lap:
            self.stream = 0
            raise RingError("sector %d holds a newer end of the log: mount again" % found.sector(lap))
        self._window.erase(found.sector(lap))

    def _is_past(self, lap):
        """Whether `lap` is older than the head, every record up to it is released, and one stands in a later lap."""
        head, first = self._head, self._head.first
        for later in range(lap + 1, head.lap):
            if self._headers.holds(later, self.stream):
                first = self._headers.field(headers.FIRST)
                break
        return lap < head.lap and head.released + 1 >= first != head.next

    # Writing

    def append(self, payload, reserve=False):
        """Write a record. Returns its seq. Raises RingFull, or RingBusy where `idle` is due; then nothing is changed.

        `payload`: bytes-like, at most what the window was made for, else ValueError. `reserve`: use the room that is
        kept for moves of the cursor: for copies of records that are to be dropped right after.
        """
        self._check_mounted()
        if len(payload) > self._window.largest:
            raise ValueError("payload of %d bytes is too long for a record" % len(payload))
        return self._write(record_size(len(payload)), payload, None, reserve)

    def append_batch(self, payloads, reserve=False):
        """Write a list of 1 to 16 records, all or none. Returns the seq of the first. Raises as `append` does; each
        is at most 255 bytes long unless the ring has a `measure`. `reserve`: as `append`'s.
        """
        self._check_mounted()
        from flashring import batch

        size = batch.size(payloads, self._measure is None, self._window.largest)
        return self._write(size, None, payloads, reserve)

    def _write(self, size, payload, payloads, reserve):
        head, commit = self._head, self._window.commit
        if head.next == head.first and not reserve and not self._after_head_is_free():
            raise RingFull((self._edge if head.fits(size, 0) else self._edge_after_next()) - 1)
        while self._fits(size, 0):
            head.begin(commit)
            self._put(payload, payloads)
            if head.write(self._headers.sector(head.lap)):
                return self._count_up(payloads)
        if not self._next_edge:
            if self._after_head_is_free():
                raise self._busy()
            raise RingFull(self._edge_after_next() - 1)
        if not reserve and head.released + 1 < self._next_edge:
            raise RingFull(self._next_edge - 1)
        if not self._open(head.released, head.dropped, payload, payloads):
            raise self._busy()
        return self._count_up(payloads)

    def _busy(self):
        return RingBusy("sector %d must be erased first: call idle()" % self._headers.sector(self._head.lap + 1))

    def _fits(self, size, cursor):
        """Whether there is room for `size` bytes in the head. What does not free the next sector leaves room for a move
        that does; `cursor`: the release cursor that these bytes tell.
        """
        head = self._head
        if head.fits(size, head.spare):
            return True
        # In this order: what is found to be gone there needs room itself.
        return (self._after_head_is_free() or cursor + 1 >= self._edge) and head.fits(size, 0)

    def _put(self, payload, payloads):
        if payloads is None:
            self._window.commit.record(payload, self._head.next)
        else:
            from flashring import batch

            batch.put(self._window.commit, payloads, self._head.next, self._measure is None)

    def _count_up(self, payloads):
        seq = self._head.next
        self._head.next = seq + (1 if payloads is None else len(payloads))
        return seq

    def release(self, seq, sync=True):
        """The records up to `seq` need not be kept: the cloud has committed them. ValueError if it is not written.

        `sync=False`: durable with the next write, or `idle`; until then a cut may take it back. RingFull: the ring is
        full and its last sector used up, by cuts or by drops and rewinds. Nothing is changed; only a release or drop
        that reaches the exception's `seq` is taken.
        """
        self._check_written(seq)
        if seq > self._head.released:
            if sync:
                self._move(seq, self._head.dropped, False)
            else:
                self._head.released, self._head.unsaved = seq, True

    def drop(self, seq):
        """Give up the records up to `seq`; those not released count as dropped. Raises as `release` does."""
        self._check_written(seq)
        released = self._head.released
        if seq > released:
            self._move(seq, self._head.dropped + seq - released, True)

    def rewind(self, seq):
        """Make the records from `seq` on unreleased again. ValueError if `seq` is not readable; RingFull."""
        oldest, released, end = self.range()
        if not oldest <= seq < end:
            raise ValueError("rewind to %d: readable are %d..%d" % (seq, oldest, end - 1))
        if seq <= released:
            self._move(seq - 1, self._head.dropped, False)

    def _move(self, cursor, dropped, is_drop):
        """Move the release cursor: by an entry or, without room for it, by the header of the next sector."""
        head, commit = self._head, self._window.commit
        while self._fits(DROP_SIZE if is_drop else CURSOR_SIZE, cursor):
            head.begin(commit)
            if is_drop:
                commit.drop(cursor, dropped, head.next)
            else:
                commit.cursor(cursor, head.next)
            if head.write(self._headers.sector(head.lap)):
                head.released, head.dropped = cursor, dropped
                return
        if not self._after_head_is_free() and cursor + 1 < self._edge:
            raise RingFull(self._edge - 1)
        for _ in range(2):  # what only looked erased does not hold, and is erased then
            # If only this call frees it, a cut in here may leave what it gives up gone with no word of it.
            if not self._next_edge:
                self._erase_after_head()
            if self._open(cursor, dropped):
                return
        raise self._broken(head.lap + 1)

    # Reading

    @property
    def mended(self):
        """Headers found with one flipped bit, which is put right in RAM; each time one is read counts."""
        return self._headers.mended

    @property
    def dropped(self):
        """Records given up unreleased since `format`."""
        return self._head.dropped

    def overdue(self):
        """The seq up to which a `drop` is still to follow on the copies that were appended with `reserve`, for a cut
        came between; 0: none is. Until then nothing more can be copied.
        """
        self._check_mounted()
        return 0 if self._after_head_is_free() else self._edge - 1

    def opened(self):
        """(fewest, most): how often a sector of the ring was opened, which took an erase each; boots after a cut may
        have taken some more. Reads nothing.
        """
        self._check_mounted()
        laps = self._head.lap + 1
        return laps // self._count, (laps + self._count - 1) // self._count

    def waiting(self):
        """How many records are not released. Reads nothing."""
        self._check_mounted()
        return self._head.next - 1 - self._head.released

    def range(self):
        """(oldest readable seq, released: every seq <= it is, next seq to be given). Empty: oldest == next."""
        self._check_mounted()
        oldest = 0
        if not self._after_head_is_free() and self._headers.holds(self._head.lap + 1 - self._count, self.stream):
            oldest = self._headers.field(headers.FIRST)
        return oldest or self._edge, self._head.released, self._head.next

    def read(self, seq):
        """The payload of record `seq`, bytes. KeyError if it is overwritten, not written yet or damaged.

        Reading in order costs one search and one read of the flash for each sector.
        """
        oldest, _, end = self.range()
        if not oldest <= seq < end:
            raise KeyError("record %d: readable are %d..%d" % (seq, oldest, end - 1))
        if self._reader is None:
            self._reader = Reader(self._window, self._headers, self._measure)
        payload = self._reader.read(seq, self._head.lap, self.stream)
        if payload is None:
            self._window.forget()  # the copy may have been misread
            payload = self._reader.read(seq, self._head.lap, self.stream)
        if payload is None:
            self.damaged += 1
            raise KeyError("record %d: damaged in sector %d" % (seq, self._reader.sector))
        return payload

    # Sectors

    def _open(self, released, dropped, payload=None, payloads=None):
        """Make the next sector, which is erased, the head, with a first entry if there is one. False: it did not hold,
        and must be erased; RingError if that was done before: its cells are worn out or stuck.
        """
        head, commit = self._head, self._window.commit
        lap, edge = head.lap + 1, self._next_edge
        seed = checks.lap_seed(lap)
        commit.begin(0, seed)
        commit.header(lap, self.stream, head.next, released, dropped)
        if payload is not None or payloads is not None:
            self._put(payload, payloads)
        head.position = head.size  # the new header may get there even if the port raises
        self._forget()
        if not self._window.write(self._headers.sector(lap), 0):
            self._window.spoil(self._headers.sector(lap))
            if self._failed == lap:
                raise self._broken(lap)
            self._failed = lap
            return False
        head.take(lap, seed, head.next, released, dropped)
        head.position = len(commit.data)
        self._edge = edge
        return True

    def _broken(self, lap):
        return RingError("sector %d does not hold what is written" % self._headers.sector(lap))

    def _after_head_is_free(self):
        """Whether nothing in the sector after the head is unreleased: it is then no part of the log."""
        head, found = self._head, self._headers
        if not self._edge:
            self._edge = found.first_since(head.lap + 2 - self._count, head.lap, self.stream)
            first, lap = head.released + 1, head.lap + 1 - self._count
            # Twice: one misread must not give up a sector.
            if first < self._edge and not found.holds(lap, self.stream) and not found.holds(lap, self.stream):
                # Its header is damaged, or a `_move` was cut that was giving them up.
                head.dropped += self._edge - first
                head.released, head.owed = self._edge - 1, True
                self.skipped = (self.skipped or (first,))[0], self._edge - 1
        return head.released + 1 >= self._edge

    def _edge_after_next(self):
        """The oldest seq readable once the next sector is the head, without the sector after that."""
        return self._headers.first_since(self._head.lap + 3 - self._count, self._head.lap, self.stream)

    def _check_mounted(self):
        if not self.stream:
            raise RingError("the ring is not mounted")

    def _check_written(self, seq):
        self._check_mounted()
        if seq >= self._head.next:
            raise ValueError("record %d is not written yet; next is %d" % (seq, self._head.next))
