"""The entries of one sector: records, and moves of the release cursor.

`view` is the sector's memoryview. An entry stands right behind the one before it; where there is FFh, at the next
multiple of `unit`, the least that the flash programs. Behind a place that a cut may have touched the next entry stands
at a multiple of 256 and is a move of the cursor.
"""

from struct import pack, unpack_from

from flashring import checks

SHORT_MAX = 61  # bytes of payload that fit a short record
PAGE = 256
RECORD, RUN, BATCH, CURSOR, DROP = 0xF8, 0xF9, 0xFA, 0xFB, 0xFC
BLANK = 0xFF
CURSOR_SIZE, DROP_SIZE = 9, 13


_BLANKS = b"\xff" * PAGE


def blank(view, at):
    """Whether all is FFh from byte `at` on."""
    size = len(view)
    while at < size and (at % PAGE or size - at < PAGE):
        if view[at] != BLANK:
            return False
        at += 1
    while at < size:
        if view[at : at + PAGE] != _BLANKS:
            return False
        at += PAGE
    return True


def void(view, at):
    """Whether zeros stand at `at`: the mark of what a cut has torn. No record begins so: its sum would be 3FFFh."""
    return view[at] == 0 and at + 3 <= len(view) and view[at + 1] == 0 and view[at + 2] == 0


def mark(place):
    """Says that what stands at `place` is torn."""
    return pack("<IHH", 0, place, place ^ 0xFFFF)


def marked(view, at):
    """The place that a mark at `at` calls torn, 0 if none stands there."""
    if at + 8 > len(view):
        return 0
    zeros, place, inverse = unpack_from("<IHH", view, at)
    return place if zeros == 0 and place ^ inverse == 0xFFFF else 0


def record_size(length):
    """Bytes of a record with a payload of `length`."""
    return length + (3 if length <= SHORT_MAX else 7)


def extent(view, at):
    """Where the entry at `at` would end and how many records it would hold, by its first bytes; end 0: it is none."""
    head = view[at]
    records = 1
    if head < RECORD:
        end = at + 3 + (head >> 2)
    elif head == BLANK or at + CURSOR_SIZE > len(view) or head > DROP:
        return 0, 0
    elif head == CURSOR:
        end, records = at + CURSOR_SIZE, 0
    elif head == DROP:
        end, records = at + DROP_SIZE, 0
    else:
        length = view[at + 1] | view[at + 2] << 8
        if head != RECORD:
            length, records = length & 0xFFF, (length >> 12) + 1
        end = at + 7 + length
    return (end, records) if end <= len(view) else (0, 0)


def valid(view, at, end, seq, seed):
    """Whether the entry `at`..`end`-1 fits its check; `seq`: of the record that it holds first or would hold."""
    start = checks.entry_seed(seed, at, seq)
    if view[at] < RECORD:
        told = (view[at] & 3) << 16 | view[end - 1] << 8 | view[end - 2]
        return checks.short_fits(view[at + 1 : end - 2], start, seq, told)
    return checks.long_fits(view, at, end, start)


def valid_at(view, at, seq, seed):
    """Whether an entry stands at `at` that fits its check."""
    end, _ = extent(view, at)
    return end > 0 and valid(view, at, end, seq, seed)
