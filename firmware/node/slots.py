"""When to measure: pure arithmetic on whole seconds, with no state but the last row's time.

A sensor with interval I is due once per slot k*I, at the slot or as soon after it as the node can; a slot is never
taken early and never twice. Slots count from the clock's zero: 2020 when it is set, this boot's begin when it is
not.
"""


def due(interval, last, now):
    """True when a slot of `interval` lies in (last, now]."""
    return now // interval > last // interval


def next_slot(intervals, last):
    """First slot of any of the intervals after `last`."""
    return min((last // interval + 1) * interval for interval in intervals)


def kept(last, now, interval):
    """The last row's time once the clock was set back to `now`.

    A slot taken too early stays taken. But where the clock had been ahead by more than `interval`, its slots were not
    these: without this the node would measure nothing until the time of its last row comes again.
    """
    return now if last > now + interval else last
