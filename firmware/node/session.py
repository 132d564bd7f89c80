"""What to send next, and what an acknowledgement changes: one contact as a machine without I/O (PROTOCOL.md,
"Sending").

Times are `now` in milliseconds since the contact began: a contact is far too short for them to wrap.
"""

import flashring

from . import wire

_WINDOW_EVENTS = 2
_WINDOW_FRAMES = 12
_BACKLOG_SLOT = 8
_HOLE_MS = 3000
_RTO_MIN_MS = 3000
_RTO_MAX_MS = 30000
ALERTS, FRAMES = 1, 2


class Lane:
    """One ring on the wire: what is acknowledged, what is under way. `lost(number, seq)` is told of records that are
    damaged; they are not asked for again.
    """

    def __init__(self, number, ring, lost):
        self.number = number
        self.ring = ring
        oldest, released, _ = ring.range()
        self.cum = max(released, oldest - 1)
        self.acked = set()  # above cum: acknowledged by a range, or damaged
        self.flying = {}  # seq -> (sent at, doublings of its RTO)
        self.last_acked_sent = -1
        self._lost = lost

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
            self.flying.pop(seq, None)
            if seq >= self.ring.range()[0]:
                self._lost(self.number, seq)
            return None

    def pick(self, flying, waiting, now, rto):
        """The first of `flying` that is overdue or a hole that later acks have overtaken, else the first of `waiting`
        that was never sent, else None.
        """
        for seq in flying:
            if self.due_at(self.flying[seq], rto) <= now:
                return seq
        for seq in waiting:
            if seq not in self.acked and seq not in self.flying:
                return seq
        return None

    def due_at(self, flight, rto):
        """When a record under way is to be sent again."""
        sent_at, doublings = flight
        return sent_at + (_HOLE_MS if self.last_acked_sent > sent_at else rto << doublings)

    def sent(self, seq, now):
        """The record was handed to the client."""
        before = self.flying.get(seq)
        self.flying[seq] = (now, 0 if before is None else min(before[1] + 1, 3))

    def take(self, said):
        """Applies what the ACK says of this ring; returns the oldest flight time among what it acknowledged, or
        None.
        """
        settled = [seq for seq in self.flying if seq <= said.cum]
        for first, length in said.ranges:
            for seq in range(first, first + length):
                if seq not in self.acked:
                    self.acked.add(seq)
                    if seq in self.flying:
                        settled.append(seq)
        self.cum = said.cum
        self.acked = {seq for seq in self.acked if seq > said.cum}
        once = None
        for seq in settled:
            sent_at, doublings = self.flying.pop(seq)
            self.last_acked_sent = max(self.last_acked_sent, sent_at)
            if doublings == 0 and (once is None or sent_at < once):
                once = sent_at
        return once


class Session:
    """`fresh_from`: frames from this seq on were made in this contact and go on lane t, older ones on lane b.
    `lost(ring number, seq)` declares a damaged record (`Store.unreadable`).
    """

    def __init__(self, alerts, frames, fresh_from, lost=lambda number, seq: None):
        self.alerts = Lane(ALERTS, alerts, lost)
        self.frames = Lane(FRAMES, frames, lost)
        self.acknowledged = False  # the cloud has answered this session
        self.hold = False
        self.birth_again = False
        self._fresh_from = fresh_from
        self._credit = _WINDOW_FRAMES
        self._srtt = None
        self._slot = 0
        self._born = 0
        self._alarms = set()  # which of the events below `_sorted` are alarms
        self._sorted = 0

    def rings(self):
        """(ring, stream, next) of each ring, as ACKs are held against."""
        return [(lane.number, lane.ring.stream, lane.next) for lane in (self.alerts, self.frames)]

    def born(self, now):
        """The birth was written."""
        self._born = now

    def age(self, now):
        """Milliseconds since the birth was written."""
        return now - self._born

    def rto(self):
        """Milliseconds after which a record without an acknowledgement is sent again."""
        if self._srtt is None:
            return _RTO_MIN_MS
        return max(_RTO_MIN_MS, min(_RTO_MAX_MS, 4 * self._srtt))

    def done(self):
        """Everything the rings hold is committed."""
        return self.acknowledged and not self.alerts.pending() and not self.frames.pending()

    def next(self, now):
        """(lane letter, Lane, seq, payload) of the record to send now, or None."""
        while not self.hold:
            item = self._next_event(now) or self._next_frame(now)
            if item is None:
                break
            letter, lane, seq = item
            payload = lane.read(seq)
            if payload is not None:
                return letter, lane, seq, payload
        return None

    def sent(self, lane, seq, now):
        """The record that `next` gave was handed to the client."""
        lane.sent(seq, now)
        if lane is self.frames:
            self._slot += 1

    def due_ms(self, now):
        """Milliseconds until `next` may have something because time passed; None if only an ACK can change that."""
        if self.hold:
            return None
        rto = self.rto()
        due = [lane.due_at(flight, rto) for lane in (self.alerts, self.frames) for flight in lane.flying.values()]
        if self._frames_wait(now):
            due.append(self._born + rto)
        return max(0, min(due) - now) if due else None

    def take(self, ack, now):
        """Applies an ACK that `AckReader` took, and releases what the cloud has committed."""
        if not self.acknowledged:
            self._measure(now - self._born)
        self.acknowledged = True
        self.hold = bool(ack.flags & wire.HOLD)
        self.birth_again = bool(ack.flags & wire.BIRTH_AGAIN)
        for said in ack.rings:
            lane = self.alerts if said.ring == ALERTS else self.frames
            if said.cum < lane.cum and lane is self.alerts:
                self._sorted = 0  # a cloud restored from a backup asks for older events again
            sent_at = lane.take(said)
            if sent_at is not None:
                self._measure(now - sent_at)
            if lane is self.frames:
                self._credit = said.credit
            _, released, _ = lane.ring.range()
            if said.cum > released:
                try:
                    lane.ring.release(said.cum)
                except flashring.RingFull as full:
                    # Nothing is lost by it: a later ACK reaches as far as the ring needs.
                    from . import log

                    log.warning("session: %s" % full)

    def _measure(self, ms):
        self._srtt = ms if self._srtt is None else (7 * self._srtt + ms) // 8

    def _sort_events(self):
        """Finds out which of the events are alarms; each is read once, for there may be a thousand."""
        lane = self.alerts
        seq = max(self._sorted, lane.oldest())
        while seq < lane.next:
            payload = lane.read(seq)
            if payload is not None and wire.lane(payload) == "a":
                self._alarms.add(seq)
            seq += 1
        self._sorted = seq

    def _next_event(self, now):
        """Alarms before other events, two of each under way."""
        self._sort_events()
        lane = self.alerts
        for letter in "ae":
            flying = sorted(self._on(letter, lane.flying))
            room = len(flying) < _WINDOW_EVENTS
            waiting = self._on(letter, range(lane.oldest(), lane.next)) if room else ()
            seq = lane.pick(flying, waiting, now, self.rto())
            if seq is not None:
                return letter, lane, seq
        return None

    def _on(self, letter, seqs):
        """Those events of `seqs` that go on lane `letter`."""
        return (seq for seq in seqs if (seq in self._alarms) == (letter == "a"))

    def _frames_wait(self, now):
        """Whether frames wait for the birth's ACK."""
        return not self.acknowledged and now - self._born < self.rto()

    def _next_frame(self, now):
        if self._frames_wait(now):
            return None
        lane = self.frames
        limit, rto = self._fresh_from, self.rto()
        flying = sorted(lane.flying)
        old = new = ()
        if len(flying) < min(_WINDOW_FRAMES, self._credit):
            oldest, following = lane.oldest(), lane.next
            old, new = range(oldest, min(limit, following)), range(max(limit, oldest), following)
        backlog = lane.pick([seq for seq in flying if seq < limit], old, now, rto)
        fresh = lane.pick([seq for seq in flying if seq >= limit], new, now, rto)
        if fresh is None or backlog is not None and self._slot % _BACKLOG_SLOT == _BACKLOG_SLOT - 1:
            return None if backlog is None else ("b", lane, backlog)
        return "t", lane, fresh
