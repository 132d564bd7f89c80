"""Measures: starts every due sensor, waits once for the slowest, collects. Knows nothing of what becomes of the
values.
"""

import asyncio
import time
from array import array

OK, NO_ANSWER, WRONG_ANSWER = 0, 1, 2
_NOT_DUE = -1
_BUSY_MS = 5


class Sampler:
    """The sensors of the settings on the ports of the board.

    After `sample`, `values[i]` is the value of channel id i + 1 and `present` has bit i set if it is one of this
    moment; `outcome[s]` tells how sensor s did: OK, NO_ANSWER, WRONG_ANSWER, or -1 if it was not due; `last[s]` how it
    did when it was due last. All of it stands until the task that awaited `sample` awaits something else.
    """

    def __init__(self, board, sensors, channel_count):
        self._board = board
        self._sensors = sensors
        self._drivers = [None] * len(sensors)
        self.values = array("i", [0] * channel_count)
        self.present = 0
        self.outcome = [_NOT_DUE] * len(sensors)
        self.last = [_NOT_DUE] * len(sensors)
        self._busy = False

    def _driver(self, index):
        """Builds a driver when it is first needed. ImportError if this firmware has none of that name."""
        if self._drivers[index] is None:
            sensor = self._sensors[index]
            driver = getattr(__import__("drivers." + sensor["driver"]), sensor["driver"]).Driver
            if driver.BUS == "adc":
                self._drivers[index] = driver(self._board.adc(sensor["pin"]))
            else:
                self._drivers[index] = driver(self._board.i2c(sensor["bus"]), sensor["address"])
        return self._drivers[index]

    async def sample(self, due):
        """Takes one reading from each sensor whose index is in `due`; waits for another task's to end first."""
        while self._busy:
            await asyncio.sleep_ms(_BUSY_MS)
        self._busy = True
        try:
            await self._take(due)
        finally:
            self._busy = False
        for index in due:
            self.last[index] = self.outcome[index]

    async def _take(self, due):
        self.present = 0
        longest = 0
        for index in range(len(self._sensors)):
            self.outcome[index] = _NOT_DUE
        for index in due:
            try:
                longest = max(longest, self._driver(index).start(time.ticks_ms()))
                self.outcome[index] = OK
            except Exception as error:
                self.outcome[index] = _judge(error)
        if longest:
            await asyncio.sleep_ms(longest)
        for index in due:
            if self.outcome[index] == OK:
                self.outcome[index] = self._collect(index)

    def _collect(self, index):
        channels = self._sensors[index]["channels"]
        try:
            self._drivers[index].collect(self.values, channels[0] - 1)
        except Exception as error:
            return _judge(error)
        for channel in channels:
            self.present |= 1 << (channel - 1)
        return OK


def _judge(error):
    """The outcome that an exception of a driver or its port means. A driver's bug costs its sensor, not the node."""
    if isinstance(error, OSError):
        return NO_ANSWER
    if not isinstance(error, ValueError):
        from . import log

        log.traceback(error)
    return WRONG_ANSWER
