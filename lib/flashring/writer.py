"""What is written behind the newest entry: records, moves of the release cursor, the sector opened for them."""

from flashring import checks
from flashring.entries import CURSOR_SIZE, DROP_SIZE
from flashring.error import RingBusy, RingError, RingFull
from flashring.head import Head
from flashring.headers import Headers
from flashring.tail import Tail
from flashring.window import Window


class Writer:
    """Base of `ring.Ring`, which checks what it is asked: the parts of a ring, and every write but a mount's."""

    def __init__(self, flash, first_sector, sector_count, window, measure):
        self._window = window or Window(flash)
        self._headers = Headers(flash, first_sector, sector_count)
        self._head = Head(self._window)
        self._tail = Tail(self._head, self._headers)
        self._measure = measure

    def _write(self, size, payload, payloads, reserve):
        """Write `payload`, or the list `payloads` as one batch, of `size` bytes with what goes around it; returns the
        seq of the first. Raises RingFull, or RingBusy; then nothing is changed. `reserve`: as `Ring.append`'s.
        """
        head, tail, commit = self._head, self._tail, self._window.commit
        if head.next == head.first and not reserve and not tail.is_free():
            raise RingFull((tail.edge if head.fits(size, 0) else tail.after_next()) - 1)
        while self._fits(size, 0):
            head.begin(commit)
            self._put(payload, payloads)
            if head.write(self._headers.sector(head.lap)):
                return self._count_up(payloads)
        if not tail.next_edge:
            if tail.is_free():
                raise self._busy()
            raise RingFull(tail.after_next() - 1)
        if not reserve and head.released + 1 < tail.next_edge:
            raise RingFull(tail.next_edge - 1)
        if not self._open(head.released, head.dropped, payload, payloads):
            raise self._busy()
        return self._count_up(payloads)

    def _move(self, cursor, dropped, is_drop):
        """Move the release cursor: by an entry or, without room for it, by the header of the next sector. RingFull:
        that sector is not free and does not become so.
        """
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
        tail = self._tail
        if not tail.is_free() and cursor + 1 < tail.edge:
            raise RingFull(tail.edge - 1)
        for _ in range(2):  # what only looked erased does not hold, and is erased then
            # If only this call frees it, a cut in here may leave what it gives up gone with no word of it.
            if not tail.next_edge:
                tail.erase(self._window)
            if self._open(cursor, dropped):
                return
        raise self._broken(head.lap + 1)

    def _open(self, released, dropped, payload=None, payloads=None):
        """Make the next sector, which is erased, the head, with a first entry if there is one. False: it did not hold,
        and must be erased; RingError if that was done before: its cells are worn out or stuck.
        """
        head, commit = self._head, self._window.commit
        lap, edge = head.lap + 1, self._tail.next_edge
        seed = checks.lap_seed(lap)
        commit.begin(0, seed)
        commit.header(lap, head.stream, head.next, released, dropped)
        if payload is not None or payloads is not None:
            self._put(payload, payloads)
        head.position = head.size  # the new header may get there even if the port raises
        self._tail.forget()
        if not self._window.write(self._headers.sector(lap), 0):
            self._window.spoil(self._headers.sector(lap))
            if head.failed == lap:
                raise self._broken(lap)
            head.failed = lap
            return False
        head.take(lap, seed, head.next, released, dropped)
        head.position = len(commit.data)
        self._tail.edge = edge
        return True

    def _broken(self, lap):
        """The error of a sector whose cells do not take what they are given."""
        return RingError("sector %d does not hold what is written" % self._headers.sector(lap))

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
        return (self._tail.is_free() or cursor + 1 >= self._tail.edge) and head.fits(size, 0)

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
