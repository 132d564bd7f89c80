"""What the alerts ring gives up when it is full of events that nobody has acknowledged: by severity, never by age
alone.

Alarms and gaps are copied forward, under new numbers; a gap then declares the old numbers, and only then they are
dropped. Where nothing of less severity is left in the whole ring, the oldest alarms go, declared too.
"""

import flashring

from . import wire

_KEPT = (wire.ALARM, wire.GAP)


def evict(alerts, last, gap):
    """Make room by giving up the events up to `last`. `gap(first, last)`: the event that declares them."""
    oldest, released, following = alerts.range()
    first = max(oldest, released + 1)
    if last < first:
        return
    kept = _of_severity(alerts, first, last + 1)
    lesser = len(kept) < last + 1 - first or _has_lesser(alerts, last + 1, following)
    if not lesser:
        kept = [event for event in kept if event[0] == wire.GAP]
    copied = _of_severity(alerts, last + 1, following)
    for event in kept:
        if event not in copied:  # a cut may have come between the copies and the drop
            _put(alerts, event)
    event = gap(first, last)
    if not any(other[0] == wire.GAP and other[14:24] == event[14:24] for other in copied):
        _put(alerts, event)
    alerts.drop(last)


def _put(alerts, event):
    while True:
        try:
            alerts.append(event, True)
            return
        except flashring.RingBusy:
            alerts.idle()
        except flashring.RingFull:
            # More than the room that is kept for it: what is left over goes with the rest, declared.
            print("eviction: no room to copy an event forward")
            return


def _of_severity(alerts, first, end):
    """The events first..end-1 that are kept."""
    return [event for event in _events(alerts, first, end) if event[0] in _KEPT]


def _has_lesser(alerts, first, end):
    return any(event[0] not in _KEPT for event in _events(alerts, first, end))


def _events(alerts, first, end):
    for seq in range(first, end):
        try:
            yield alerts.read(seq)
        except KeyError as error:
            print("eviction: %s" % error)
