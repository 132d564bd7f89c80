"""What to send next, and what an acknowledgement changes: one contact as a machine without I/O (PROTOCOL.md,
"Sending").

Times are `now` in milliseconds since the contact began: a contact is far too short for them to wrap. Where nothing but
an ACK could change a thing, the birth is written again: the same birth is the same session, and the cloud answers it.
"""

import flashring
from micropython import const

from . import wire
from .lane import Lane
from .pace import Pace

_WINDOW_EVENTS = const(2)
_WINDOW_FRAMES = const(12)
_BACKLOG_SLOT = const(8)
_LINE_SLOT = const(16)
_REPEATS_MAX = const(3)
ALERTS, FRAMES = 1, 2

# States: no birth yet, or another one asked for; birth written; unanswered for one RTO; answered; told to hold.
NEW, BORN, LATE, OPEN, HELD = range(5)
# Events: the birth was written; it is one RTO old; an ACK; one with the flag hold; one with birth again.
_BIRTH, _RTO, _ACK, _HOLD, _AGAIN = range(5)

# The table: a row for each state, in it (action, next state) for each event. What actions do stands in `_on`.
_TABLE = (
    #  BIRTH            RTO        ACK             HOLD            AGAIN
    (("begin", 1), ("", 0), ("", 0), ("", 0), ("", 0)),  # NEW
    (("repeat", 1), ("", 2), ("first", 3), ("first", 4), ("", 0)),  # BORN
    (("repeat", 2), ("", 2), ("first", 3), ("first", 4), ("", 0)),  # LATE
    (("repeat", 3), ("", 3), ("heard", 3), ("heard", 4), ("", 0)),  # OPEN
    (("repeat", 4), ("", 4), ("heard", 3), ("heard", 4), ("", 0)),  # HELD
)

# Which lanes a state lets go, beside the birth.
_MAY = ("", "ae", "aetb", "aetbl", "")


class Session:
    """`fresh_from`: frames from this seq on were made in this contact and go on lane t, older ones on lane b.
    `lost(ring number, seq)` declares a damaged record (`Store.unreadable`). `line()` gives the next log line for lane
    l, or None; one that it gave is gone.

    `state` is one of the above; `commands_wait` what the last ACK said of commands.
    """

    def __init__(self, alerts, frames, fresh_from, lost=lambda number, seq: None, line=lambda: None, pace=None):
        self.pace = pace or Pace()
        self.alerts = Lane(ALERTS, alerts, lost, self.pace)
        self.frames = Lane(FRAMES, frames, lost, self.pace)
        self.state = NEW
        self.commands_wait = False
        self._fresh_from = fresh_from
        self._line = line
        self._credit = _WINDOW_FRAMES
        self._largest = 0  # bytes of the largest frame sent
        self._slot = 0
        self._born = None  # when this session's birth was first written
        self._asked = 0  # when the cloud was last asked for an ACK by a birth, or gave one
        self._repeats = 0
        self._alarms = set()  # which of the events below `_sorted` are alarms
        self._sorted = 0

    # The table

    def _on(self, event, now):
        action, self.state = _TABLE[self.state][event]
        if action == "begin":
            self._born = now
        elif action == "first" and not self._repeats:
            self.pace.answered(now - self._born)
        if action:
            self._asked = now
            self._repeats = min(self._repeats + 1, _REPEATS_MAX) if action == "repeat" else 0

    # What is known

    def rings(self):
        """(ring, stream, next) of each ring, as ACKs are held against."""
        return [(lane.number, lane.ring.stream, lane.next) for lane in (self.alerts, self.frames)]

    @property
    def acknowledged(self):
        """The cloud has answered this session's birth."""
        return self.state in (OPEN, HELD)

    def age(self, now):
        """Milliseconds since the birth was first written."""
        return now - self._born

    def done(self):
        """Everything the rings hold is committed."""
        return self.acknowledged and not self.alerts.pending() and not self.frames.pending()

    # Out

    def next(self, now):
        """(lane letter, Lane, seq, payload) of what to send now, or None. Lane s is the birth, to be packed by the
        caller, with a new nonce if the state is NEW: its Lane and payload are None, as is the Lane of a log line.
        """
        birth_due = self._birth_due()
        if birth_due is not None and birth_due <= now:
            return "s", None, 0, None
        if self.state == BORN and self.age(now) >= self.pace.rto():
            self._on(_RTO, now)
        may = _MAY[self.state]
        while True:
            item = self._next_event(now) if "a" in may else None
            if item is None and "t" in may:
                item = self._next_frame(now)
            if "l" in may and (item is None or self._slot % _LINE_SLOT == _LINE_SLOT // 4):
                line = self._line()
                if line is not None:
                    return "l", None, 0, line
            if item is None:
                return None
            letter, lane, seq = item
            payload = lane.read(seq)
            if payload is not None:
                return letter, lane, seq, payload

    def sent(self, item, now):
        """What `next` gave was handed to the client."""
        letter, lane, seq, payload = item
        if letter == "s":
            self._on(_BIRTH, now)
            return
        if lane is not None:
            lane.sent(seq, len(payload), now)
        if lane is not self.alerts:
            self._slot += 1
        if lane is self.frames:
            self._largest = max(self._largest, len(payload))

    def due_ms(self, now):
        """Milliseconds until `next` may have something because time passed; None if only an ACK can change that."""
        rto = self.pace.rto()
        due = []
        may = _MAY[self.state]
        for letter, lane in (("a", self.alerts), ("t", self.frames)):
            if letter in may:
                due += [lane.due_at(flight) for flight in lane.flying.values()]
        if self.state == BORN:
            due.append(self._born + rto)
        birth_due = self._birth_due()
        if birth_due is not None:
            due.append(birth_due)
        return max(0, min(due) - now) if due else None

    def _birth_due(self):
        """When the birth is to be written, or written again; None while nobody waits for its answer."""
        if self.state == NEW:  # a cloud that asks without end is not fed without end
            return 0 if self._born is None else self._born + self.pace.rto()
        if self.state == OPEN and (self._credit or self.frames.flying or not self.frames.pending()):
            return None
        return self._asked + self.pace.rto(self._repeats)

    # In

    def take(self, ack, now):
        """Applies an ACK that `AckReader` took, and releases what the cloud has committed."""
        self._on(_AGAIN if ack.flags & wire.BIRTH_AGAIN else _HOLD if ack.flags & wire.HOLD else _ACK, now)
        self.commands_wait = bool(ack.flags & wire.COMMANDS_WAIT)
        for said in ack.rings:
            lane = self.alerts if said.ring == ALERTS else self.frames
            if said.cum < lane.cum and lane is self.alerts:
                self._sorted = 0  # a cloud restored from a backup asks for older events again
            self._measure(lane, lane.take(said), now)
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

    def _measure(self, lane, flights, now):
        """Of `flights` that just ended; one that was sent twice tells no time (Karn), but that it arrived."""
        once = [flight[0] for flight in flights if not flight[2]]
        if once:
            self.pace.answered(now - min(once))
        if lane is self.frames and flights:
            self.pace.delivered += lane.bytes_of(flights)
            first_at, _, _, _, delivered = min(flights)
            self.pace.arrived(now - first_at, delivered)

    # The order of things

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
            flying = sorted(self._of(letter, lane.flying))
            room = len(flying) < _WINDOW_EVENTS
            waiting = self._of(letter, range(lane.oldest(), lane.next)) if room else ()
            seq = lane.pick(flying, waiting, now)
            if seq is not None:
                return letter, lane, seq
        return None

    def _of(self, letter, seqs):
        """Those events of `seqs` that go on lane `letter`."""
        return (seq for seq in seqs if (seq in self._alarms) == (letter == "a"))

    def _next_frame(self, now):
        lane = self.frames
        limit = self._fresh_from
        flying = sorted(lane.flying)
        old = new = ()
        if self._room(len(flying)):
            oldest, following = lane.oldest(), lane.next
            old, new = range(oldest, min(limit, following)), range(max(limit, oldest), following)
        backlog = lane.pick([seq for seq in flying if seq < limit], old, now)
        fresh = lane.pick([seq for seq in flying if seq >= limit], new, now)
        if fresh is None or backlog is not None and self._slot % _BACKLOG_SLOT == _BACKLOG_SLOT - 1:
            return None if backlog is None else ("b", lane, backlog)
        return "t", lane, fresh

    def _room(self, flying):
        """Whether one more frame may be under way beside `flying`."""
        if flying >= min(_WINDOW_FRAMES, self._credit):
            return False
        return not flying or self.frames.bytes_of(self.frames.flying.values()) + self._largest <= self.pace.window()
