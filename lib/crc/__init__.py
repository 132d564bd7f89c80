"""Cyclic redundancy checks whose every intermediate value is below 2^30: nothing is allocated on a board.

Both take a nibble at a time from a table of 16: 0.18 us a byte in the VM on a desktop. A table of 256 takes
0.09 us, but costs 1 KB of RAM and 70 us to build at every wake, and most wakes check little more than a hundred
bytes.
"""

_TABLE24 = (
    0x000000, 0x864CFB, 0x8AD50D, 0x0C99F6, 0x93E6E1, 0x15AA1A, 0x1933EC, 0x9F7F17,
    0xA18139, 0x27CDC2, 0x2B5434, 0xAD18CF, 0x3267D8, 0xB42B23, 0xB8B2D5, 0x3EFE2E,
)
_TABLE16 = (
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50A5, 0x60C6, 0x70E7,
    0x8108, 0x9129, 0xA14A, 0xB16B, 0xC18C, 0xD1AD, 0xE1CE, 0xF1EF,
)


def crc24(buf, crc=0xB704CE):
    """CRC-24 of RFC 4880, section 6.1 (CRC-24/OPENPGP): polynomial 864CFBh, not reflected, no final XOR.

    `buf`: bytes-like. `crc`: the result over what stands before, to go on from there. Returns 0..2^24-1.
    """
    table = _TABLE24
    for byte in buf:
        crc = (crc << 4 & 0xFFFFF0) ^ table[crc >> 20 ^ byte >> 4]
        crc = (crc << 4 & 0xFFFFF0) ^ table[crc >> 20 ^ byte & 15]
    return crc


def crc16(buf, crc=0xFFFF):
    """CRC-16/CCITT-FALSE (CRC-16/IBM-3740): polynomial 1021h, not reflected, no final XOR.

    `buf`: bytes-like. `crc`: the result over what stands before, to go on from there. Returns 0..65535.
    """
    table = _TABLE16
    for byte in buf:
        crc = (crc << 4 & 0xFFF0) ^ table[crc >> 12 ^ byte >> 4]
        crc = (crc << 4 & 0xFFF0) ^ table[crc >> 12 ^ byte & 15]
    return crc
