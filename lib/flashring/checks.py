"""What tells an entry or a header that was written whole from one that was not. SPEC.md: the bytes; DESIGN.md: why two.

A program that was cut, like a cell that loses its charge, leaves bits at 1 that should be 0. The check of a short
record holds the sum of its bytes negated: such bits raise the sum found and lower the sum told, so they are seen
whatever their number.
"""

from struct import pack_into

from crc import crc24

HEADER_START = 0xB704CE  # of the CRC of a header: that of RFC 4880
_lap = bytearray(4)
_SUM = 0x3FFF  # 14 bits: 61 payload bytes of 255, 4 x 61, 15 and 255 come to 16,069


def lap_seed(lap):
    """What every CRC of the sector of `lap` starts from."""
    pack_into("<I", _lap, 0, lap)
    return crc24(_lap)


def entry_seed(seed, at, seq):
    """The CRC's start for the entry at byte `at` of a sector, so that it fits no other lap, place or number."""
    return seed ^ at ^ (seq & 0xFF) << 16


def short(payload, start, seq):
    """The 18-bit check of a short record: the low 4 bits of its CRC-24 from `start`, then the negated sum."""
    crc = crc24(payload, start) & 15
    return crc << 14 | _SUM - (sum(payload) + 4 * len(payload) + crc + (seq & 0xFF))


def short_fits(payload, start, seq, told):
    """Whether `told` is the check of this short record. The sum comes first: it is by far the quicker."""
    crc = told >> 14
    total = _SUM - (told & _SUM)
    return total == sum(payload) + 4 * len(payload) + crc + (seq & 0xFF) and crc24(payload, start) & 15 == crc


def long_fits(view, begin, end, start):
    """Whether bytes `begin`..`end`-1 of `view` end in their 32-bit check: the CRC-24 from `start`, then the low 8 bits
    of the sum of all before.
    """
    if sum(view[begin : end - 1]) & 0xFF != view[end - 1]:
        return False
    return told_crc(view, end) == crc24(view[begin : end - 4], start)


def told_crc(view, end):
    """The CRC that a 32-bit check ending at `end` tells."""
    return view[end - 4] | view[end - 3] << 8 | view[end - 2] << 16
