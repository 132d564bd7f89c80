"""A node's waking life: measure, judge, record, report when it is time, sleep. State lives in flash or retained
memory.
"""

import asyncio
import gc

from . import limits, settings, slots
from .bootlog import BootLog
from .retained import Retained
from .sampler import OK, Sampler
from .store import Store
from .timekeeper import Timekeeper

_DEEP_SLEEP_WAKE = 3
_RESTART = 4
_SHORTEST_SLEEP_MS = 2000  # below it a boot costs more than staying awake
_LONGEST_SLEEP_S = 65535  # what the retained table can hold
_FRAME_ROWS = 100  # rows in the journal that make a frame without waiting for the report


class Node:
    """One waking of the node. `board`: the ports. `reason`: why it booted, as the wire counts reset reasons."""

    def __init__(self, board):
        self.board = board
        self.settings = settings.load()
        self.retained = Retained(board.power)
        self.bootlog = BootLog()
        self.keeper = Timekeeper(board.clock, self.bootlog)
        channels = self.settings["channels"]
        self.store = Store(board.flash, board.rings, len(channels), self.keeper, self.bootlog)
        self._sampler = Sampler(board, self.settings["sensors"], len(channels))
        self._intervals = [sensor["interval"] for sensor in self.settings["sensors"]]
        self._last = 0  # time of the last row, by the clock as it is now
        self._state = 0  # two bits per channel, as in a journal row
        self._alarmed = False
        self._ended = asyncio.Event()
        self._contact = None
        self.reason = 0

    # Boot

    def begin(self):
        """Finds out where the last boot left off."""
        kept = self.retained.load()
        self.reason = self.board.power.reset_cause()
        if self.reason == _RESTART and kept and self.retained.reason:
            self.reason = self.retained.reason
        cold = self.reason != _DEEP_SLEEP_WAKE or not kept
        self.bootlog.load()
        if cold:
            self.retained.clear()
            self.bootlog.begin(self.board.clock.seconds())
        self.store.mount(cold)
        self._recall(cold)
        return cold

    def _recall(self, cold):
        """Limits and sensor failures carry on from the newest row; after a cut the alarms in flash are the truth."""
        row = self.store.rows.last()
        now, quality = self.keeper.stamp()
        if row is not None:
            self._state = row.state
        if row is None or cold:
            self._last = now - max(self._intervals)  # every sensor is due
        elif quality and not row.quality:
            self._last = self.bootlog.began + row.time  # the clock was set since
        else:
            self._last = row.time
        if cold:
            self._recall_events()
            self._framer().settle()

    def _recall_events(self):
        """An event is written before its row: a cut between the two must not report it again."""
        from . import wire

        alerts = self.store.alerts
        oldest, _, following = alerts.range()
        for seq in range(oldest, following):
            kind, index, state = wire.event_state(alerts.read(seq))
            if kind == wire.ALARM:
                self._state = limits.put(self._state, index, state)
            elif kind == wire.SENSOR and index < len(self._intervals):
                first = self.settings["sensors"][index]["channels"][0]
                self._state = limits.put(self._state, first, limits.SENSOR_FAILS if state else limits.NORMAL)

    # Awake

    async def live(self):
        """Measures slot after slot; ends in deep sleep as soon as no contact runs and the next slot is far enough."""
        while True:
            now, _ = self.keeper.stamp()
            due = [i for i in range(len(self._intervals)) if slots.due(self._intervals[i], self._last, now)]
            if due:
                before = self._last
                await self._measure(due)
                if self._contact is None and self._contact_due(before):
                    self._contact = asyncio.create_task(self._report())
            left_ms = self._ms_to_next_slot()
            if self._contact is not None:
                await self._wait_contact(left_ms)
            elif left_ms < _SHORTEST_SLEEP_MS:
                await asyncio.sleep_ms(left_ms)
            else:
                self._sleep(left_ms)

    async def _wait_contact(self, left_ms):
        """Until the contact ends or a slot comes up meanwhile."""
        try:
            await asyncio.wait_for_ms(self._ended.wait(), left_ms)
        except asyncio.TimeoutError:
            return
        self._ended.clear()
        self._contact = None

    def _ms_to_next_slot(self):
        now, _ = self.keeper.stamp()
        return max(1, (slots.next_slot(self._intervals, max(self._last, now)) - now) * 1000)

    def _sleep(self, ms):
        seconds = min(ms // 1000, _LONGEST_SLEEP_S)
        retained = self.retained
        retained.reason = 0
        retained.seconds = self.board.clock.seconds()
        retained.sleep_s = seconds
        wall = self.board.clock.wall()
        retained.quality = wall[1] if wall else 0
        retained.save()
        self.board.power.sleep(seconds * 1000)

    # Measuring

    async def _measure(self, due):
        sampler = self._sampler
        await sampler.sample(due)
        now, quality = self.keeper.stamp()
        self._judge_sensors(due)
        self._judge_limits()
        self.store.append_row(quality, self.bootlog.boot, now, sampler.present, self._state, sampler.values)
        self._last = now

    def _judge_sensors(self, due):
        """Reports each sensor that began to fail or works again, once."""
        for index in due:
            first = self.settings["sensors"][index]["channels"][0]
            failed = limits.get(self._state, first) == limits.SENSOR_FAILS
            outcome = self._sampler.outcome[index]
            if (outcome != OK) != failed:
                self.store.sensor(index, outcome)
                self._state = limits.put(self._state, first, limits.NORMAL if failed else limits.SENSOR_FAILS)

    def _judge_limits(self):
        sampler = self._sampler
        for channel, low, high, hysteresis in self.settings["limits"]:
            if not sampler.present >> (channel - 1) & 1:
                continue
            value = sampler.values[channel - 1]
            before = limits.get(self._state, channel)
            after = limits.judge(before, value, low, high, hysteresis)
            if after != before:
                crossed = after or before
                limit = high if crossed == limits.HIGH else low
                self.store.alarm(channel, after, self.settings["channels"][channel - 1][3], value, limit)
                self._state = limits.put(self._state, channel, after)
                self._alarmed = True

    # Reporting

    def _report_offset(self):
        """Seconds by which this node's reports lie behind the full interval, so that a fleet does not call at once."""
        offset = 0
        for letter in self.settings["node"].encode():
            offset = (offset * 31 + letter) % self.settings["report"]
        return offset

    def seconds_to_report(self):
        """The latest moment of the next contact, from now."""
        now, _ = self.keeper.stamp()
        return slots.next_report(self.settings["report"], self._report_offset(), now) + max(self._intervals)

    def _contact_due(self, before):
        """A boot, an alarm, a report's moment, or a contact owed from before."""
        retained = self.retained
        if self._alarmed or retained.conn == 0 and not retained.failures:
            return True
        if slots.report_due(self.settings["report"], self._report_offset(), before, self._last):
            retained.contact_owed = True
        if retained.contact_owed:
            return slots.retry_due(retained.failures, min(self._intervals), self._last)
        if self.store.waiting_rows() >= _FRAME_ROWS:
            self.store.mount_rest()
            self._framer().run()
        return False

    async def _report(self):
        # Importing leaves garbage of several times a module's size: without a collection in between it would not fit.
        gc.collect()
        self.store.mount_rest()
        fresh_from = self.store.frames.range()[2]
        self._framer().run()
        gc.collect()

        gc.collect()
        from .uplink import Uplink

        gc.collect()
        retained = self.retained
        retained.contact_owed = True
        retained.conn = (retained.conn + 1) & 0xFFFF
        if await Uplink(self).run(fresh_from):
            retained.contact_owed = self._alarmed = False
            retained.failures = 0
        else:
            retained.failures = min(retained.failures + 1, 255)
        self._ended.set()

    def _framer(self):
        from .framing import Framer

        return Framer(self.store, [(channel[0], channel[3]) for channel in self.settings["channels"]])

    def set_clock(self, seconds, ms):
        """The cloud has told the time. A slot once taken stays taken when a set clock is corrected."""
        known = self.board.clock.wall()
        self.keeper.set(seconds, ms, 2)
        if not known:
            self._last += self.bootlog.began


def run(board):
    """Never returns: a waking ends in deep sleep."""
    node = Node(board)
    node.begin()
    asyncio.run(node.live())
