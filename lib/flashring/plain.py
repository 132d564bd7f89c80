"""Sectors of format 0, the plain ring's, which the ring reads and no longer writes. SPEC.md: their bytes."""

from struct import unpack_from

from crc import crc24

HEADER = 28
_FRAME = 10  # bytes around a payload: length u16, kind u8, seq u32, CRC u24
_RECORD, _RELEASE, _DROP, _REWIND = 1, 2, 3, 4
_MAX_PAYLOAD = 1024


class PlainWalk:
    """As `walk.Walk`, for a sector of format 0."""

    def __init__(self, unit):
        self._unit = unit
        self.damaged = 0
        self.settle = 0

    def look(self, view, seed, at, first, released, dropped):
        """Walk from byte `at`, where record `first` is the next. The CRC of the last record alone is checked, and that
        of every move of the cursor: a cut tears the last program only.
        """
        seq = first
        last = -1  # where the entry before `at` starts, if it is a record
        while at + _FRAME <= len(view):
            length = view[at] | view[at + 1] << 8
            end = self._end(at, length)
            kind = view[at + 2]
            if length > _MAX_PAYLOAD or end > len(view):
                break
            if kind == _RECORD:
                if view[at + 3] != seq & 0xFF:
                    break
                seq += 1
                last = at
            elif _RELEASE <= kind <= _REWIND and _fits(view, at, seed):
                released = unpack_from("<I", view, at + 3)[0]
                if kind == _DROP:
                    dropped = unpack_from("<I", view, at + 7)[0]
                last = -1
            else:
                break
            at = end
        if last >= 0 and not _fits(view, last, seed):
            at, seq = last, seq - 1
        self.at, self.next, self.released, self.dropped = at, seq, released, dropped

    def end(self, view):
        """As `walk.Walk.end`."""
        return self.aligned(view, self.at)

    def find(self, view, seed, at, following, seq):
        """As `walk.Walk.find`."""
        while at + _FRAME <= len(view):
            length = view[at] | view[at + 1] << 8
            end = self._end(at, length)
            if end > len(view):
                break
            if view[at + 2] == _RECORD and unpack_from("<I", view, at + 3)[0] == seq:
                return (at + 7, at + 7 + length, 0xF8, 0, end) if _fits(view, at, seed) else None
            at = end
        return None

    def aligned(self, view, at):
        """As `walk.Walk.aligned`: entries end at multiples of the unit."""
        return at

    def _end(self, at, length):
        return at + (length + _FRAME + self._unit - 1) // self._unit * self._unit


def _fits(view, at, seed):
    end = at + 7 + (view[at] | view[at + 1] << 8)
    return crc24(view[at:end], seed) == view[end] | view[end + 1] << 8 | view[end + 2] << 16
