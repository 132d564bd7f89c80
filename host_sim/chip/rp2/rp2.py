"""`rp2` (ports/rp2/rp2_flash.c): the storage region of the flash, with nothing checked."""

import _chip
import _model
import ustruct

_BLOCK = 4096


class Flash:
    """The whole storage region, or `len` bytes from `start` of it. A place outside is not refused: the flash takes the
    low bits of an address, so it wraps into itself.
    """

    def __init__(self, *, start=0, len=None):
        if len is None:
            len = _model.STORAGE_BYTES - start
        if start % _BLOCK or len % _BLOCK or not 0 <= start < start + len <= _model.STORAGE_BYTES:
            raise ValueError
        self._base = _model.STORAGE_BASE + start
        self._size = len

    def readblocks(self, block, buf, offset=0):
        mv = memoryview(buf)
        at = (self._base + block * _BLOCK + offset) % _model.FLASH_SIZE
        first = min(len(mv), _model.FLASH_SIZE - at)
        _chip.read_flash(at, mv[:first])
        if first < len(mv):
            _chip.read_flash(0, mv[first:])

    def writeblocks(self, block, buf, offset=None):
        """With `offset` it only programs; without, it erases the blocks first. Whole pages are programmed, with what
        lies behind the buffer in RAM (host_sim/hardware/flash.py).
        """
        mv = memoryview(buf)
        at = self._base + block * _BLOCK + (offset or 0)
        if offset is None:
            for sector in range((len(mv) + _BLOCK - 1) // _BLOCK):
                self._erase(block + sector)
        for start in range(0, len(mv), _BLOCK):
            _chip.check(_chip.PROGRAM, 0, ustruct.pack("<I", at + start) + mv[start : start + _BLOCK])

    def _erase(self, block):
        _chip.check(_chip.ERASE, 0, ustruct.pack("<I", (self._base + block * _BLOCK) // _BLOCK))

    def ioctl(self, op, arg):
        if op == 4:
            return self._size // _BLOCK
        if op == 5:
            return _BLOCK
        if op == 6:
            self._erase(arg)
        return 0 if op in (1, 2, 3, 6) else None
