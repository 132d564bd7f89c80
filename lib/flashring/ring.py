"""The ring: append, read, release and drop of numbered records. SPEC.md beside this file gives every byte."""

from flashring import mount
from flashring.entries import record_size
from flashring.error import RingError, RingFull
from flashring.reader import Reader
from flashring.writer import Writer


class Ring(Writer):
    """A ring of `sector_count` (3 or more) sectors of `flash` from `first_sector` on.

    The flash port is described at `Window`; rings on one flash may share a window. Nothing is read or written before
    `format` or `mount`. What a method writes is durable when it returns. An OSError of the port passes through; what
    was being written is then in the ring or not, and the next write goes elsewhere. `measure(view, start)`: the length
    of the record that starts there, for records that tell their own; a batch then keeps no lengths.
    """

    def __init__(self, flash, first_sector, sector_count, window=None, measure=None):
        if sector_count < 3:
            raise ValueError("a ring needs 3 sectors, not %d" % sector_count)
        super().__init__(flash, first_sector, sector_count, window, measure)
        self._reader = None

    # The life of a ring

    def format(self, stream):
        """Start an empty ring under `stream` (u32, random, not 0). What stood in these sectors is lost.

        The new ring opens one sector above the highest lap found: a cut leaves the old ring or the new one.
        """
        from flashring import setup  # once in a node's life

        self._reader = None
        lap = setup.clear(self._headers, self._window, stream)
        self._tail.forget()
        head = self._head
        head.skipped = None
        head.stream, head.lap, head.next = stream, lap, 1
        if not self._open(0, 0):
            head.stream = 0
            raise self._broken(lap + 1)

    def mount(self, hint=None, clean=False):
        """Find the ring. Raises NoRing if there is none; never formats.

        `clean`: the caller knows that no write was cut since the last one returned, as after a deep sleep. Without it,
        what a cut may have left half done is settled: the last entries are programmed once more, a torn sector is
        marked; and an entry at the end that does not fit is taken for torn, not for damaged. `hint`: what `hint()` once
        gave, which saves the search. None, or one that no longer fits, costs only time.
        """
        head = self._head
        head.stream = 0
        above = mount.find(self._headers, self._window, head, hint, clean)
        self._tail.forget()
        head.skipped = self._reader = None
        if not clean:
            mount.settle(self._headers, self._window, head, self._tail, above)
        if head.unsettled:
            # An entry that says it: the number of the next record, and the cursor.
            try:
                self._move(head.released, head.dropped, True)
            except RingFull:
                pass

    def hint(self):
        """3 bytes for a later `mount`: sector u8, which is all that it uses, and offset u16. They need not be kept, nor
        still be right.
        """
        offset = min(self._head.position, 0xFFFF)
        return bytes((self._head.lap % self._headers.count & 0xFF, offset & 0xFF, offset >> 8))

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
        if not self._tail.next_edge and self._tail.is_free():
            self._tail.prepare(self._window)
        return self._tail.next_edge > 0

    def erase_released(self):
        """Make what is released unreadable, oldest first, but for the sector with the newest record: the sector after
        the head is erased, the others are programmed with zeros.

        A generator that yields after each sector, 80 ms at most; between two steps the ring may be used as ever. What
        was released stays released. RingFull as `release`.
        """
        self._check_mounted()
        tail, lap = self._tail, 0
        while True:
            was_ready = tail.next_edge > 0
            if self.idle() and not was_ready:
                yield
            lap = max(lap, self._head.lap + 2 - self._headers.count)
            if not tail.is_past(lap):
                return
            # Zeros, for only the sector after the head may look erased: of no other a mount asks whether it is.
            if self._window.wipe(self._headers.sector(lap)):
                tail.edge = 0
                self._reader = None
                if tail.next_edge:
                    tail.next_edge = tail.after_next()
                yield
            lap += 1

    # Writing

    def append(self, payload, reserve=False):
        """Write a record. Returns its seq. Raises RingFull, or RingBusy where `idle` is due; then nothing is changed.

        `payload`: bytes-like, at most what the window was made for, else ValueError. `reserve`: use the room that is
        kept for moves of the cursor: for copies of records that are to be dropped right after.
        """
        self._check_mounted()
        if len(payload) > self._window.largest:
            raise ValueError("payload of %d bytes: a record takes up to %d" % (len(payload), self._window.largest))
        return self._write(record_size(len(payload)), payload, None, reserve)

    def append_batch(self, payloads, reserve=False):
        """Write a list of 1 to 16 records, all or none. Returns the seq of the first. Raises as `append` does; each
        is at most 255 bytes long unless the ring has a `measure`. `reserve`: as `append`'s.
        """
        self._check_mounted()
        from flashring import batch

        size = batch.size(payloads, self._measure is None, self._window.largest)
        return self._write(size, None, payloads, reserve)

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

    # Reading

    @property
    def stream(self):
        """u32; 0: not mounted."""
        return self._head.stream

    @property
    def damaged(self):
        """Records found damaged since the mount, counted at each `read`, and places in the newest sector that a cut
        tore or damage spoilt.
        """
        return self._head.damaged

    @property
    def mended(self):
        """Headers and entries found with one flipped bit, which is put right in RAM; each time one is read counts."""
        return self._headers.mended

    @property
    def dropped(self):
        """Records given up unreleased since `format`."""
        return self._head.dropped

    @property
    def skipped(self):
        """None, or the first and the last seq of unreleased records in a sector whose header damage has spoilt: they
        count as dropped. Whoever has declared them calls `forget_skipped`.
        """
        return self._head.skipped

    def forget_skipped(self):
        """`skipped` is None from here on, until it happens again."""
        self._head.skipped = None

    def overdue(self):
        """The seq up to which a `drop` is still to follow on the copies that were appended with `reserve`, for a cut
        came between; 0: none is. Until then nothing more can be copied.
        """
        self._check_mounted()
        return 0 if self._tail.is_free() else self._tail.edge - 1

    def opened(self):
        """(fewest, most): how often a sector of the ring was opened, which took an erase each; boots after a cut may
        have taken some more. Reads nothing.
        """
        self._check_mounted()
        laps, count = self._head.lap + 1, self._headers.count
        return laps // count, (laps + count - 1) // count

    def waiting(self):
        """How many records are not released. Reads nothing."""
        self._check_mounted()
        return self._head.next - 1 - self._head.released

    def range(self):
        """(oldest readable seq, released: every seq <= it is, next seq to be given). Empty: oldest == next."""
        self._check_mounted()
        return self._tail.oldest(), self._head.released, self._head.next

    def read(self, seq):
        """The payload of record `seq`, bytes. KeyError if it is overwritten, not written yet or damaged.

        Reading in order costs one search and one read of the flash for each sector.
        """
        oldest, _, end = self.range()
        if not oldest <= seq < end:
            raise KeyError("record %d: readable are %d..%d" % (seq, oldest, end - 1))
        if self._reader is None:
            self._reader = Reader(self._window, self._headers, self._measure)
        payload = self._reader.read(seq, self._head.lap, self._head.stream)
        if payload is None:
            self._window.forget()  # the copy may have been misread
            payload = self._reader.read(seq, self._head.lap, self._head.stream)
        if payload is None:
            self._head.damaged += 1
            raise KeyError("record %d: damaged in sector %d" % (seq, self._reader.sector))
        return payload

    def _check_mounted(self):
        if not self._head.stream:
            raise RingError("the ring is not mounted")

    def _check_written(self, seq):
        self._check_mounted()
        if seq >= self._head.next:
            raise ValueError("record %d is not written yet; next is %d" % (seq, self._head.next))
