"""What the alerts ring gives up when it is full of events that nobody has acknowledged: by severity, never by age
alone.

A gap declares the old numbers, alarms and gaps are copied forward under new ones, and only then the old are dropped.
Gaps that adjoin, wherever they are in the ring, are copied as one: months without a cloud take a handful. Where nothing
of less severity is left in the whole ring, the oldest alarms go, declared too. Gaps go only where more than half a
sector of them adjoin no other, the shortest first: that is printed.
"""

import struct

import flashring

from . import wire

_KEPT = (wire.ALARM, wire.GAP)
_GAP = "<BIIBI"  # ring, lo, hi, reason, readings: a gap behind its stamp (wire.pack_gap)
_SPAN = "<II"  # its lo and hi, at 15
_STAMP = 14  # bytes; the boot is at 1
_FULL = 1  # its reason, at 23
_BATCH = 16  # events in one commit: on pages each commit takes a page
_TRIES = 4  # of one commit; a sector that does not hold twice is an error of the ring's
_GAPS = 64  # copied of one sector: half of one, so that the other half is free for events


def evict(alerts, last, gap):
    """Make room by giving up the events up to `last`. `gap(first, last)`: the event that declares them."""
    oldest, released, following = alerts.range()
    first = max(oldest, released + 1)
    if last < first:
        return
    kept = [event for event in _events(alerts, first, last + 1) if event[0] in _KEPT]  # of one sector
    alarms = [event for event in kept if event[0] != wire.GAP]
    spans, copied, lesser = _behind(alerts, last + 1, following, set(alarms))
    lesser = lesser or len(kept) < last + 1 - first
    kept = [event for event in kept if event[0] == wire.GAP]
    begin = _declared_before(spans + [_span(event) for event in kept if _is_own(event)], first)
    gaps = [each for each in kept if not _within(each, begin, last)]
    gaps = _merged(gaps, lambda: _gaps(alerts, last + 1, following))
    if len(gaps) >= _GAPS:  # and none adjoins another: much is damaged
        gaps.sort(key=_length)
        print("eviction: no room for %d of %d gaps" % (len(gaps) + 1 - _GAPS, len(gaps)))
    # First of all, so that no sector is opened before it is durable.
    left = [] if (begin, last) in spans else [bytes(gap(begin, last))]
    left += gaps[1 - _GAPS :]
    if lesser:
        left += [each for each in alarms if each not in copied]
    left = _copy(alerts, left)
    alerts.drop(last)
    if left:
        # A cut in an earlier try has used up room: from that drop to here they are in RAM alone.
        left = _copy(alerts, left)
        if left:
            print("eviction: no room to copy %d events forward" % len(left))


def _behind(alerts, first, end, alarms):
    """Of the events first..end-1: the spans of this ring's gaps; which of `alarms` stand there, copied by a call that
    was cut before its drop; whether there are events of less severity. They are too many to hold.
    """
    spans, copied, lesser = [], set(), False
    for event in _events(alerts, first, end):
        if event[0] == wire.GAP:
            if _is_own(event):
                spans.append(_span(event))
        elif event[0] != wire.ALARM:
            lesser = True
        elif event in alarms:
            copied.add(event)
    return spans, copied, lesser


def _declared_before(spans, first):
    """From where on all numbers before `first` are declared already, by gaps of these `spans`. One gap then declares
    them all, and the ring does not fill with gaps.
    """
    for lo, hi in reversed(sorted(spans)):
        if lo < first <= hi + 1:
            first = lo
    return first


def _is_own(event):
    return event[0] == wire.GAP and event[14] == 1 and event[23] == _FULL


def _within(event, begin, last):
    """Whether `event` is a gap of this ring that one from `begin` to `last` declares too."""
    if not _is_own(event):
        return False
    lo, hi = _span(event)
    return begin <= lo and hi <= last


def _span(event):
    return struct.unpack_from(_SPAN, event, 15)


def _merged(gaps, there):
    """What declares all that `gaps` do and no gap of `there()` does, those that adjoin as one. `there` is asked again
    for as long as it joins: they are too many to hold.
    """
    merged = []
    for gap in gaps:
        _take(merged, gap)
    more = True
    while more:
        more = False
        for other in there():
            at, both = _find(merged, other)
            if both and (both == other or both != merged[at][3]):
                merged.pop(at)
                if both != other:  # else it is there
                    _take(merged, both)
                more = True
    return [each[3] for each in merged]


def _take(merged, gap):
    """Add `gap` to `merged`, joined with what it adjoins there."""
    at, both = _find(merged, gap)
    while both:
        merged.pop(at)
        gap = both
        at, both = _find(merged, gap)
    ring, lo, hi, reason, _ = struct.unpack_from(_GAP, gap, _STAMP)
    merged.append((ring << 8 | reason, lo, hi, gap))


def _find(merged, gap):
    """The index of the first in `merged` that one gap can declare together with `gap`, and that one; else -1, None."""
    ring, lo, hi, reason, _ = struct.unpack_from(_GAP, gap, _STAMP)
    kind, end, begin = ring << 8 | reason, hi + 1, lo - 1
    for at in range(len(merged)):
        each = merged[at]
        if each[1] <= end and each[2] >= begin and each[0] == kind:  # most do not: that is quick
            both = _both(each[3], gap)
            if both:
                return at, both
    return -1, None


def _both(one, other):
    """The gap that declares what these two of one kind do: one within which the other is, or a longer one, stamped as
    the later. None if they do not adjoin, or the later numbers are of an earlier boot: a ring that was formatted anew
    counts from 1 again, and by the boot the cloud tells which is meant.
    """
    ring, lo, hi, reason, readings = struct.unpack_from(_GAP, one, _STAMP)
    _, lo2, hi2, _, readings2 = struct.unpack_from(_GAP, other, _STAMP)
    if lo2 < lo or lo2 == lo and hi2 > hi:
        return _both(other, one)
    if hi2 <= hi:
        return one if _boot(other) <= _boot(one) else None
    if lo2 != hi + 1 or _boot(other) < _boot(one):
        return None
    return other[:_STAMP] + struct.pack(_GAP, ring, lo, hi2, reason, readings + readings2)


def _boot(event):
    return struct.unpack_from("<I", event, 1)[0]


def _length(gap):
    lo, hi = _span(gap)
    return hi - lo


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


def _gaps(alerts, first, end):
    return (event for event in _events(alerts, first, end) if event[0] == wire.GAP)


def _events(alerts, first, end):
    for seq in range(first, end):
        try:
            yield alerts.read(seq)
        except KeyError as error:
            print("eviction: %s" % error)
