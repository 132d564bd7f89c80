"""When to measure and when to report: pure arithmetic on whole seconds, with no state but the last row's time.

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


def report_due(interval, offset, last, now):
    """True when a report's moment (multiples of `interval`, moved by the node's own `offset`) lies in (last, now]."""
    return (now - offset) // interval > (last - offset) // interval


def next_report(interval, offset, now):
    """Seconds from `now` to the next report's moment, 1..interval."""
    return interval - (now - offset) % interval


def retry_due(failures, interval, offset, now):
    """After f failed contacts in a row only every 2^f-th slot tries again, at the least every 64th.

    `offset`: the node's own, any integer, so that a fleet does not come back all at once.
    """
    return (now // interval + offset) % (1 << min(failures, 6)) == 0
