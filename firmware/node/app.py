"""A node's waking life: measure, judge, record, report when it is time, sleep. State lives in flash or retained
memory.
"""

import asyncio
import gc
import sys

from . import settings, slots
from .alarms import Alarms
from .bootlog import BootLog
from .contacts import Contacts
from .modules import forget
from .retained import Retained
from .sampler import Sampler
from .store import Store
from .timekeeper import Timekeeper
from .watch import LOOP, Watch

_DEEP_SLEEP_WAKE = 3
_RESTART = 4
_CRASH = 6
_CRASH_SLEEP_S = 60  # an error that every boot meets must not empty the battery
_LAST_CONN = 0xFF00  # contacts of one boot, some less than a u16: a contact may take several births
_MEASURE_MS = 20000  # the slowest sensor, and what storing its row may take
_SHORTEST_SLEEP_MS = 2000  # below it a boot costs more than staying awake
_LONGEST_SLEEP_S = 65535  # what the retained table can hold
_NO_SERVICE = (0, None)  # of settings from before there was any
_STEP_MS = 100  # in the last second before a slot: the clock counts whole seconds
_BUSY_MS = 5
_ATTENTIVE_MS = 1000  # between two looks whether somebody still wants the node awake


class _Nobody:
    """Stands for node.service.Service on an ordinary wake, which nobody wants to talk to."""

    active = False

    @staticmethod
    async def window(attend):
        """There is none."""

    @staticmethod
    def look():
        """Nobody is there."""

    @staticmethod
    def knocked():
        """Nor is a key."""
        return False


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
        self.sampler = Sampler(board, self.settings["sensors"], len(channels))
        self.intervals = [sensor["interval"] for sensor in self.settings["sensors"]]
        self._last = 0  # time of the last row, by the clock as it is now
        self.alarms = Alarms(self.settings, self.store)
        self.contacts = Contacts(self)
        self.watch = Watch(board.power.feed)
        self._measuring = False
        self.reason = 0
        self.service = _Nobody
        self._attendant = None  # the task that serves the console

    # Boot

    def begin(self):
        """Finds out where the last boot left off."""
        kept = self.retained.load()
        self.reason = self.board.power.reset_cause()
        if self.reason in (_RESTART, _DEEP_SLEEP_WAKE) and kept and self.retained.reason:
            self.reason = self.retained.reason
        cold = self.reason != _DEEP_SLEEP_WAKE or not kept
        self.bootlog.load()
        if cold:
            self.retained.clear()
            self.retained.save()
            self.bootlog.begin(self.board.clock.seconds())
        else:
            self.board.clock.resume(self.retained.seconds, self.retained.quality)
        self.store.mount(cold, self.retained.hints)
        self._recall(cold)
        slept = 0 if cold else self.board.clock.seconds() - self.retained.seconds
        self.contacts.checked(self.keeper.stamp()[0] - slept)
        _, pin = self.settings.get("service", _NO_SERVICE)
        if cold or pin is not None and self.board.held(pin):
            self.serve()
        if self.bootlog.command:
            from . import commands

            commands.recover(self.bootlog, self.store, self.reason == _RESTART)
            forget("node.commands", "node.acts")
            gc.collect()
        return cold

    def serve(self):
        """From here on the node sleeps only when nobody wants it awake. To be called before a session begins."""
        if self.service is _Nobody:
            from .service import Service

            self.service = Service(self.board, *self.settings.get("service", _NO_SERVICE))

    def _recall(self, cold):
        """Limits and sensor failures carry on from the newest row; after a cut the events in flash are the truth."""
        row = self.store.rows.last()
        now, quality = self.keeper.stamp()
        if row is not None:
            self.alarms.state = row.state
        if row is None or cold:
            self._last = now - max(self.intervals)  # every sensor is due
        elif quality and not row.quality:
            self._last = self.bootlog.began + row.time  # the clock was set since
        else:
            self._last = row.time
            if quality:
                self._last = slots.kept(row.time, self.retained.seconds, min(self.intervals))
        if cold:
            self.framer().settle()
        if cold or row is None:
            self.alarms.replay()

    # Awake

    async def live(self):
        """Measures slot after slot; ends in deep sleep as soon as no contact runs and the next slot is far enough."""
        if self.board.power.reset_cause() != _DEEP_SLEEP_WAKE:
            await self.service.window(self._attend)
            if not self.service.active:
                self.service = _Nobody
                forget("node.service")
        else:
            self.service.look()
        asyncio.create_task(self.watch.run())
        contacts = self.contacts
        if self.retained.at_once:
            contacts.begin()
        while True:
            self.watch.expect(LOOP, _MEASURE_MS)
            measured = await self._measure_due()
            if not contacts.running() and contacts.due(measured):
                contacts.begin()
            if self.service.active and self.service.knocked():
                self._attend()
            left_ms = self._ms_to_wake()
            nap_ms = max(_STEP_MS, left_ms - 1000)
            self.watch.expect(LOOP, nap_ms + _MEASURE_MS)
            if contacts.running():
                await contacts.wait(min(nap_ms, _ATTENTIVE_MS) if self.service.active else nap_ms)
            elif self.retained.conn >= _LAST_CONN:
                self.restart()
            elif left_ms < _SHORTEST_SLEEP_MS:
                await asyncio.sleep_ms(nap_ms)
            elif self.service.active:
                await asyncio.sleep_ms(min(nap_ms, _ATTENTIVE_MS))
                self.service.look()
            else:
                self._sleep(_SHORTEST_SLEEP_MS if self.retained.at_once else left_ms)

    def ms_to_next_slot(self):
        """0 or less where measuring, or a clock set forward, has used up a slot."""
        now, _ = self.keeper.stamp()
        return (slots.next_slot(self.intervals, self._last) - now) * 1000

    def _ms_to_wake(self):
        """To the next slot, or to a contact before it."""
        now, _ = self.keeper.stamp()
        return (self.contacts.wake(now, slots.next_slot(self.intervals, self._last)) - now) * 1000

    def _sleep(self, ms):
        retained = self.retained
        seconds = min(ms // 1000, _LONGEST_SLEEP_S)
        retained.reason = 0
        retained.seconds = self.board.clock.seconds()
        retained.sleep_s = seconds
        retained.quality = self.keeper.wall()[1]
        self.store.hints(retained.hints)
        retained.save()
        self.board.power.sleep(seconds * 1000)

    # At the console

    def _attend(self):
        """A key has come: the console answers it. It is imported only now."""
        if self._attendant is None:
            self._attendant = asyncio.create_task(self._console())

    async def _console(self):
        """What goes wrong at the console must not end the node's waking. A Ctrl-C there may: it goes to MicroPython."""
        from . import console

        try:
            await console.attend(self)
        except Exception as error:
            _log().traceback(error)

    def restart(self):
        """Boots anew and says that it was asked to; does not return."""
        self.retained.reason = _RESTART
        self.retained.save()
        self.board.power.reset()

    # Measuring

    async def _measure_due(self):
        """Takes what is due; whether anything was."""
        await self._begin_measuring()
        try:
            now, _ = self.keeper.stamp()
            due = [i for i in range(len(self.intervals)) if slots.due(self.intervals[i], self._last, now)]
            if due:
                await self._measure(due)
            return bool(due)
        finally:
            self._measuring = False

    async def read_now(self):
        """Takes a reading of every sensor besides those that are due; returns the row's seq in the journal."""
        await self._begin_measuring()
        try:
            return await self._measure(range(len(self.intervals)))
        finally:
            self._measuring = False

    async def _begin_measuring(self):
        """What is due must be asked after what another task takes, or a slot might be taken twice."""
        while self._measuring:
            await asyncio.sleep_ms(_BUSY_MS)
        self._measuring = True

    async def _measure(self, due):
        sampler = self.sampler
        began = self.keeper.uptime_s()
        await sampler.sample(due)
        # The row is of the moment it was begun, or it might take the next slot; the clock may have been set meanwhile.
        now, quality = self.keeper.stamp()
        now -= self.keeper.uptime_s() - began
        self.alarms.judge(sampler, due)
        state = self.alarms.state
        row = self.store.append_row(quality, self.bootlog.boot, now, sampler.present, state, sampler.values)
        self._last = now
        return row

    # What a contact asks for

    def framer(self):
        """What makes frames of rows; its code is forgotten before a contact."""
        from .framing import Framer

        return Framer(self.store, [(channel[0], channel[3]) for channel in self.settings["channels"]])

    def set_clock(self, seconds, ms):
        """The cloud has told the time. A slot once taken stays taken when a set clock is corrected."""
        _, known = self.keeper.wall()
        self.keeper.set(seconds, ms, 2)
        if not known:
            self._last += self.bootlog.began
        self._last = slots.kept(self._last, seconds, min(self.intervals))
        self.contacts.checked(seconds)

    def crashed(self):
        """Sleeps after an error that nothing contained; the next boot starts from nothing and says why."""
        self.retained.reason = _CRASH
        self.retained.save()
        try:
            if self.contacts.running():
                self.board.radio().down()
        finally:
            self.board.power.sleep(_CRASH_SLEEP_S * 1000)


def _log():
    """The log, imported when there is something to say."""
    from . import log

    return log


def run(board):
    """Never returns: a waking ends in deep sleep. A node without its settings stays at its console, and one whose
    console a host takes by Ctrl-C.
    """
    node = Node(board)
    try:
        if board.power.reset_cause() != _DEEP_SLEEP_WAKE:
            board.attend(False)
        node.begin()
        asyncio.run(node.live())
    except KeyboardInterrupt:
        board.attend(True)
        raise
    except Exception as error:
        sys.print_exception(error)
        node.crashed()
