"""Flash port: blocks of the filesystem's region that are reserved for us (lib/reservation). Programs whole pages.

The stock image leaves no room outside littlefs. rp2.Flash checks nothing: a write that is not of whole, aligned pages
would program RAM behind the buffer, one outside would wrap around. So it is checked here.
"""

import os

import reservation
import rp2  # pyright: ignore[reportMissingImports] -- the stubs are of the ESP32

_SECTOR = 4096
_PAGE = 256
_FOLDER = "ring"


class Flash:
    """`sectors` of 4096 bytes, in any order on the chip. Addresses are bytes from the first one's start; no transfer
    may leave its sector. ValueError for one that does, or for a program of anything but whole pages. ReservationError
    at the first use if the blocks are not ours any more.
    """

    sector_size = _SECTOR
    page_size = _PAGE
    granularity = _PAGE

    def __init__(self, sectors, cold):
        """`cold`: the filesystem may have been changed since the last boot, so the blocks are checked."""
        self._device = rp2.Flash()
        self._count = sectors
        self._cold = cold
        self._blocks = None

    def read_into(self, addr, mv):
        """Fills `mv` from `addr` on."""
        self._device.readblocks(self._block(addr, len(mv)), mv, addr % _SECTOR)

    def program(self, addr, mv):
        """Clears the bits that are 0 in `mv`."""
        if addr % _PAGE or len(mv) % _PAGE:
            raise ValueError("flash: %d bytes at %d are not whole pages" % (len(mv), addr))
        self._device.writeblocks(self._block(addr, len(mv)), mv, addr % _SECTOR)

    def erase(self, sector):
        """Sets every bit of the sector."""
        self._device.ioctl(6, self._block(sector * _SECTOR, _SECTOR))

    def _block(self, addr, length):
        if self._blocks is None:
            self._blocks = self._open()
        sector = addr // _SECTOR
        if not 0 <= sector < self._count or addr % _SECTOR + length > _SECTOR:
            raise ValueError("flash: %d bytes at %d leave their sector, or the %d" % (length, addr, self._count))
        return self._blocks[sector]

    def prepare(self):
        """Once in a board's life, ahead of the first boot: reserves the blocks, which takes some seconds."""
        self._blocks = self._open()

    def _open(self):
        blocks = reservation.load(_FOLDER, self._count)
        if blocks is None:
            blocks = reservation.reserve(self._device, _FOLDER, self._count, os.urandom(8))
        elif self._cold:
            reservation.check(self._device, _FOLDER, blocks)
        return blocks
