"""Reading records back, released or not, from wherever they stand in the log."""

from flashring import checks, headers
from flashring.commit import HEADER
from flashring.entries import RECORD
from flashring.walk import Walk


class Reader:
    """Remembers where the record after the one read last starts: reading in order costs one search for each sector.

    `sector`: the flash's number of the sector looked into last.
    """

    def __init__(self, window, found, measure):
        self._window = window
        self._headers = found
        self._measure = measure
        self._walk = Walk(window.unit)
        self._plain = None
        self._following = 0  # seq of the first record of the entry at `_at` of lap `_lap`; 0: not known
        self._batch = 1  # how far behind it the walk is known to find something
        self._lap = self._at = 0
        self._is_plain = False
        self.sector = -1

    def read(self, seq, head, stream):
        """The payload of record `seq` of the log that ends at lap `head`; None if it is damaged."""
        payload = None
        if 0 <= seq - self._following < self._batch and self._following:
            payload = self._find(seq)
        if payload is None:
            found = self._headers
            self._lap = found.lap_of(seq, head, stream)
            found.read(self._lap % found.count)
            self._is_plain = found.plain
            self._following = found.field(headers.FIRST)
            self._at = (28 + self._window.unit - 1) // self._window.unit * self._window.unit if found.plain else HEADER
            payload = self._find(seq)
        return payload

    def _find(self, seq):
        self.sector = self._headers.sector(self._lap)
        view = self._window.load(self.sector)
        walk = self._walker()
        found = walk.find(view, checks.lap_seed(self._lap), self._at, self._following, seq)
        self._headers.mended += walk.mended
        if found is None:
            self._following = 0
            return None
        begin, end, kind, index, after = found
        if kind == RECORD:
            self._following, self._at, self._batch = seq + 1, after, 1
        else:
            self._following, self._at, self._batch = seq - index, begin - 3, 16
            from flashring import batch

            begin, end = batch.part(view, begin, end, kind, index, self._measure)
        return bytes(view[begin:end])

    def _walker(self):
        if not self._is_plain:
            return self._walk
        if self._plain is None:
            from flashring.plain import PlainWalk

            self._plain = PlainWalk(self._window.unit)
        return self._plain
