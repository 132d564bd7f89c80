"""Deep sleep for a chip that has none: mark the retained table, reset, and sleep at the next boot before anything is
armed.

A reset first, because it is the one thing that stops the watchdog and surely turns the radio off; lightsleep returns
at once while the radio has work pending. Of the node's table (firmware/node/retained.py) these fields are the
board's: bits 5-6 of byte 2, and at sleep the seconds (8), the sleep (12) and the fraction of the second (bits 2-7 of
byte 26).
"""

import struct
from time import ticks_diff, ticks_ms

import crc
import machine

from .scratch import SIZE

POWER_ON, WAKE, RESTART, WATCHDOG = 1, 3, 4, 5  # reset reasons as the wire counts them
_SLEEPS, _RESTARTS, _MARKS = 0x20, 0x40, 0x60
_FLAGS, _SECONDS, _SLEEP, _QUALITY = 2, 8, 12, 26
_LONGEST_MS = 70 * 60000  # of one lightsleep, which takes less than 2^32 us
_LONGEST_S = 65535
# From the reset to boot.py: an assumption, to be replaced when a board was measured. The clock is wrong by what it is
# off.
_BOOT_MS = 300


class Sleeper:
    """`cause` and `woke` are known once `boot` has run. `scratch`: the memory that survives a reset."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.cause = 0
        self.woke = False
        self._booted = 0  # ticks
        self._fraction = 0  # sixty-fourths of a second

    def boot(self):
        """Sleeps if the last boot ended for that, and finds out why this one began. Runs before a watchdog is armed."""
        self._booted = ticks_ms()
        table = self._table()
        mark = table[_FLAGS] & _MARKS
        if machine.reset_cause() == machine.PWRON_RESET:
            self.cause = POWER_ON
        elif mark == _SLEEPS:
            self._fraction = table[_QUALITY] >> 2
            self._sleep(struct.unpack_from("<H", table, _SLEEP)[0])
            self.cause = WAKE
        else:
            self.cause = RESTART if mark == _RESTARTS else WATCHDOG
        self.woke = self.cause == WAKE
        if mark:
            self._write(table, 0)  # or the watchdog's next reset would be taken for a sleep

    def _sleep(self, seconds):
        while True:
            left = seconds * 1000 - _BOOT_MS - ticks_diff(ticks_ms(), self._booted)
            if left <= 0:
                return
            machine.lightsleep(min(left, _LONGEST_MS))

    def elapsed_ms(self):
        """Milliseconds since the second that the table names as the one of falling asleep."""
        return self._fraction * 1000 // 64 + _BOOT_MS + ticks_diff(ticks_ms(), self._booted)

    def sleep(self, seconds, now, ms):
        """Resets into a sleep of `seconds`, at most 65,535. `now`, `ms`: the clock."""
        table = self._table()
        struct.pack_into("<iH", table, _SECONDS, now, min(seconds, _LONGEST_S))
        table[_QUALITY] = table[_QUALITY] & 3 | ms * 64 // 1000 << 2
        self._write(table, _SLEEPS)
        machine.reset()

    def restart(self):
        """Resets."""
        self._write(self._table(), _RESTARTS)
        machine.reset()

    def _table(self):
        """The node's table, or an empty one where there is none."""
        table = bytearray(self.scratch.read())
        if struct.unpack_from("<H", table)[0] != crc.crc16(memoryview(table)[2:]):
            table = bytearray(SIZE)
        return table

    def _write(self, table, mark):
        table[_FLAGS] = table[_FLAGS] & ~_MARKS & 0xFF | mark
        struct.pack_into("<H", table, 0, crc.crc16(memoryview(table)[2:]))
        self.scratch.write(table)
