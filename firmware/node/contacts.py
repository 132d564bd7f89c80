"""When this node contacts: the schedule applied to what it remembers, to what waits and to the alarms there are."""

from .schedule import BURST, Schedule

_FRAME_ROWS = 100  # rows in the journal that make a frame without waiting for the report


class Contacts:
    """`node` is the waking node (`node.app`). What must outlive a sleep is in its retained memory."""

    def __init__(self, node):
        self._node = node
        self._checked = 0  # up to when moments of contact were looked for, by the clock as it is now
        self._urgent = False  # the contact is an alarm's
        self.plan()

    def plan(self):
        """Settings are there, or have changed."""
        self._schedule = Schedule(self._node.settings)

    def checked(self, moment):
        """No moment up to this one, in seconds by the clock as it is now, is looked for any more."""
        self._checked = moment

    def latest(self):
        """Seconds from now to the latest moment of the next contact."""
        return self._schedule.latest(self._node.keeper.stamp()[0])

    def alarm_waits(self):
        """Whether the contact under way is worth more than one connection."""
        return self._urgent or self._node.alarms.raised

    def due(self, measured):
        """A boot, an alarm, a report's moment, or a contact owed from before; `measured`: there are new readings."""
        node, schedule = self._node, self._schedule
        retained = node.retained
        now, _ = node.keeper.stamp()
        before, self._checked = self._checked, now
        retained.spent = max(0, retained.spent - schedule.refilled(before, now))
        retained.alarm_waits = retained.alarm_waits or node.alarms.raised
        self._urgent = retained.alarm_waits and retained.spent < BURST
        if self._urgent:
            retained.spent += 1
            return True
        if retained.conn == 0 and not retained.failures:
            return True
        if schedule.report_due(before, now) or measured and self._piled():
            retained.contact_owed = fresh = True
        else:
            fresh = False
        if retained.contact_owed and retained.failures:
            return schedule.next_retry(retained.failures, before) <= now
        return fresh or retained.contact_owed and measured

    def wake(self, now, slot):
        """When to wake: at `slot`, the next measurement, or before it for a contact."""
        return self._schedule.wake(now, slot, self._next())

    def _next(self):
        """When a contact may be due again; the next measurement may bring one before that."""
        retained, checked = self._node.retained, self._checked
        moment = checked + self._schedule.next_report(checked)
        if retained.contact_owed and retained.failures:
            moment = min(moment, self._schedule.next_retry(retained.failures, checked))
        if retained.alarm_waits:
            moment = min(moment, checked + self._schedule.next_refill(checked))
        return moment

    def _piled(self):
        """Whether what waits is enough, or old enough, for a contact of its own. Makes frames of many rows."""
        node, schedule = self._node, self._schedule
        store = node.store
        rows = store.waiting_rows()
        if rows >= _FRAME_ROWS:
            store.mount_rest()
            node.framer().run()
            rows = _FRAME_ROWS * store.waiting_frames()
            if rows >= _FRAME_ROWS * schedule.size:
                return True
            rows += _FRAME_ROWS  # looked at again only at the next frame: rather early than late
        return schedule.age is not None and rows * min(node.intervals) >= schedule.age
