"""Sectors of format 0, the plain ring's, which the ring reads and no longer writes. SPEC.md: their bytes."""

from struct import unpack_from

from crc import crc24

from flashring.entries import blank

HEADER = 28
_FRAME = 10  # bytes around a payload: length u16, kind u8, seq u32, CRC u24
_RECORD, _RELEASE, _DROP, _REWIND = 1, 2, 3, 4
_MAX_PAYLOAD = 1024


class PlainWalk:
    """As `walk.Walk`, for a sector of format 0."""

    def __init__(self, unit):
        self._unit = unit
        self.damaged = self.mended = 0
        self.unsettled = False
        self.settle = 0

    def look(self, view, seed, at, first, released, dropped, clean):
        """Walk from byte `at`, where record `first` is the next."""
        seq, damaged = first, 0
        for place, end, kind, there in self._entries(view, seed, at, first):
            damaged += there - seq
            at, seq = end, there
            if kind == _RECORD:
                seq += 1
            else:
                released = unpack_from("<I", view, place + 3)[0]
                if kind == _DROP:
                    dropped = unpack_from("<I", view, place + 7)[0]
        self.at, self.next, self.released, self.dropped, self.damaged = at, seq, released, dropped, damaged

    def end(self, view):
        """As `walk.Walk.end`."""
        return self.aligned(view, self.at)

    def find(self, view, seed, at, following, seq):
        """As `walk.Walk.find`."""
        for place, end, kind, there in self._entries(view, seed, at, following):
            if kind == _RECORD and there == seq:
                return place + 7, place + 7 + (view[place] | view[place + 1] << 8), 0xF8, 0, end
        return None

    def aligned(self, view, at):
        """As `walk.Walk.aligned`: entries end at multiples of the unit."""
        return at

    def _entries(self, view, seed, at, seq):
        """(begin, end, kind, seq of the next record) of each entry from `at` on, where `seq` is the next."""
        while at < len(view):
            end = self._fits(view, at, seed)
            kind = view[at + 2] if end else 0
            if _RELEASE <= kind <= _REWIND or kind == _RECORD and view[at + 3] == seq & 0xFF:
                yield at, end, kind, seq
                seq += kind == _RECORD
                at = end
            else:
                at, seq = self._behind(view, at, seq, seed)

    def _behind(self, view, at, seq, seed):
        """(place, its seq) of the first record that fits behind damage at `at`; (end of the sector, seq): none does."""
        if not blank(view, at):
            for place in range(at + self._unit, len(view) - _FRAME + 1, self._unit):
                if view[place + 2] == _RECORD:
                    there = unpack_from("<I", view, place + 3)[0]
                    if 0 <= there - seq <= (place - at) // _FRAME and self._fits(view, place, seed):
                        return place, there
        return len(view), seq

    def _fits(self, view, at, seed):
        """Where the next entry may stand if the one at `at` fits its check, else 0."""
        if at + _FRAME > len(view):
            return 0
        length = view[at] | view[at + 1] << 8
        end = at + 7 + length
        if length > _MAX_PAYLOAD or end + 3 > len(view):
            return 0
        if crc24(view[at:end], seed) != view[end] | view[end + 1] << 8 | view[end + 2] << 16:
            return 0
        return at + (length + _FRAME + self._unit - 1) // self._unit * self._unit
