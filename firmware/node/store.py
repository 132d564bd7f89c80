"""The three rings and the policy when one is full.

journal: rows not yet in a frame. frames: ring 2 (F). Both give up the oldest, declared first. alerts: ring 1 (A), all
events; it gives up what matters least (`node.eviction`). Only an ack releases frames and alerts.
"""

import os
import struct

import flashring

from .journal import Journal, Row

_FULL, _UNREADABLE = 1, 2  # reasons of a gap
_EVENT_MAX = 84
_RECENT = 64  # events among which the gap of a loss that was cut short is looked for
_TRIES = 64  # of one record: each gives up or erases a sector, and a ring has fewer
_IDLE_ROOM = 256  # bytes left in a sector when the next is erased: a page, or a few rows


class Store:
    """Mounts the rings at `places` (name to (first sector, sectors)) of `flash`; `keeper` and `bootlog` stamp
    events.
    """

    def __init__(self, flash, places, channel_count, keeper, bootlog):
        window = flashring.Window(flash)
        self.journal = flashring.Ring(flash, *places["journal"], window=window)
        self.alerts = flashring.Ring(flash, *places["alerts"], window=window)
        self.frames = flashring.Ring(flash, *places["frames"], window=window)
        self.rows = Journal(self.journal, channel_count)
        self.formatted = False
        self._keeper = keeper
        self._bootlog = bootlog
        self._event = bytearray(_EVENT_MAX)
        self._clean = False
        self._hints = None

    def mount(self, cold, hints=None):
        """The journal always, the others when they are first needed or `cold`. A ring that is not there is formatted:
        the sectors are blank on a new board; what else stood there is said by `formatted` in the birth. `hints`: the
        journal's, the alerts' and the frames', 3 bytes each; they hold only where it is not `cold`.
        """
        self._clean = not cold
        self._hints = None if cold else hints
        self._mount(self.journal, 0)
        if cold:
            self.mount_rest()
        self._declare_all_skipped()

    def hints(self, into):
        """Put the rings' hints into 9 bytes; what was not mounted in this waking stays as it was."""
        for at, ring in ((0, self.journal), (3, self.alerts), (6, self.frames)):
            if ring.stream:
                into[at : at + 3] = ring.hint()

    def mount_rest(self):
        """Alerts and frames: most wakes need neither."""
        if self.frames.stream:
            return
        if not self.alerts.stream:
            self._mount(self.alerts, 3)
        self._mount(self.frames, 6)
        self._declare_all_skipped()

    def _mount(self, ring, at):
        try:
            ring.mount(self._hints and self._hints[at : at + 3], self._clean)
            ring.overdue()  # here it finds what it skips, of which the next thing that is written to it is the drop
            if ring.damaged:
                print("store: torn or damaged at the end of a ring: %d" % ring.damaged)
        except flashring.NoRing as found:
            # Not the log: its module would lie where the first contact wants 31 KB in one piece.
            print("store: %s; formatting" % found)
            ring.format(struct.unpack("<I", os.urandom(4))[0] or 1)
            self.formatted = True

    def waiting_rows(self):
        """Rows that are in no frame yet."""
        return self.journal.waiting()

    def waiting_frames(self):
        """Frames that are not committed."""
        oldest, released, following = self.frames.range()
        return following - max(oldest, released + 1)

    def append_row(self, *fields):
        """Durable on return; fields as `Journal.pack` takes them."""
        return self._append(0, self.journal, self.rows.pack(*fields))

    def append_frame(self, data):
        """Durable on return."""
        return self._append(2, self.frames, data)

    def _append(self, number, ring, data):
        for _ in range(_TRIES):
            if ring.skipped:
                self._declare_skipped(number, ring)
            try:
                seq = ring.append(data)
                break
            except flashring.RingFull as full:
                self._give_up(number, ring, full.seq)
            except flashring.RingBusy:
                ring.idle()
        else:
            raise flashring.RingError("ring %d takes no record" % number)
        if ring.room() <= _IDLE_ROOM:
            ring.idle()
        return seq

    def _declare_all_skipped(self):
        for number, ring in enumerate((self.journal, self.alerts, self.frames)):
            if ring.skipped:
                self._declare_skipped(number, ring)

    def _declare_skipped(self, number, ring):
        """Declares what the ring gave up by itself, for a sector's header is damaged; its readings are not known: 0."""
        first, last = ring.skipped
        ring.forget_skipped()
        self._declare(number, first, last, _UNREADABLE, 0)

    def committed(self):
        """A number that grows with every record that the cloud has committed."""
        return self.alerts.range()[1] + self.frames.range()[1]

    def events(self, recent=None):
        """The payloads of the events that can still be read, sent or not, oldest first; `recent`: only the last so
        many.
        """
        self.mount_rest()
        oldest, _, following = self.alerts.range()
        if recent is not None:
            oldest = max(oldest, following - recent)
        for seq in range(oldest, following):
            try:
                yield self.alerts.read(seq)
            except KeyError as error:
                _log("alerts: %s" % error)

    def alarm(self, channel, state, exponent, value, limit):
        """Records an alarm."""
        self._append_event("alarm", channel, state, exponent, value, limit)

    def sensor(self, index, state):
        """Records that a sensor failed or works again."""
        self._append_event("sensor", index, state)

    def result(self, number, op, status, detail):
        """Records how command `number` went (`wire.pack_result`); of `detail`, a str, as much as fits."""
        from . import wire

        self._append_event("result", number, op, status, detail.encode()[: wire.DETAIL_MAX])

    def unreadable(self, number, seq):
        """Declares record `seq` of ring `number` (0 journal, 1 alerts, 2 frames) lost: it is damaged. Its readings
        nobody can count any more: 0.
        """
        self._declare(number, seq, seq, _UNREADABLE, 0)
        if number == 0:
            try:
                self.journal.drop(seq)
            except flashring.RingFull as full:
                _log("journal: %s" % full)

    def _stamp(self):
        wall, quality = self._keeper.wall()
        return self._bootlog.boot, self._keeper.uptime_ms(), wall, quality

    def _append_event(self, kind, *body):
        from . import wire  # most wakes have no event to pack

        self.mount_rest()
        if self.alerts.skipped:
            self._declare_skipped(1, self.alerts)
        due = self.alerts.overdue()
        if due:
            self._evict(due)
        pack = {
            "alarm": wire.pack_alarm, "sensor": wire.pack_sensor, "gap": wire.pack_gap, "result": wire.pack_result
        }[kind]  # fmt: skip
        data = memoryview(self._event)[: pack(self._event, *self._stamp(), *body)]
        for _ in range(_TRIES):
            try:
                return self.alerts.append(data)
            except flashring.RingFull as full:
                data = bytes(data)
                self._evict(full.seq)
            except flashring.RingBusy:
                self.alerts.idle()
        raise flashring.RingError("the alerts take no record")

    def _evict(self, last):
        from .eviction import evict

        evict(self.alerts, last, self._gap_of_events)

    def _gap_of_events(self, first, last):
        """The event that declares events given up or copied forward."""
        from . import wire

        return memoryview(self._event)[: wire.pack_gap(self._event, *self._stamp(), 1, first, last, _FULL, 0)]

    def _give_up(self, number, ring, last):
        """Declares the loss of everything up to `last`, then drops it."""
        oldest, released, _ = ring.range()
        first = max(oldest, released + 1)
        readings = 0
        for seq in range(first, last + 1):
            try:
                readings += _readings(number, ring.read(seq))
            except (KeyError, ValueError) as error:
                _log("given up unread: %s" % error)
        self._declare(number, first, last, _FULL, readings)
        ring.drop(last)

    def _declare(self, number, first, last, reason, readings):
        """Records a gap, unless that was done and a cut came before the records were given up."""
        from . import wire

        body = struct.pack("<BIIB", number, first, last, reason)
        for event in self.events(_RECENT):
            if event[0] == wire.GAP and event[14:24] == body:
                return
        self._append_event("gap", number, first, last, reason, readings)


def _log(text):
    from . import log  # most wakes have nothing to say

    log.warning("store: " + text)


def _readings(number, data):
    """How many readings a row or a frame holds."""
    if number == 0:
        return len(Row(data).values)
    from .framing import readings

    return readings(data)
