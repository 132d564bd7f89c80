"""From journal to frames: rows are encoded once, and stay so from flash to database.

A cut between the two steps must neither double nor lose a row: the frame names the rows it covers, and what the newest
frame holds counts as framed, whether its rows are released yet or not.
"""

import struct

import codec
import flashring

from .journal import Row

_NAME = "<IH"  # first journal seq, rows
_NAME_SIZE = 6
_FRAME_MAX = 1000
_ROWS_MAX = 128
_FRAME_HEAD = 13  # of a codec frame: quality at 1, boot, time of the first row; channels at 12


class Framer:
    """`channels`: pairs (id, exponent). `store`: the rings (`node.store`), mounted."""

    def __init__(self, store, channels):
        self._store = store
        self._channels = channels
        self._rows = codec.Rows(len(channels), _ROWS_MAX)
        self._buf = bytearray(_NAME_SIZE + _FRAME_MAX)

    def settle(self):
        """Releases the journal rows that the newest frame covers."""
        self._release(self._covered())

    def run(self):
        """Encodes every row that waits; returns how many frames that made."""
        self.settle()
        journal = self._store.journal
        oldest, released, following = journal.range()
        first = max(oldest, released + 1, self._covered() + 1)
        made = 0
        while first < following:
            count = self._collect(first, following)
            if count:
                count = self._frame(first, count)
                made += 1
            else:
                self._store.unreadable(0, first)
                count = 1
            first += count
        return made

    def _collect(self, first, following):
        """Takes rows of one boot and one quality into `_rows`, up to one that cannot be read; returns how many."""
        rows = self._rows
        rows.clear()
        while first < following and len(rows) < _ROWS_MAX:
            try:
                row = Row(self._store.journal.read(first))
            except (KeyError, ValueError):
                break
            if not len(rows):
                rows.quality, rows.boot = row.quality, row.boot
            elif (row.quality, row.boot) != (rows.quality, rows.boot):
                break
            rows.add(row.time, row.spread(self._channels))
            first += 1
        return len(rows)

    def _frame(self, first, count):
        """Makes a frame of the rows held, as many as fit; returns how many those are."""
        buf = memoryview(self._buf)
        try:
            size = codec.encode(self._rows, self._channels, buf[_NAME_SIZE:])
        except codec.FrameFull as full:
            count = full.rows
            size = codec.encode(self._rows, self._channels, buf[_NAME_SIZE:], count)
        struct.pack_into(_NAME, self._buf, 0, first, count)
        self._store.append_frame(buf[: _NAME_SIZE + size])
        self._release(first + count - 1)
        return count

    def _release(self, seq):
        journal = self._store.journal
        if seq > journal.range()[1]:
            try:
                journal.release(seq)
            except flashring.RingFull as full:
                from . import log

                # The frame holds the rows all the same; a later release, of more rows, finds room.
                log.warning("framing: journal: %s" % full)

    def _covered(self):
        """Seq of the last row that the newest frame holds; 0 if that frame is of a journal before this one's format."""
        frames, journal = self._store.frames, self._store.journal
        oldest, _, following = frames.range()
        if following == oldest:
            return 0
        try:
            data = frames.read(following - 1)
        except KeyError:
            return 0
        first, count = struct.unpack_from(_NAME, data)
        last = first + count - 1
        oldest, _, following = journal.range()
        if last >= following:
            return 0
        if first >= oldest:
            try:
                row = Row(journal.read(first))
            except (KeyError, ValueError):
                return last
            if struct.unpack_from("<BII", data, _NAME_SIZE + 1) != (row.quality, row.boot, row.time):
                return 0
        return last


def readings(record):
    """How many readings are in the frame of a record of the frames ring (lib/codec/SPEC.md)."""
    rows = struct.unpack_from("<H", record, 4)[0]
    channels = record[_NAME_SIZE + 12]
    at = _NAME_SIZE + _FRAME_HEAD + 2 * channels
    mask_size = (channels + 7) // 8
    total = 0
    for _ in range(rows):
        at = _after_varint(record, at)
        present = 0
        for byte in record[at : at + mask_size]:
            while byte:
                present += byte & 1
                byte >>= 1
        at += mask_size
        for _ in range(present):
            at = _after_varint(record, at)
        total += present
    return total


def _after_varint(data, at):
    while data[at] & 0x80:
        at += 1
    return at + 1
