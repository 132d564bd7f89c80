"""Rows in the journal ring (JOURNAL.md gives every byte)."""

import struct

_HEAD = "<BBIIII"
_SIZE = 18
_VERSION = 1
CHANNELS_MAX = 32


class Row:
    """One row as it was read: `quality`, `boot`, `time` (s), `present`, `state`, and its values in order of channel
    id.
    """

    def __init__(self, data):
        if len(data) < _SIZE or data[0] != _VERSION or (len(data) - _SIZE) % 4:
            raise ValueError("journal: a row of %d bytes, version %d" % (len(data), data[0] if len(data) else 0))
        _, self.quality, self.boot, self.time, self.present, self.state = struct.unpack_from(_HEAD, data)
        self.values = struct.unpack_from("<%di" % ((len(data) - _SIZE) // 4), data, _SIZE)

    def spread(self, channels):
        """The values of the channels (pairs (id, exponent)), None where there is none."""
        taken = iter(self.values)
        by_bit = {}
        for bit in range(CHANNELS_MAX):
            if self.present >> bit & 1:
                by_bit[bit] = next(taken)
        return [by_bit.get(channel[0] - 1) for channel in channels]


class Journal:
    """Packs rows into its scratch and appends them to `ring`. RingFull is the caller's to answer (`node.store`)."""

    def __init__(self, ring, channel_count):
        self.ring = ring
        self._buf = bytearray(_SIZE + 4 * channel_count)

    def pack(self, quality, boot, time, present, state, values):
        """The row's bytes, valid until the next call. `values`: array('i') by channel id - 1, read where `present`
        says.
        """
        buf = self._buf
        struct.pack_into(_HEAD, buf, 0, _VERSION, quality, boot, time, present, state)
        at = _SIZE
        for bit in range(len(values)):
            if present >> bit & 1:
                struct.pack_into("<i", buf, at, values[bit])
                at += 4
        return memoryview(buf)[:at]

    def last(self):
        """The newest row; None while the journal is empty, or where that row is damaged."""
        oldest, _, following = self.ring.range()
        if following == oldest:
            return None
        try:
            return Row(self.ring.read(following - 1))
        except (KeyError, ValueError) as error:
            from . import log

            log.warning("journal: the newest row cannot be read: %s" % error)
            return None
