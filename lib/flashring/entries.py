"""The entries of one sector: records, and moves of the release cursor.

`view` is the sector's memoryview; `seed` the CRC of its lap, so that an entry of an older lap never fits; an entry
starts and ends on a multiple of `unit` bytes.
"""

from struct import pack_into, unpack_from

from crc import crc24

MAX_PAYLOAD = 1024  # bytes
FRAME = 10  # bytes around a payload: length u16, kind u8, seq u32, CRC u24
RECORD, RELEASE, DROP, REWIND = 1, 2, 3, 4


def put(view, start, kind, seq, payload, seed):
    """Write an entry at `start`, where all is FFh."""
    end = start + 7 + len(payload)
    pack_into("<HBI", view, start, len(payload), kind, seq)
    view[start + 7 : end] = payload
    crc = crc24(view[start:end], seed)
    view[end] = crc & 0xFF
    view[end + 1] = crc >> 8 & 0xFF
    view[end + 2] = crc >> 16


def find(view, position, seq, seed, unit):
    """(payload, end) of record `seq` at or after `position`: a slice of `view`, where the next entry starts.

    None if it is not there or damaged.
    """
    while position + FRAME <= len(view):
        length = view[position] | view[position + 1] << 8
        end = position + (length + FRAME + unit - 1) // unit * unit
        if end > len(view):
            break
        if view[position + 2] == RECORD and unpack_from("<I", view, position + 3)[0] == seq:
            if _intact(view, position, seed):
                return view[position + 7 : position + 7 + length], end
            break
        position = end
    return None


def walk(view, position, first, released, dropped, seed, unit):
    """(end, next, released, dropped) after the entries from `position` on; `first`: the first record's seq.

    A cut tears the last program only, and no entry follows a torn one. So of all records only the last can be torn:
    its CRC alone is checked, and that of every move of the cursor, which nothing else would guard.
    """
    seq = first
    last = -1  # where the entry before `position` starts, if it is a record
    while position + FRAME <= len(view):
        length = view[position] | view[position + 1] << 8
        end = position + (length + FRAME + unit - 1) // unit * unit
        kind = view[position + 2]
        if length > MAX_PAYLOAD or end > len(view):
            break
        if kind == RECORD:
            if view[position + 3] != seq & 0xFF:
                break
            seq += 1
            last = position
        elif RELEASE <= kind <= REWIND and _intact(view, position, seed):
            released = unpack_from("<I", view, position + 3)[0]
            if kind == DROP:
                dropped = unpack_from("<I", view, position + 7)[0]
            last = -1
        else:
            break
        position = end
    if last >= 0 and not _intact(view, last, seed):
        position, seq = last, seq - 1
    return position, seq, released, dropped


def _intact(view, start, seed):
    end = start + 7 + (view[start] | view[start + 1] << 8)
    return crc24(view[start:end], seed) == view[end] | view[end + 1] << 8 | view[end + 2] << 16
