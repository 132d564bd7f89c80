"""One sector of NOR flash seen through RAM."""


class Window:
    """A write-through copy of one sector: read at once, walked and written in place.

    `flash` is a port with `sector_size`, `page_size`, `granularity` (bytes), `read_into(addr, mv)`,
    `program(addr, mv)` and `erase(sector)`; `addr` counts bytes from the start of the flash. `program` turns bits
    from 1 to 0 only and is durable when it returns.

    Rings on one flash may share a window: it holds `sector_size` bytes of RAM, and a change of sector costs a read.
    """

    def __init__(self, flash):
        self.flash = flash
        self.size = flash.sector_size
        self.unit = max(flash.page_size, flash.granularity)  # bytes; a program starts and ends on a multiple
        self._view = memoryview(bytearray(self.size))
        self._blank = memoryview(b"\xff" * min(256, self.size))
        self._sector = -1  # the sector in `_view`; -1: none

    def load(self, sector):
        """The memoryview of `sector`; valid until the next `load` or `erase` of another sector."""
        if sector != self._sector:
            self._sector = -1
            self.flash.read_into(sector * self.size, self._view)
            self._sector = sector
        return self._view

    def program(self, start, end):
        """Write bytes start..end-1 of the loaded view, multiples of `unit`, to the flash; they were FFh there."""
        sector = self._sector
        self._sector = -1  # if the port raises, what the flash holds is unknown
        self.flash.program(sector * self.size + start, self._view[start:end])
        self._sector = sector

    def erase(self, sector):
        """Erase `sector` and load it, without reading it."""
        self._sector = -1
        self.flash.erase(sector)
        step = len(self._blank)
        for start in range(0, self.size, step):
            self._view[start : start + step] = self._blank
        self._sector = sector

    def is_blank(self, start):
        """Whether the loaded view is all FFh from byte `start` on."""
        step = len(self._blank)
        while start < self.size:
            end = min(start + step, self.size)
            if self._view[start:end] != self._blank[: end - start]:
                return False
            start = end
        return True
