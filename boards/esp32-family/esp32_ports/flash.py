"""Flash port: the `ring` data partition, 1 MiB ahead of the filesystem (partitions.csv). Programs any bytes
anywhere.
"""

from esp32 import Partition

_SECTOR = 4096


class Flash:
    """Addresses are bytes and sectors counted from the partition's start. OSError when out of range."""

    sector_size = _SECTOR
    page_size = 1
    granularity = 1

    def __init__(self):
        found = Partition.find(Partition.TYPE_DATA, label="ring")
        if not found:
            raise OSError("flash: no partition 'ring'; write our partition table with `make flash`")
        self._partition = found[0]

    def prepare(self):
        """Once in a board's life, ahead of the first boot: nothing, the partition is there."""

    def read_into(self, addr, mv):
        """Fills `mv` from `addr` on."""
        self._partition.readblocks(addr // _SECTOR, mv, addr % _SECTOR)

    def program(self, addr, mv):
        """Clears the bits that are 0 in `mv`."""
        self._partition.writeblocks(addr // _SECTOR, mv, addr % _SECTOR)

    def erase(self, sector):
        """Sets every bit of the sector."""
        self._partition.ioctl(6, sector)
