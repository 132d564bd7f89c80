"""Clock port: wall time counted on the ticks. The RTC starts in 2021 at every boot, has whole seconds only, and an
RP2040's stands still in lightsleep; it is set along, for the dates of certificates.
"""

import time
from time import ticks_diff, ticks_ms

import machine

_EPOCH_2020 = 1577836800  # in Unix seconds, which time.time() of this chip counts
_AT_BOOT = 31622400  # 2021-01-01 in seconds since 2020
ESTIMATED = 1


class Clock:
    """Seconds since 2020-01-01 UTC. Must be asked at least once in 6 days awake, half a period of the ticks."""

    ticks_ms = staticmethod(ticks_ms)

    def __init__(self, sleeper):
        self._sleeper = sleeper
        self._seconds = _AT_BOOT
        self._ms = 0
        self._at = ticks_ms()
        self._quality = 0

    def seconds(self):
        """What the clock shows, known or not."""
        now = ticks_ms()
        ms = self._ms + ticks_diff(now, self._at)
        self._at = now
        self._seconds += ms // 1000
        self._ms = ms % 1000
        return self._seconds

    def ms(self):
        """The milliseconds of the second that `seconds` gave last."""
        return self._ms

    def wall(self):
        """(seconds, quality), or None where it was neither set nor resumed since the reset."""
        return (self.seconds(), self._quality) if self._quality else None

    def resume(self, seconds, quality):
        """After a wake: it had shown `seconds`, of `quality`, when the sleep began. What it shows now is an estimate.
        """
        elapsed = self._sleeper.elapsed_ms()
        self.set(seconds + elapsed // 1000, elapsed % 1000, min(quality, ESTIMATED))

    def set(self, seconds, ms, quality):
        """Sets the clock; quality 0 says that it is not known for that."""
        self._seconds, self._ms, self._at, self._quality = seconds, ms, ticks_ms(), quality
        t = time.gmtime(seconds + _EPOCH_2020)
        machine.RTC().datetime((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))
