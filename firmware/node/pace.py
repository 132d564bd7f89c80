"""How fast a contact goes: its retransmission time-out and its measured goodput (PROTOCOL.md, "Sending").

The time-out follows RFC 6298 in spirit, with one smoothed value and a factor instead of a variance. Goodput is the
delivery rate of draft-cheng-iccrg-delivery-rate-estimation: the bytes acknowledged since a record left, over that time.
"""

from micropython import const

_RTO_MIN_MS = const(3000)
_RTO_MAX_MS = const(30000)
_FIRST_WINDOW = const(2012)  # bytes under way before anything is measured: two frames of the largest size


class Pace:
    """`delivered`: bytes of frames acknowledged so far; whoever sends one notes it down for `acknowledged`."""

    def __init__(self):
        self.delivered = 0
        self._srtt = None
        self._backed_off = 0  # the longest time-out that ran out since something sent only once was acknowledged
        self._goodput = None  # bytes per second

    def rto(self, doublings=0):
        """Milliseconds after which what has no acknowledgement is sent again: 4 x the smoothed time, 3..30 s, doubled
        for what was sent before. What is new takes over the last doubling, or a slow cloud would get everything twice.
        """
        base = _RTO_MIN_MS if self._srtt is None else max(_RTO_MIN_MS, min(_RTO_MAX_MS, 4 * self._srtt))
        return base << doublings if doublings else max(base, self._backed_off)

    def ran_out(self, doublings):
        """Something is sent again, for the `doublings`th time."""
        self._backed_off = max(self._backed_off, self.rto(doublings))

    def window(self):
        """Bytes of frames that may be under way: what one second brings."""
        return _FIRST_WINDOW if self._goodput is None else self._goodput

    def answered(self, ms):
        """Something sent only once was acknowledged after `ms`: RFC 6298, with Karn's rule kept by the caller."""
        self._srtt = ms if self._srtt is None else (7 * self._srtt + ms) // 8
        self._backed_off = 0

    def arrived(self, ms, delivered):
        """A frame first sent `ms` ago, when `delivered` bytes had been, was acknowledged. Rises at once, falls by
        eighths: a sample is low as well when there was little to send.
        """
        sample = (self.delivered - delivered) * 1000 // max(1, ms)  # a window in flight: far below 2^30
        if self._goodput is not None and sample < self._goodput:
            sample = (7 * self._goodput + sample) // 8
        self._goodput = sample
