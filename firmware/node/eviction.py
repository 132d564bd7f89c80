"""What the alerts ring gives up when it is full of events that nobody has acknowledged: by severity, never by age
alone.

A gap declares the old numbers, alarms and gaps are copied forward under new ones, and only then the old are dropped.
Where nothing of less severity is left in the whole ring, the oldest alarms go, declared too.
"""

import struct

import flashring

from . import wire

_KEPT = (wire.ALARM, wire.GAP)
_SPAN = "<II"  # lo and hi of a gap, at 15 (wire.pack_gap)
_FULL = 1  # its reason, at 23
_BATCH = 16  # events in one commit: on pages each commit takes a page
_TRIES = 4  # of one commit; a sector that does not hold twice is an error of the ring's
_GAPS = 64  # that are copied where nothing else is: half a sector, so that the other half is free for events


def evict(alerts, last, gap):
    """Make room by giving up the events up to `last`. `gap(first, last)`: the event that declares them."""
    oldest, released, following = alerts.range()
    first = max(oldest, released + 1)
    if last < first:
        return
    kept = _of_severity(alerts, first, last + 1)
    there = _of_severity(alerts, last + 1, following)  # some by a call that was cut before its drop
    lesser = len(kept) < last + 1 - first or _has_lesser(alerts, last + 1, following)
    begin = _declared_before(kept + there, first)
    event = bytes(gap(begin, last))
    gaps = [each for each in kept if each[0] == wire.GAP and not _within(each, begin, last)]
    # First of all, so that no sector is opened before it is durable.
    told = any(other[0] == wire.GAP and other[14:24] == event[14:24] for other in there)
    alarms = [each for each in kept if each[0] != wire.GAP] if lesser else []
    kept = [] if told else [event]
    kept += [each for each in gaps[1 - _GAPS :] + alarms if each not in there]
    left = _copy(alerts, kept)
    alerts.drop(last)
    if left:
        # A cut in an earlier try has used up room: from that drop to here they are in RAM alone.
        left = _copy(alerts, left)
        if left:
            print("eviction: no room to copy %d events forward" % len(left))


def _declared_before(events, first):
    """From where on all numbers before `first` are declared already. One gap then declares them all, and the ring does
    not fill with gaps.
    """
    spans = sorted([struct.unpack_from(_SPAN, event, 15) for event in events if _is_own(event)])
    for lo, hi in reversed(spans):
        if lo < first <= hi + 1:
            first = lo
    return first


def _is_own(event):
    return event[0] == wire.GAP and event[14] == 1 and event[23] == _FULL


def _within(event, begin, last):
    """Whether `event` is a gap of this ring that one from `begin` to `last` declares too."""
    if not _is_own(event):
        return False
    lo, hi = struct.unpack_from(_SPAN, event, 15)
    return begin <= lo and hi <= last


def _copy(alerts, events):
    """Append `events`; returns those that found no room."""
    at, size = 0, _BATCH
    while at < len(events):
        if _put(alerts, events[at : at + size]):
            at += size
        elif size > 1:
            size = 1
        else:
            break
    return events[at:]


def _put(alerts, events):
    for _ in range(_TRIES):
        try:
            alerts.append_batch(events, True)
            return True
        except flashring.RingBusy:
            alerts.idle()
        except flashring.RingFull:
            return False
    raise flashring.RingError("the alerts take no copies")


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
