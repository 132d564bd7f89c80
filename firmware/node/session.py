"""What to send next, and what an acknowledgement changes: one contact as a machine without I/O (PROTOCOL.md,
"Sending").

Times are `now` in milliseconds since the contact began: a contact is far too short for them to wrap.
"""

from . import wire

_WINDOW_EVENTS = 2
_WINDOW_FRAMES = 12
_BACKLOG_SLOT = 8
_HOLE_MS = 3000
_RTO_MIN_MS = 3000
_RTO_MAX_MS = 30000
ALERTS, FRAMES = 1, 2


class Lane:
    """One ring on the wire: what is acknowledged, what is under way. Sequence numbers lo..hi are asked for by
    `missing`.
    """

    def __init__(self, number, ring):
        self.number = number
        self.ring = ring
        oldest, released, _ = ring.range()
        self.cum = max(released, oldest - 1)
        self.acked = set()
        self.flying = {}  # seq -> (sent at, doublings of its RTO)
        self.last_acked_sent = -1

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

    def missing(self, now, rto):
        """Sequence numbers to send now, oldest first: never sent, overdue, or a hole that later acks have overtaken."""
        for seq in range(self.oldest(), self.next):
            if seq in self.acked:
                continue
            sent_at, doublings = self.flying.get(seq, (None, 0))
            if sent_at is None or now - sent_at >= (_HOLE_MS if self.last_acked_sent > sent_at else rto << doublings):
                yield seq

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
    """`fresh_from`: frames from this seq on were made in this contact and go on lane t, older ones on lane b."""

    def __init__(self, alerts, frames, fresh_from):
        self.alerts = Lane(ALERTS, alerts)
        self.frames = Lane(FRAMES, frames)
        self.acknowledged = False  # the cloud has answered this session
        self.hold = False
        self.birth_again = False
        self._fresh_from = fresh_from
        self._credit = _WINDOW_FRAMES
        self._srtt = None
        self._slot = 0
        self._born = 0

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
        if self.hold:
            return None
        return self._next_event(now) or self._next_frame(now)

    def sent(self, lane, seq, now):
        """The record that `next` gave was handed to the client."""
        lane.sent(seq, now)
        if lane is self.frames:
            self._slot += 1

    def due_ms(self, now):
        """Milliseconds until `next` may have something because time passed; None if nothing is under way."""
        due = None if self.acknowledged else self._born + self.rto()
        for lane in (self.alerts, self.frames):
            for sent_at, doublings in lane.flying.values():
                at = sent_at + (self.rto() << doublings)
                if lane.last_acked_sent > sent_at:
                    at = min(at, max(now, sent_at + _HOLE_MS))
                due = at if due is None else min(due, at)
        return None if due is None else max(0, due - now)

    def take(self, ack, now):
        """Applies an ACK that `AckReader` took, and releases what the cloud has committed."""
        if not self.acknowledged:
            self._measure(now - self._born)
        self.acknowledged = True
        self.hold = bool(ack.flags & wire.HOLD)
        self.birth_again = bool(ack.flags & wire.BIRTH_AGAIN)
        for said in ack.rings:
            lane = self.alerts if said.ring == ALERTS else self.frames
            sent_at = lane.take(said)
            if sent_at is not None:
                self._measure(now - sent_at)
            if lane is self.frames:
                self._credit = said.credit
            _, released, _ = lane.ring.range()
            if said.cum > released:
                lane.ring.release(said.cum)

    def _measure(self, ms):
        self._srtt = ms if self._srtt is None else (7 * self._srtt + ms) // 8

    def _next_event(self, now):
        """Alarms before other events, two of each under way."""
        lane = self.alerts
        other = None
        flying = {"a": 0, "e": 0}
        for seq in lane.flying:
            flying[wire.lane(lane.ring.read(seq))] += 1
        for seq in lane.missing(now, self.rto()):
            payload = lane.ring.read(seq)
            letter = wire.lane(payload)
            if seq not in lane.flying and flying[letter] >= _WINDOW_EVENTS:
                continue
            if letter == "a":
                return letter, lane, seq, payload
            if other is None:
                other = seq
        return None if other is None else ("e", lane, other, lane.ring.read(other))

    def _next_frame(self, now):
        lane = self.frames
        if not self.acknowledged and now - self._born < self.rto():
            return None
        room = len(lane.flying) < min(_WINDOW_FRAMES, self._credit)
        backlog = fresh = None
        for seq in lane.missing(now, self.rto()):
            if not room and seq not in lane.flying:
                continue
            if seq >= self._fresh_from:
                fresh = seq
                break
            if backlog is None:
                backlog = seq
        if fresh is None or (backlog is not None and self._slot % _BACKLOG_SLOT == _BACKLOG_SLOT - 1):
            seq, letter = backlog, "b"
        else:
            seq, letter = fresh, "t"
        return None if seq is None else (letter, lane, seq, lane.ring.read(seq))
