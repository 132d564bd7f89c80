"""The watchdog is fed only while every task does what it said it would, in the time it said."""

import asyncio
import time

_FEED_MS = 2500  # the shortest watchdog of a board is 8 s
LOOP, CONTACT = 0, 1


class Watch:
    """`feed`: the board's. A task says by when it will be heard of again; one that is not heard of ends the feeding,
    and the watchdog the boot.
    """

    def __init__(self, feed):
        self._feed = feed
        self._due = {}  # task to ticks; a task that is not running is not there

    def expect(self, task, ms):
        """`task` will call again within `ms`, at most 2^29."""
        self._due[task] = time.ticks_add(time.ticks_ms(), ms)

    def done(self, task):
        """`task` has ended as it should."""
        self._due.pop(task, None)

    def late(self):
        """The first task that is overdue, or None."""
        now = time.ticks_ms()
        for task, due in self._due.items():
            if time.ticks_diff(now, due) > 0:
                return task
        return None

    def feed(self):
        """Feeds, unless a task is overdue. Called right before whatever blocks: the board allows it 8 s."""
        if self.late() is None:
            self._feed()

    async def run(self):
        """Feeds for as long as nothing is overdue."""
        while self.late() is None:
            self._feed()
            await asyncio.sleep_ms(_FEED_MS)
        from . import log

        log.warning("watch: task %d is overdue; the watchdog will reset the node" % self.late())
