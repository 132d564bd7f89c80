"""The sector headers of a ring, written once as a sector is opened: they say where the log begins and ends."""

from crc import crc24

from flashring import checks
from flashring.commit import FORMAT, HEADER, MAGIC

_ERASED = b"\xff" * 28
_SIZE = 28  # bytes read: a header of format 0 is two bytes longer
LAP, STREAM, FIRST, RELEASED, DROPPED = 2, 6, 10, 14, 18  # where the u32 fields stand; in format 0 two bytes later


class Headers:
    """Looks things up in the headers of `count` sectors from `first_sector` on: a flash read of 28 bytes each.

    `index` counts the ring's sectors from 0; a lap stands in index lap mod count. `plain`: the header read last is of
    format 0. `mended`: headers in which a flipped bit was put right. `above`: the lap that was last seen in the sector
    behind the one that `newest` or `is_newest` looked for, -1 if none fitted.
    """

    def __init__(self, flash, first_sector, count):
        self._flash = flash
        self._base = first_sector
        self.count = count
        self.plain = False
        self.mended = 0
        self.above = -1
        self._buffer = bytearray(_SIZE)
        view = memoryview(self._buffer)
        self._body = view[: HEADER - 4]
        self._summed = view[: HEADER - 1]

    def sector(self, lap):
        """The flash's number of the sector that `lap` stands in."""
        return self._base + lap % self.count

    def read(self, index):
        """Read the header of sector `index`. Returns its lap, -1 if it does not fit in three reads: one misread must
        not hide a sector.
        """
        for _ in range(3):
            self._flash.read_into((self._base + index) * self._flash.sector_size, self._buffer)
            lap = self._lap(index)
            if lap >= 0 or not self._buffer[0] or self.looks_erased():
                break
        return lap

    def look(self, view, index):
        """As `read`, of a sector that was read into `view`. A flipped bit stays there as it is: what a mount programs
        once more must not set bits.
        """
        self._buffer[:] = view[:_SIZE]
        return self._lap(index)

    def _lap(self, index):
        header = self._buffer
        self.plain = header[0] == 0x46 and header[1] == 0x4E and header[2] == 0x52 and header[3] == 0
        if self.plain:
            if header[25] | header[26] << 8 | header[27] << 16 != crc24(memoryview(header)[:25]):
                return -1
        elif not self._fits():
            return -1
        lap = self.field(LAP)
        return lap if lap % self.count == index else -1

    def _fits(self):
        header = self._buffer
        known = header[0] == MAGIC and header[1] == FORMAT and sum(self._summed) & 0xFF == header[HEADER - 1]
        if known and crc24(self._body) == checks.told_crc(header, HEADER):
            return True
        if header[0] == 0 or self.looks_erased():
            return False
        from flashring.repair import mend  # of no use in most of a node's life

        if not mend(memoryview(header)[:HEADER], checks.HEADER_START):
            return False
        self.mended += 1
        return header[0] == MAGIC and header[1] == FORMAT

    def field(self, at):
        """A u32 field of the header read last; it must have fitted."""
        header = self._buffer
        if self.plain:
            at += 2
        return header[at] | header[at + 1] << 8 | header[at + 2] << 16 | header[at + 3] << 24

    def looks_erased(self):
        """Whether all of the header read last is FFh; it says nothing of the sector's rest."""
        return self._buffer == _ERASED

    def start(self):
        """The bytes read last."""
        return self._buffer

    def holds(self, lap, stream):
        """Whether `lap` of `stream` stands in its sector. Reads its header."""
        return lap >= 0 and self.read(lap % self.count) == lap and self.field(STREAM) == stream

    def is_newest(self, lap):
        """Whether the sector after that of `lap` is no newer, and the one behind it neither: two, lest a single sector
        wiped from outside bring back an older end of the log.
        """
        self.above = self.read((lap + 1) % self.count)
        return self.above <= lap and self._ends(lap)

    def _ends(self, lap):
        """Whether the second sector after that of `lap` holds an older one, or what looks like no header, as a block
        that was reserved and not used yet. A damaged one may be one of two, and a newer lap stand behind them.
        """
        second = self.read((lap + 2) % self.count)
        return 0 <= second < lap or second < 0 and self._buffer[0] != MAGIC and self._buffer[1] != FORMAT

    def newest(self):
        """The highest lap of all sectors, -1 if there is none, by halving.

        Laps grow by one from sector 0 to the newest; the one sector after that may hold anything, for a cut may have
        torn it. Where the outcome does not look so, every header is read.
        """
        start = self.read(0)
        low, high = 0, self.count
        above = start  # what stands at `high`: behind the last sector comes the first
        if start < 0:  # then sector 0 is the one after the newest, or there is no ring
            low = high - 1
            start = self.read(low) - low
            if start + low < 0:
                return self.newest_of_all()
        while high - low > 1:
            middle = (low + high) // 2
            found = self.read(middle)
            if found == start + middle:
                low = middle
            else:
                high, above = middle, found
        lap = start + low
        self.above = above
        # What is above must be older or the one torn; and where that cannot be told the one behind it may be no newer.
        if above == lap + 1 - self.count >= 0 or above < lap and self._ends(lap):
            return lap
        return self.newest_of_all()

    def newest_of_all(self):
        """As `newest`, by reading every header."""
        lap = self.above = -1
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
