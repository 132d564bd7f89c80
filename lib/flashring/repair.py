"""What becomes of an entry or a header that does not fit its check: damage is told from a tear, and mended where one
bit was flipped. Nothing here writes to the flash.
"""

from crc import crc24

from flashring.checks import entry_seed, told_crc
from flashring.commit import HEADER
from flashring.entries import BLANK, RECORD, blank, extent, valid, valid_at, void

_POLYNOMIAL = 0x864CFB
_MOST = 16  # records in one entry
_FEW = 7  # bits: an entry has more zeros, but for some records of little else than FFh


def mend(buf, start):
    """Put right the one flipped bit in `buf`, whose last 4 bytes are its 32-bit check. False if it is not just one;
    then nothing is changed.

    A flipped bit changes the CRC by what the CRC of that bit alone would be, which differs from bit to bit.
    """
    end = len(buf)
    found = crc24(buf[: end - 4], start) ^ told_crc(buf, end)
    if not found:
        place, flip = end - 1, (sum(buf[: end - 1]) ^ buf[end - 1]) & 0xFF
    elif not found & found - 1:
        place, flip = end - 4, found
        while flip > 0x80:
            place, flip = place + 1, flip >> 8
    else:
        effect = _POLYNOMIAL
        bit = 0
        while effect != found and bit < 8 * (end - 4):
            effect = effect << 1 & 0xFFFFFF ^ (_POLYNOMIAL if effect & 0x800000 else 0)
            bit += 1
        place, flip = end - 5 - bit // 8, 1 << bit % 8
    if place < 0 or flip & flip - 1:
        return False
    buf[place] ^= flip
    if sum(buf[: end - 1]) & 0xFF == buf[end - 1]:
        return True
    buf[place] ^= flip
    return False


def stands(view, seed):
    """Whether the first entry of a sector fits its check under some number: its header was there once."""
    return any(valid_at(view, HEADER, seq, seed) for seq in range(256))


def _one_flip(view, at, end, seq, seed):
    """Whether one flipped bit, but for one of its length, explains why the entry `at`..`end`-1 does not fit."""
    if view[at] >= RECORD:
        return mend(bytearray(view[at:end]), entry_seed(seed, at, seq))
    for bit in range(8 * (end - at)):
        if 1 < bit < 8:
            continue
        view[at + bit // 8] ^= 1 << bit % 8
        fits = valid(view, at, end, seq, seed)
        view[at + bit // 8] ^= 1 << bit % 8
        if fits:
            return True
    return False


def _lengths(view, at, seq, seed):
    """Flips each bit in turn that may have led to a wrong length, and yields (end, records) where the entry at `at`
    fits with it: whoever asks for no more keeps it so.
    """
    for bit in range(min(24, 8 * (len(view) - at))):
        view[at + bit // 8] ^= 1 << bit % 8
        end, records = extent(view, at)
        # Of a short record only the length: with bits of its check to choose, another record would be made to fit.
        if end and (view[at] >= RECORD or 1 < bit < 8) and valid(view, at, end, seq, seed):
            yield end, records
        view[at + bit // 8] ^= 1 << bit % 8


def _nearly_blank(view, at):
    """Whether a few bits alone are 0 from byte `at` on."""
    found = 0
    for byte in view[at:]:
        zeros = byte ^ BLANK
        while zeros:
            zeros &= zeros - 1
            found += 1
        if found > _FEW:
            return False
    return found > 0


def _was_void(view, at):
    """Whether all but one bit is 0 in the 8 bytes at `at`, where a mount puts zeros."""
    ones = [byte for byte in view[at : at + 8] if byte]
    return len(ones) == 1 and not ones[0] & ones[0] - 1


def _was_nothing(walk, view, at):
    """Whether no entry stands at `at`: but for a few bits only blank, or padding and an earlier mount's zeros; or
    blank but for the sector's last 8 bytes, where a mark may read otherwise by now. What a mount after a cut has read
    as padding and left may read otherwise, too.
    """
    place, last = walk.rounded(at), len(view) - 8
    if at < last and view[at:last] == b"\xff" * (last - at):
        return True
    if at < place < len(view) and void(view, place):
        return _nearly_blank(view[:place], at)
    return _nearly_blank(view, at) or _was_void(view, at)


def _nothing(walk, view, end):
    """Whether nothing follows an entry that ends at `end`, but the zeros of an earlier mount."""
    place = walk.aligned(view, end)
    return blank(view, end) or place < len(view) and void(view, place) and view[end:place] == b"\xff" * (place - end)


def newest(walk, view, at, seq, seed):
    """What the last entry, at `at`, holds if no cut can have torn it: (its end, its records, whether it fits now).

    One flipped bit is put right where the check says which it was. End 0: no single bit explains it; as many records
    may be gone as an entry can hold.
    """
    if at + 3 > len(view) or void(view, at):
        return 0, 0, False
    for end, records in _lengths(view, at, seq, seed):
        if _nothing(walk, view, end):
            return end, records, True
    end, records = extent(view, at)
    if end and _nothing(walk, view, end) and _one_flip(view, at, end, seq, seed):
        return end, records, view[at] >= RECORD and mend(view[at:end], entry_seed(seed, at, seq))
    return 0, 0 if _was_nothing(walk, view, at) else _MOST, False


def _proves(walk, view, at, seq, seed):
    """Whether the entry at `at`, which fits, is none by chance: a torn record's length may lead into its own payload,
    and among a million such places a few look like a short record.
    """
    if view[at] >= RECORD:
        return True
    end, records = extent(view, at)
    after = walk.aligned(view, end)
    return after < len(view) and valid_at(view, after, seq + records, seed)


def recover(walk, view, before, at, seq, seed):
    """How a `Walk` goes on at an entry that does not fit: (place, seq there, its end if it was put right, else 0).
    `before`: the end of the last one, from where to `at` it looks like padding.

    Damage is told from a tear by what follows: an entry whose check knows how many records come before it, or two of
    them, if more than one flipped bit is at fault. Place -1: nothing does. No entry is put right otherwise, or a torn
    one might be made to fit.
    """
    if void(view, at):
        return walk.beyond(view, at, seq, seed), seq, 0  # torn, and whatever stands behind it says nothing
    place = walk.rounded(at)
    if place > at and place < len(view) and valid_at(view, place, seq, seed):
        return place, seq, 0  # it was padding
    starts = (before, at) if before < at else (at,)
    for start in starts:
        for end, records in _lengths(view, start, seq, seed):
            place = walk.aligned(view, end)
            if place < len(view) and valid_at(view, place, seq + records, seed):
                return start, seq + records, end
    place, there = at, seq
    end, records = extent(view, at)
    long_end, following = (end, seq + records) if end and view[at] >= RECORD else (0, 0)
    is_damage = True
    while end:
        is_damage = is_damage and _one_flip(view, place, end, there, seed)
        there += records
        place = walk.aligned(view, end)
        if place >= len(view) or view[place] == BLANK:
            break
        if valid_at(view, place, there, seed):
            if not is_damage and not _proves(walk, view, place, there, seed):
                break
            if long_end and mend(view[at:long_end], entry_seed(seed, at, seq)):
                return at, following, long_end
            return place, there, 0
        end, records = extent(view, place)
    # The length may be what is damaged, and with it the count. The cursor behind the gap knows it; what it counts was
    # whole once.
    for there in range(seq, seq + _MOST + 1):
        place = walk.beyond(view, at, there, seed)
        if place >= 0:
            if there == following and mend(view[at:long_end], entry_seed(seed, at, seq)):
                return at, following, long_end
            for start in starts if there > seq else ():
                for end, records in _lengths(view, start, seq, seed):
                    if seq + records == there:
                        return start, there, end
            break
    return place, there, 0
