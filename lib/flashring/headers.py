"""The sector headers of a ring, written once as a sector is opened: they say where the log begins and ends."""

from struct import pack_into, unpack_from

from crc import crc24

SIZE = 28  # bytes, CRC included
LAP, STREAM, FIRST, RELEASED, DROPPED = 4, 8, 12, 16, 20  # where the u32 fields stand
_MAGIC = b"FNR"
_FORMAT = 0


def build(view, lap, stream, first, released, dropped):
    """Write a header into the first 28 bytes of `view`."""
    view[0:3] = _MAGIC
    view[3] = _FORMAT
    pack_into("<IIIII", view, LAP, lap, stream, first, released, dropped)
    view[24] = 0
    crc = crc24(view[0:25])
    view[25] = crc & 0xFF
    view[26] = crc >> 8 & 0xFF
    view[27] = crc >> 16


class Headers:
    """Looks things up in the headers of `count` sectors from `first_sector` on: a flash read of 28 bytes each.

    `index` counts the ring's sectors from 0; a lap stands in index lap mod count.
    """

    def __init__(self, flash, first_sector, count):
        self._flash = flash
        self._base = first_sector
        self.count = count
        self._buffer = bytearray(SIZE)
        self._body = memoryview(self._buffer)[: SIZE - 3]
        self._erased = b"\xff" * SIZE

    def sector(self, lap):
        """The flash's number of the sector that `lap` stands in."""
        return self._base + lap % self.count

    def read(self, index):
        """Read the header of sector `index`. Returns its lap, -1 if it does not fit."""
        header = self._buffer
        self._flash.read_into((self._base + index) * self._flash.sector_size, header)
        if header[0] != _MAGIC[0] or header[1] != _MAGIC[1] or header[2] != _MAGIC[2] or header[3] != _FORMAT:
            return -1
        if header[25] | header[26] << 8 | header[27] << 16 != crc24(self._body):
            return -1
        lap = self.field(LAP)
        return lap if lap % self.count == index else -1

    def field(self, at):
        """A u32 field of the header read last; it must have fitted."""
        return unpack_from("<I", self._buffer, at)[0]

    def looks_erased(self):
        """Whether all of the header read last is FFh; it says nothing of the sector's rest."""
        return self._buffer == self._erased

    def holds(self, lap, stream):
        """Whether `lap` of `stream` stands in its sector. Reads its header."""
        return lap >= 0 and self.read(lap % self.count) == lap and self.field(STREAM) == stream

    def is_newest(self, lap):
        """Whether the sector after that of `lap` is older or looks erased, and the one behind it is no newer.

        Two headers are read, lest a single sector wiped from outside bring back an older end of the log.
        """
        after = self.read((lap + 1) % self.count)
        if after > lap or after < 0 and not self.looks_erased():
            return False
        return self.read((lap + 2) % self.count) < lap

    def newest(self):
        """The highest lap of all sectors, -1 if there is none, by halving.

        Laps grow by one from sector 0 to the newest; the one sector after that may hold anything, for a cut may have
        torn it. Where the outcome does not look so, every header is read.
        """
        start = self.read(0)
        low, high = 0, self.count
        if start < 0:  # then sector 0 is the one after the newest, or there is no ring
            low, start = high - 1, self.read(1) - 1
            if self.read(low) != start + low:
                return self.newest_of_all()
        while high - low > 1:
            middle = (low + high) // 2
            if self.read(middle) == start + middle:
                low = middle
            else:
                high = middle
        if self.is_newest(start + low):
            return start + low
        return self.newest_of_all()

    def newest_of_all(self):
        """As `newest`, by reading every header."""
        lap = -1
        for index in range(self.count):
            lap = max(lap, self.read(index))
        return lap

    def first_since(self, lap, head, stream):
        """`first` of the oldest lap of the log in lap..head. The log ends at `head` and has no gap."""
        if not self.holds(lap, stream):
            low, high = max(lap, -1), head  # low is not in the log, high is
            while high - low > 1:
                middle = (low + high) // 2
                if self.holds(middle, stream):
                    high = middle
                else:
                    low = middle
            self.read(high % self.count)
        return self.field(FIRST)

    def lap_of(self, seq, head, stream):
        """The lap that holds record `seq` of the log: the last one whose `first` is not above it."""
        low, high = max(head - self.count, -1), head + 1
        while high - low > 1:
            middle = (low + high) // 2
            if self.holds(middle, stream) and self.field(FIRST) > seq:
                high = middle
            else:
                low = middle
        return low

    def describe(self):
        """What stands in the sectors, for an error's text."""
        erased = other = 0
        for index in range(self.count):
            self.read(index)
            if self.looks_erased():
                erased += 1
            elif self._buffer[:3] == _MAGIC and self._buffer[3] != _FORMAT:
                other += 1
        return "sectors %d..%d: %d look erased, %d of another format, %d without a valid header" % (
            self._base,
            self._base + self.count - 1,
            erased,
            other,
            self.count - erased - other,
        )
