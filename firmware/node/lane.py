"""One ring on the wire: what is acknowledged, what is under way, what is due again."""

from micropython import const

_HOLE_MS = const(3000)
_DOUBLINGS_MAX = const(3)
_RANGES_MAX = const(16)


class Lane:
    """Ring `number` (1 or 2). `lost(number, seq)` is told of records that are damaged; they are not asked for again.

    `flying`: seq -> (first sent at, sent at, doublings of its RTO, bytes, bytes delivered when it was first sent).
    """

    def __init__(self, number, ring, lost, pace):
        self.number = number
        self.ring = ring
        oldest, released, _ = ring.range()
        self.cum = max(released, oldest - 1)
        self.acked = set()  # above cum: acknowledged by a range, or damaged
        self._damaged = set()
        self.flying = {}
        self.last_acked_sent = -1
        self._lost = lost
        self._pace = pace

    @property
    def next(self):
        """The seq that the next record will get; a reading taken during the contact may append one."""
        return self.ring.range()[2]

    def oldest(self):
        """The first seq that may be sent."""
        return max(self.cum + 1, self.ring.range()[0])

    def pending(self):
        """Records not yet committed."""
        return self.next - 1 - self.cum > 0

    def read(self, seq):
        """The record, or None if it is damaged or overwritten meanwhile: then it is out of the way."""
        try:
            return self.ring.read(seq)
        except KeyError as error:
            from . import log

            log.warning("session: ring %d: %s" % (self.number, error))
            self.acked.add(seq)
            self._damaged.add(seq)
            self.flying.pop(seq, None)
            if seq >= self.ring.range()[0]:
                self._lost(self.number, seq)
            return None

    def pick(self, flying, waiting, now):
        """The first of `flying` that is overdue or a hole that later acks have overtaken, else the first of `waiting`
        that was never sent, else None.
        """
        for seq in flying:
            if self.due_at(self.flying[seq]) <= now:
                return seq
        for seq in waiting:
            if seq not in self.acked and seq not in self.flying:
                return seq
        return None

    def due_at(self, flight):
        """When a record under way is to be sent again."""
        _, sent_at, doublings, _, _ = flight
        return sent_at + (_HOLE_MS if self.last_acked_sent > sent_at else self._pace.rto(doublings))

    def sent(self, seq, size, now):
        """The record of `size` bytes was handed to the client."""
        before = self.flying.get(seq)
        if before is None:
            self.flying[seq] = (now, now, 0, size, self._pace.delivered)
        else:
            first_at, _, doublings, _, delivered = before
            doublings = min(doublings + 1, _DOUBLINGS_MAX)
            self.flying[seq] = (first_at, now, doublings, size, delivered)
            self._pace.ran_out(doublings)

    @staticmethod
    def bytes_of(flights):
        """Bytes of their payloads."""
        return sum(flight[3] for flight in flights)

    def take(self, said):
        """Applies what the ACK says of this ring; returns the flights that it ended."""
        named = set()
        for first, length in said.ranges:
            # Clipped: a cloud restored from an old backup may name tens of thousands that are overwritten here.
            named.update(range(max(first, self.ring.range()[0]), first + length))
        if len(said.ranges) < _RANGES_MAX:
            # It names all it has above cum. What it had and has not now, for a backup was restored, goes again.
            self.acked = named | self._damaged
        else:
            self.acked |= named
        self.cum = said.cum
        self.acked = {seq for seq in self.acked if seq > said.cum}
        ended = [self.flying.pop(seq) for seq in list(self.flying) if seq <= said.cum or seq in named]
        for flight in ended:
            self.last_acked_sent = max(self.last_acked_sent, flight[1])
        return ended
