"""The 28 bytes that survive a reset: one table for all boards (28 is all that an RP2040 has).

| at | field | |
|---|---|---|
| 0 | crc u16 | CRC-16 over bytes 2..27 |
| 2 | reason and flags u8 | 0-3 why the node reset itself (wire reset reasons), 4 a contact is owed, 5-6 the board's, |
| | | 7 an alarm waits for its budget |
| 3 | task u8, 4 step u8, 5 since u16 | for crash reports, not yet used |
| 7 | unproven boots and a flag u8 | 0-6 not yet used, 7 a contact is owed at once |
| 8 | seconds at sleep i32 | the clock's, set or not |
| 12 | sleep u16 | seconds asked for |
| 14 | battery u8 | not yet used |
| 15 | ring hints 3 x 3 | journal, alerts, frames |
| 24 | conn u16 | contacts in this boot |
| 26 | quality u8 | bits 0-1 of the clock at sleep, bits 2-7 the board's |
| 27 | failures u8 | 0-3 contacts failed in a row, 4-7 contacts that alarms caused beyond what time has refilled |
"""

import struct

import crc

_LAYOUT = "<HBBBHBiHB9sHBB"
_SIZE = 28
_OWED = 0x10
_ALARM = 0x80
_AT_ONCE = 0x80  # of byte 7


class Retained:
    """Fields of the table; `load` fills them from the memory, `save` writes them back."""

    def __init__(self, power):
        self._power = power
        self._bytes = bytearray(_SIZE)
        self.clear()

    def clear(self):
        """The fields of a fresh start."""
        self.reason = 0
        self.contact_owed = False
        self.at_once = False  # the next waking begins with a contact
        self.seconds = 0
        self.sleep_s = 0
        self.hints = bytearray(9)
        self.conn = 0
        self.quality = 0
        self.failures = 0
        self.alarm_waits = False
        self.spent = 0

    def load(self):
        """True when the memory held a table with a right CRC; else the fields are those of a fresh start."""
        data = self._power.retained()
        if len(data) != _SIZE or struct.unpack_from("<H", data)[0] != crc.crc16(memoryview(data)[2:]):
            self.clear()
            return False
        fields = struct.unpack(_LAYOUT, data)
        self.reason = fields[1] & 0x0F
        self.contact_owed = bool(fields[1] & _OWED)
        self.at_once = bool(fields[5] & _AT_ONCE)
        self.seconds = fields[6]
        self.sleep_s = fields[7]
        self.hints[:] = fields[9]
        self.conn = fields[10]
        self.quality = fields[11] & 3
        self.failures = fields[12] & 15
        self.alarm_waits = bool(fields[1] & _ALARM)
        self.spent = fields[12] >> 4
        return True

    def save(self):
        """Writes the table back."""
        flags = self.reason & 0x0F | (_OWED if self.contact_owed else 0) | (_ALARM if self.alarm_waits else 0)
        boots = _AT_ONCE if self.at_once else 0
        buf = self._bytes
        struct.pack_into(
            _LAYOUT, buf, 0, 0, flags, 0, 0, 0, boots, self.seconds, self.sleep_s, 0, self.hints, self.conn,
            self.quality, self.failures & 15 | self.spent << 4
        )
        struct.pack_into("<H", buf, 0, crc.crc16(memoryview(buf)[2:]))
        self._power.retain(buf)
