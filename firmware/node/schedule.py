"""When to contact: alarms at once within a budget, the rest by schedule, size and age. Pure arithmetic on seconds.

Every moment is a node's own: windows of time are the same for all, and where in a window a node's moment lies is drawn
from SHA-256 of its name and the window. So a fleet that lost its network together does not come back together, and two
nodes that met once do not meet again; and nothing but the number of failures must be remembered over deep sleep.
"""

import hashlib

from micropython import const

BURST = const(15)  # contacts that alarms may cause at once; what the retained table can count
CONNECTIONS = const(6)  # in one contact while an alarm waits
_TAKEOVER_MS = const(1100)  # a broker may still hold the last connection
_JITTER_MS = const(500)
_BACKOFF_S = const(60)
_SHARE_S = const(60)  # a contact this close before a measurement shares its waking
_LATE_S = const(30)  # the slowest sensor, joining and TLS
_DAY_S = const(86400)


def pause_ms(tries, chance):
    """Between connections of one contact, of which `tries` failed: exponential with full jitter, on top of what a
    broker needs to let go. `chance`: a random number of 32 bits.
    """
    return _TAKEOVER_MS + chance % (_JITTER_MS << tries - 1)


class Schedule:
    """The moments of one node. `settings` as the node holds them; older firmware stored fewer."""

    def __init__(self, settings):
        self._name = (settings["tenant"] + "/" + settings["node"]).encode()
        self._report = settings["report"]
        self.size = settings.get("size", 48)
        self.age = settings.get("age")
        self._alarm_s = _DAY_S // settings.get("alarm_contacts", 48)
        self._offset = self._draw(b"report", 0, self._report)

    def _draw(self, what, window, width):
        """Seconds into a window of `width` seconds, 0..width-1, evenly drawn."""
        digest = hashlib.sha256(b"%s %s %d" % (self._name, what, window)).digest()
        return (digest[0] << 16 | digest[1] << 8 | digest[2]) % width

    def report_due(self, before, now):
        """Whether a report's moment lies in (before, now]."""
        return (now - self._offset) // self._report > (before - self._offset) // self._report

    def next_report(self, now):
        """Seconds from `now` to the next report's moment, 1..report interval."""
        return self._report - (now - self._offset) % self._report

    def latest(self, now):
        """Seconds from `now` in which the next contact is to come, as a birth announces it."""
        return self.next_report(now) + _SHARE_S + _LATE_S

    def next_retry(self, failures, after):
        """The first moment > `after` at which a node tries again after `failures` contacts failed in a row.

        One try in each window of 60 s x 2^failures, but no rarer than reports are.
        """
        width = min(_BACKOFF_S << min(failures, 15), max(_BACKOFF_S, self._report))
        window = after // width
        while True:
            moment = window * width + self._draw(b"retry", window, width)
            if moment > after:
                return moment
            window += 1

    def refilled(self, before, now):
        """How many contacts more alarms may cause, by the time that went from `before` to `now`."""
        return max(0, now // self._alarm_s - before // self._alarm_s)

    def next_refill(self, now):
        """Seconds until then."""
        return self._alarm_s - now % self._alarm_s

    def wake(self, now, slot, moment):
        """When to wake: at `slot`, the next measurement, or before it at `moment`, the next contact, if that lies too
        far before it to share its waking.
        """
        return slot if moment + _SHARE_S >= slot else max(now, moment)
