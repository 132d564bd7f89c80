"""Clock port: wall time from the RTC, which runs through deep sleep and every reset but power-on."""

import time
from time import ticks_ms  # noqa: F401

import machine

_EPOCH_2020 = 631152000  # 2020-01-01 counted from 2000-01-01, where time.time() of this chip begins
_SET = 126230400  # 2024-01-01 in seconds since 2020: an RTC that reads less was never set
SYNCHRONISED = 2


class Clock:
    """Seconds since 2020-01-01 UTC."""

    ticks_ms = staticmethod(ticks_ms)

    def seconds(self):
        """What the RTC shows, set or not; it starts in the year 2000 at power-on and then runs on."""
        return time.time() - _EPOCH_2020

    def wall(self):
        """(seconds, quality), or None while the RTC was not set since power-on."""
        seconds = self.seconds()
        return (seconds, SYNCHRONISED) if seconds >= _SET else None

    def resume(self, seconds, quality):
        """It ran on through deep sleep: nothing to do."""

    def set(self, seconds, ms, quality):
        """Sets the RTC. It keeps no quality of its own: what it holds was set since power-on."""
        t = time.gmtime(seconds + _EPOCH_2020)
        machine.RTC().datetime((t[0], t[1], t[2], t[6], t[3], t[4], t[5], ms * 1000))
