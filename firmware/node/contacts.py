"""When this node contacts: the schedule applied to what it remembers, to what waits and to the alarms there are. And
the contact, a task beside measuring.
"""

import asyncio
import gc
import time

from .modules import forget
from .schedule import BURST, Schedule
from .watch import CONTACT

_FRAME_ROWS = 100  # rows in the journal that make a frame without waiting for the report
_SLACK_MS = 15000  # what a contact may take on top of its cap: framing before, closing after
_GARBAGE = 4096  # collected whenever so many bytes were allocated, from the contact on
_MOST_FAILURES = 15  # what the retained table can count


class Contacts:
    """`node` is the waking node (`node.app`). What must outlive a sleep is in its retained memory.

    Attributes: `last`, (ticks of its end, whether all was committed) of this waking's last contact, or None;
    `battery_mv` as that began, 0 if not measured.
    """

    def __init__(self, node):
        self._node = node
        self._checked = 0  # up to when moments of contact were looked for, by the clock as it is now
        self._urgent = False  # the contact is an alarm's
        self._task = None
        self._ended = asyncio.Event()
        self.last = None
        self.battery_mv = 0
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

    # When

    def due(self, measured):
        """A boot, an alarm, a report's moment, or a contact owed from before; `measured`: there are new readings.

        One that is owed at once waits for a waking of its own, but where somebody keeps the node awake: there is none.
        """
        node, schedule = self._node, self._schedule
        retained = node.retained
        if retained.at_once:
            return node.service.active
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
        """When to wake: at `slot`, the next measurement, or before it for a contact, if none is under way."""
        return slot if self.busy() else self._schedule.wake(now, slot, self._next())

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

    # The contact

    def running(self):
        """Whether a contact is under way."""
        return self._task is not None and not self._task.done()

    def busy(self):
        """Whether one is under way, or owed at once: then nobody may begin another."""
        return self._node.retained.at_once or self.running()

    def begin(self):
        """Begins a contact. None may be under way."""
        self._node.retained.at_once = False
        self._ended.clear()
        self._task = asyncio.create_task(self._run())

    async def wait(self, ms):
        """Until the contact under way ends, but no longer than `ms`."""
        try:
            await asyncio.wait_for_ms(self._ended.wait(), ms)
        except asyncio.TimeoutError:
            pass

    async def _run(self):
        """One contact, as a task that nobody awaits: what goes wrong in it must cost this contact and no more."""
        node, retained = self._node, self._node.retained
        retained.contact_owed = True
        retained.alarm_waits = node.alarms.raised = False
        failures = min(retained.failures + 1, _MOST_FAILURES)
        done = False
        node.watch.expect(CONTACT, node.settings["awake_cap"] * 1000 + _SLACK_MS)
        try:
            self.battery_mv = node.board.power.battery_mv()  # some boards cannot with the radio on
            # Importing leaves garbage of several times a module's size: it fits only with a collection in between.
            gc.collect()
            store = node.store
            store.mount_rest()
            committed = store.committed()
            fresh_from = store.frames.range()[2]
            node.framer().run()
            # A TLS session needs the memory more.
            forget("node.framing", "codec", "flashring.repair", "flashring.setup", "flashring.plain")
            gc.threshold(_GARBAGE)
            from .uplink import Uplink

            gc.collect()
            retained.conn += 1
            uplink = Uplink(node)
            done = await uplink.run(fresh_from)
            if uplink.usb:
                node.serve()
            if done:
                retained.contact_owed = node.alarms.raised = False
                failures = 0
            elif store.committed() > committed:
                failures = 0  # a backlog may take several contacts
            control, uplink = uplink.control, None  # its buffers are needed now
            if control is not None and (control.taken or control.counts):
                await self._perform(control)
                forget("node.commands", "node.acts")
                gc.collect()
        except Exception as error:
            from . import log

            log.traceback(error)
        finally:
            retained.failures = failures
            self.last = time.ticks_ms(), done
            node.watch.done(CONTACT)
            self._ended.set()

    async def _perform(self, control):
        """What the contact brought. Its result is told in a waking of its own: once a TLS session was there, the heap
        has no room in one piece for another.
        """
        from . import commands

        if await commands.attend(self._node, control):
            self._node.retained.contact_owed = self._node.retained.at_once = True
