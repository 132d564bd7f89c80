"""One sector of NOR flash seen through RAM, and the bytes on their way into it."""

from flashring.commit import HEADER, Commit
from flashring.entries import CURSOR_SIZE

_EMPTY = b""
_ZEROS = bytes(8)  # no entry begins so, nor a mark (entries.py)
_BACK = 128  # bytes read back at once; what fits is compared without allocating


class Window:
    """A copy of one sector for reading, a buffer for what is written and one for what is read back.

    `flash` is a port with `sector_size`, `page_size`, `granularity` (bytes), `read_into(addr, buf)`,
    `program(addr, buf)` and `erase(sector)`; `addr` counts bytes from the start of the flash. `program` turns bits from
    1 to 0 only and is durable when it returns; more than a page is programmed from the first byte on.

    `largest`: the longest payload that will be written, bytes. Rings on one flash may share a window. It holds
    43 bytes more than that, 128 (a page, where the unit is one), and a sector while `load` was called and `free` was
    not.
    """

    def __init__(self, flash, largest=1024):
        self.flash = flash
        self.size = flash.sector_size
        self.unit = max(flash.page_size, flash.granularity)  # bytes; a program starts and ends on a multiple
        room = HEADER + CURSOR_SIZE + 8 + largest
        room = (room + self.unit - 1) // self.unit * self.unit
        if room > self.size:
            raise ValueError("a sector of %d bytes has no room for a payload of %d" % (self.size, largest))
        self.largest = largest
        self.commit = Commit(room)
        self._back = bytearray(min(room, max(_BACK, self.unit)))
        self._view = None
        self._sector = -1  # the sector in `_view`; -1: none

    def load(self, sector):
        """The memoryview of `sector`; valid until the next `load`, `erase` or `free`. Whoever mends it changes no
        flash.
        """
        if sector != self._sector:
            if self._view is None:
                self._view = memoryview(bytearray(self.size))
            self._sector = -1
            self.flash.read_into(sector * self.size, self._view)
            self._sector = sector
        return self._view

    def forget(self):
        """The next `load` reads the flash again."""
        self._sector = -1

    def free(self):
        """Give back the memory of the sector loaded."""
        self._view = None
        self._sector = -1

    def write(self, sector, at):
        """Program what `commit` holds at byte `at` of `sector`, in whole units, and read it back. False: it is not
        there.
        """
        data = self.commit.data
        self.commit.pad(self.unit)
        loaded, self._sector = self._sector, -1  # if the port raises, what the flash holds is unknown
        address = sector * self.size + at
        self.flash.program(address, data)
        if loaded == sector:
            self._view[at : at + len(data)] = data
        held = self._reads_back(address, data)
        if held or loaded != sector:
            self._sector = loaded
        return held

    def _reads_back(self, address, data):
        back = self._back
        size = max(_BACK, self.unit)
        if len(data) <= size:
            back[:] = _EMPTY
            back.extend(data)
            self.flash.read_into(address, back)
            return back == data
        while len(back) < size:
            back.append(0)
        start = 0
        while True:
            self.flash.read_into(address + start, back)
            for i in range(size):  # a slice to compare with would be a copy
                if back[i] != data[start + i]:
                    return False
            if start + size == len(data):
                return True
            start = min(start + size, len(data) - size)

    def rewrite(self, sector, start, end):
        """Program bytes `start`..`end`-1 of the loaded `sector` once more as they were read: cells that a cut left
        between 0 and 1 become what they were taken for.
        """
        start -= start % self.unit
        end += -end % self.unit
        self.flash.program(sector * self.size + start, self._view[start:end])

    def void(self, sector, at, mark=_ZEROS):
        """Program `mark` over the bytes at `at`, zeros if it is not given: no entry begins so, whatever the bits behind
        them read another time.
        """
        start = at - at % self.unit
        end = min(at + len(mark), self.size)
        back = self._back
        back[:] = _EMPTY
        for place in range(start, end + -end % self.unit):
            # As it was taken for, if it was: another read may differ.
            back.append(self._view[place] if sector == self._sector else 0)
        if sector != self._sector:
            self.flash.read_into(sector * self.size + start, back)
        for place in range(at, end):
            back[place - start] &= mark[place - at]
        self._sector = -1
        self.flash.program(sector * self.size + start, back)

    def spoil(self, sector):
        """Program zeros over the first unit of `sector`: until it is erased, nobody takes it for a header or for
        erased.
        """
        if sector == self._sector:
            self._sector = -1
        self.flash.program(sector * self.size, bytes(self.unit))

    def wipe(self, sector):
        """Program zeros over all of `sector`: it holds nothing then, and nobody takes it for erased. False: it was so,
        or erased.
        """
        view = self.load(sector)
        page = max(256, self.unit)
        zeros = bytes(page)
        pages = [at for at in range(0, self.size, page) if view[at : at + page] != zeros]
        if not pages or all(view[at : at + page] == b"\xff" * page for at in pages):
            return False
        self._sector = -1
        for at in pages:
            self.flash.program(sector * self.size + at, zeros)
        return True

    def erase(self, sector):
        """Erase `sector`."""
        if sector == self._sector:
            self._sector = -1
        self.flash.erase(sector)

    def tail(self, start):
        """The first page boundary from `start` on behind which the loaded sector is all FFh."""
        view = self._view
        page = self.size - 256
        blank = b"\xff" * 256
        while page >= start and view[page : page + 256] == blank:
            page -= 256
        return page + 256
