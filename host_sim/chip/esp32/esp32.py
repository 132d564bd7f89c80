"""`esp32` (ports/esp32/modesp32.c, esp32_partition.c): the data partitions of the simulated flash, and the wake pins,
which nothing in the simulated world ever pulls.
"""

import _chip
import _machine
import _model
import ustruct

_TABLE = 0x8000  # CONFIG_PARTITION_TABLE_OFFSET
_ENTRY = "<HBBII16sI"  # esp_partition_info_t: magic, type, subtype, offset, size, label, flags
_MAGIC = 0x50AA
_BLOCK = 4096


class Partition:
    TYPE_APP = 0
    TYPE_DATA = 1

    def __init__(self, entry):
        self._type, self._subtype, self._offset, self._size, self._label = entry

    @staticmethod
    def find(type=TYPE_APP, subtype=0xFF, label=None, block_size=_BLOCK):
        found = []
        table = bytearray(512)
        _chip.read_flash(_TABLE, table)
        for at in range(0, 512, 32):
            magic, kind, sub, offset, size, name, _ = ustruct.unpack_from(_ENTRY, table, at)
            if magic != _MAGIC:
                break
            name = name.rstrip(b"\0").decode()
            if kind == type and subtype in (0xFF, sub) and label in (None, name):
                found.append(Partition((kind, sub, offset, size, name)))
        return found

    def info(self):
        return (self._type, self._subtype, self._offset, self._size, self._label, False)

    def _place(self, block, offset, size):
        at = block * _BLOCK + offset
        if at < 0 or at + size > self._size:
            raise OSError(-258)  # ESP_ERR_INVALID_ARG
        return self._offset + at

    def readblocks(self, block, buf, offset=0):
        _chip.read_flash(self._place(block, offset, len(buf)), buf)

    def writeblocks(self, block, buf, offset=None):
        """With `offset` it only programs; without, it erases the blocks first."""
        mv = memoryview(buf)
        at = self._place(block, offset or 0, len(mv))
        if offset is None:
            for sector in range(at // _BLOCK, (at + len(mv)) // _BLOCK):
                _chip.check(_chip.ERASE, 0, ustruct.pack("<I", sector))
        for start in range(0, len(mv), _BLOCK):
            part = mv[start : start + _BLOCK]
            _chip.check(_chip.PROGRAM, 0, ustruct.pack("<I", at + start) + part)

    def ioctl(self, op, arg):
        if op == 4:
            return self._size // _BLOCK
        if op == 5:
            return _BLOCK
        if op == 6:
            at = self._place(arg, 0, _BLOCK)
            _chip.check(_chip.ERASE, 0, ustruct.pack("<I", at // _BLOCK))
        return 0


def _check_pins(pins, allowed):
    for pin in pins:
        if _machine.number_of(pin) not in allowed:
            raise ValueError("invalid pin")


if _model.EXT_WAKE:

    def wake_on_ext0(pin=None, level=False):
        if pin is not None:
            _check_pins((pin,), _model.EXT_WAKE)

    def wake_on_ext1(pins=None, level=False):
        _check_pins(pins or (), _model.EXT_WAKE)


if _model.GPIO_WAKE:

    def wake_on_gpio(pins=None, level=False):
        _check_pins(pins or (), _model.GPIO_WAKE)
