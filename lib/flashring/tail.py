"""The old end of the log: what is readable still, and whether the sector after the head may be erased."""

from flashring import headers
from flashring.error import RingError


class Tail:
    """Looked up in the headers when it is asked for, and kept until `forget`: it holds for one head only.

    `edge`: the oldest seq readable without the sector after the head; 0: not looked up yet. `next_edge`: the same once
    that sector is the head; 0: it is not erased yet.
    """

    def __init__(self, head, found):
        self._head = head
        self._headers = found
        self.edge = self.next_edge = 0

    def forget(self):
        """There is another head."""
        self.edge = self.next_edge = 0

    def is_free(self):
        """Whether nothing in the sector after the head is unreleased: it is then no part of the log."""
        head, found = self._head, self._headers
        if not self.edge:
            self.edge = found.first_since(head.lap + 2 - found.count, head.lap, head.stream)
            first, lap = head.released + 1, head.lap + 1 - found.count
            # Twice: one misread must not give up a sector.
            if first < self.edge and not found.holds(lap, head.stream) and not found.holds(lap, head.stream):
                # Its header is damaged, or a move of the cursor was cut that was giving them up.
                head.dropped += self.edge - first
                head.released, head.owed = self.edge - 1, True
                head.skipped = (head.skipped or (first,))[0], self.edge - 1
        return head.released + 1 >= self.edge

    def oldest(self):
        """The oldest seq readable; the ring's next one if there is none."""
        head, found = self._head, self._headers
        if not self.is_free() and found.holds(head.lap + 1 - found.count, head.stream):
            return found.field(headers.FIRST)
        return self.edge

    def after_next(self):
        """The oldest seq readable once the next sector is the head, without the sector after that."""
        head, found = self._head, self._headers
        return found.first_since(head.lap + 3 - found.count, head.lap, head.stream)

    def is_past(self, lap):
        """Whether `lap` is older than the head, every record up to it is released, and one stands in a later lap."""
        head, first = self._head, self._head.first
        for later in range(lap + 1, head.lap):
            if self._headers.holds(later, head.stream):
                first = self._headers.field(headers.FIRST)
                break
        return lap < head.lap and head.released + 1 >= first != head.next

    def prepare(self, window):
        """See to it that the sector after the head, which is free, is erased."""
        # Blank means erased: a mount after a cut spoils what only looks so.
        if self._headers.read((self._head.lap + 1) % self._headers.count) >= 0 or not self._headers.looks_erased():
            self.erase(window)
        self.next_edge = self.after_next()

    def erase(self, window):
        """Erase the sector after the head. RingError, and the ring is not mounted, where a newer lap stands in it."""
        found, lap = self._headers, self._head.lap + 1
        if found.read(lap % found.count) >= lap:
            self._head.stream = 0
            raise RingError("sector %d holds a newer end of the log: mount again" % found.sector(lap))
        window.erase(found.sector(lap))
