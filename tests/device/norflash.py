"""A flash in RAM that is no kinder than NOR: 1 to 0 only, whole units, bounds. For tests of the ring."""


class NorFlash:
    """`sectors` sectors, erased. Counts `reads`, `programs`, `erases`; raises on what a chip would spoil."""

    sector_size = 4096

    def __init__(self, sectors, unit=1):
        self.page_size = unit if unit == 256 else 1
        self.granularity = unit
        self.cells = bytearray(b"\xff" * (sectors * self.sector_size))
        self.reads = self.programs = self.erases = 0

    def read_into(self, addr, mv):
        """Read len(mv) bytes from `addr`."""
        self.reads += 1
        if addr < 0 or addr + len(mv) > len(self.cells):
            raise OSError("read outside the flash")
        mv[:] = self.cells[addr : addr + len(mv)]

    def program(self, addr, mv):
        """Clear bits; whole, aligned units."""
        self.programs += 1
        if addr % self.granularity or len(mv) % self.granularity or addr + len(mv) > len(self.cells):
            raise OSError("program at %d of %d bytes" % (addr, len(mv)))
        for i in range(len(mv)):
            if mv[i] & ~self.cells[addr + i]:
                raise OSError("program sets a bit at %d" % (addr + i))
            self.cells[addr + i] &= mv[i]

    def erase(self, sector):
        """Set every bit of a sector."""
        self.erases += 1
        start = sector * self.sector_size
        self.cells[start : start + self.sector_size] = b"\xff" * self.sector_size
