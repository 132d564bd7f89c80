"""The watchdog's registers: whether it runs, and the 28 bytes that survive a reset, scratch registers 0-3 and 5-7.
Register 4 is the boot ROM's.
"""

import struct

from machine import mem32

SIZE = 28
_REGISTERS = (0, 1, 2, 3, 5, 6, 7)
_ENABLE = 1 << 30  # of CTRL, at the base (the same sections)
_OFFSET = 0x0C  # of SCRATCH0 from the watchdog's base (RP2040 datasheet, 4.7.6; RP2350 datasheet, 12.9.7)


class Scratch:
    """`base`: address of the watchdog's registers, the chip's own."""

    def __init__(self, base):
        self._control = base
        self._first = base + _OFFSET

    def watchdog_runs(self):
        """Whether the watchdog was started since the last reset of the chip; a soft reset does not stop it."""
        return bool(mem32[self._control] & _ENABLE)

    def read(self):
        """28 bytes; zeros after power-on."""
        return struct.pack("<7I", *[mem32[self._first + 4 * register] for register in _REGISTERS])

    def write(self, data):
        """Keeps 28 bytes. A reset on the way leaves some words old: the content must carry its own CRC."""
        words = struct.unpack("<7I", data)
        for i in range(len(_REGISTERS)):
            register = self._first + 4 * _REGISTERS[i]
            if mem32[register] != words[i]:
                mem32[register] = words[i]
