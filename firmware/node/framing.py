"""From journal to frames: rows are encoded once, and stay so from flash to database.

A cut between the two steps must neither double nor lose a row: the frame names the rows it covers, and `settle` at the
next boot releases what the newest frame already holds.
"""

import struct

import codec

from .journal import Row

_NAME = "<IH"  # first journal seq, rows
_NAME_SIZE = 6
_FRAME_MAX = 1000
_ROWS_MAX = 128


class Framer:
    """`channels`: pairs (id, exponent). `store`: the rings (`node.store`)."""

    def __init__(self, store, channels):
        self._store = store
        self._channels = channels
        self._rows = codec.Rows(len(channels), _ROWS_MAX)
        self._buf = bytearray(_NAME_SIZE + _FRAME_MAX)

    def settle(self):
        """Releases the journal rows that the newest frame covers."""
        frames = self._store.frames
        oldest, _, following = frames.range()
        if following == oldest:
            return
        first, count = struct.unpack_from(_NAME, frames.read(following - 1))
        _, released, _ = self._store.journal.range()
        if first + count - 1 > released:
            self._store.journal.release(first + count - 1)

    def run(self):
        """Encodes every row that waits; returns how many frames that made."""
        made = 0
        while self._one():
            made += 1
        return made

    def _one(self):
        journal = self._store.journal
        oldest, released, following = journal.range()
        first = max(oldest, released + 1)
        rows = self._rows
        rows.clear()
        seq = first
        while seq < following and len(rows) < _ROWS_MAX:
            row = Row(journal.read(seq))
            if seq == first:
                rows.quality, rows.boot = row.quality, row.boot
            elif (row.quality, row.boot) != (rows.quality, rows.boot):
                break
            rows.add(row.time, row.spread(self._channels))
            seq += 1
        if not len(rows):
            return False
        buf = memoryview(self._buf)
        count = len(rows)
        try:
            size = codec.encode(rows, self._channels, buf[_NAME_SIZE:])
        except codec.FrameFull as full:
            count = full.rows
            size = codec.encode(rows, self._channels, buf[_NAME_SIZE:], count)
        struct.pack_into(_NAME, self._buf, 0, first, count)
        self._store.append_frame(buf[: _NAME_SIZE + size])
        journal.release(first + count - 1)
        return True
