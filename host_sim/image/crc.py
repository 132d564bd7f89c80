"""CRC-24 of RFC 4880, section 6.1: polynomial 864CFBh, initial B704CEh, no reflection, no final XOR."""

from __future__ import annotations

POLYNOMIAL = 0x864CFB
INITIAL = 0xB704CE


def _table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= POLYNOMIAL | 0x1000000
        table.append(crc)
    return table


_TABLE = _table()


def crc24(data: bytes, crc: int = INITIAL) -> int:
    """CRC-24 of `data`; `crc` is that of what stood before it. Returns 0..2^24-1."""
    table = _TABLE
    for byte in data:
        crc = ((crc << 8) & 0xFFFFFF) ^ table[(crc >> 16) ^ byte]
    return crc
