"""What a ring needs once: making it, and saying what stands where none is."""

from flashring import headers
from flashring.commit import MAGIC


def clear(found, window, stream):
    """Erase the sector in which a new ring may open under `stream`; returns the highest lap that stands anywhere."""
    if not 0 < stream <= 0xFFFFFFFF:
        raise ValueError("stream %d is not in 1..2^32-1" % stream)
    newest = -1
    for index in range(found.count):
        lap = found.read(index)
        if lap >= 0 and found.field(headers.STREAM) == stream:
            raise ValueError("stream %d has stood in sector %d: a new ring needs another" % (stream, found.sector(lap)))
        newest = max(newest, lap)
    window.erase(found.sector(newest + 1))
    return newest


def describe(found):
    """What stands in the sectors, for an error's text."""
    erased = other = 0
    for index in range(found.count):
        found.read(index)
        if found.looks_erased():
            erased += 1
        else:
            start = found.start()
            other += start[:3] == b"FNR" and start[3] > 0 or start[0] == MAGIC and 1 < start[1] < 16
    first = found.sector(0)
    return "sectors %d..%d: %d look erased, %d of another format, %d without a valid header" % (
        first, first + found.count - 1, erased, other, found.count - erased - other
    )  # fmt: skip
