"""The encoder against a decoder written here from the SPEC."""

from codec import FrameFull, Rows, encode
from crc import crc24

LOW, HIGH = -0x80000000, 0x7FFFFFFF


def _decode(frame):
    """(quality, boot, channels, rows) of a frame; rows: [(time, [value or None])]."""
    assert frame[0] == 0
    crc = crc24(frame[:-3])
    assert bytes((crc & 255, crc >> 8 & 255, crc >> 16)) == bytes(frame[-3:])
    boot = int.from_bytes(frame[2:6], "little")
    time = int.from_bytes(frame[6:10], "little")
    count = frame[10] | frame[11] << 8
    channels = [(frame[13 + 2 * i], frame[14 + 2 * i]) for i in range(frame[12])]
    channels = [(number, exp - 256 if exp > 127 else exp) for number, exp in channels]
    at = 13 + 2 * len(channels)

    def number():
        nonlocal at
        n = shift = 0
        while True:
            byte = frame[at]
            at += 1
            n |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                assert shift <= 35
                return n >> 1 if n & 1 == 0 else -(n >> 1) - 1

    last = [0] * len(channels)
    rows = []
    for _ in range(count):
        time += number()
        masks = frame[at : at + (len(channels) + 7) // 8]
        at += len(masks)
        row = []
        for i in range(len(channels)):
            if masks[i // 8] >> i % 8 & 1:
                last[i] += number()
                row.append(last[i])
            else:
                row.append(None)
        rows.append((time, row))
    assert at == len(frame) - 3
    return frame[1], boot, channels, rows


def _round_trip(given, channels, quality=1, boot=7):
    rows = Rows(len(channels), len(given))
    rows.quality, rows.boot = quality, boot
    for time, values in given:
        rows.add(time, values)
    out = bytearray(4000)
    length = encode(rows, channels, out)
    assert _decode(out[:length]) == (quality, boot, channels, given)
    exact = bytearray(length)
    assert encode(rows, channels, exact) == length and exact == out[:length]
    return rows, length


def _raises(kind, function, *args):
    try:
        function(*args)
    except kind as error:
        return error
    raise AssertionError("no %s" % kind)


def test_bytes_of_a_small_frame():
    rows = Rows(2, 4)
    rows.quality, rows.boot = 1, 0x01020304
    rows.add(1000, [2150, None])
    rows.add(1060, [2149, -3])
    out = bytearray(64)
    length = encode(rows, [(1, -2), (9, 0)], out)
    body = bytes.fromhex("00 01 04030201 e8030000 0200 02 01fe 0900 00 01 cc21 78 03 01 05".replace(" ", ""))
    assert bytes(out[: length - 3]) == body


def test_extremes_of_value_and_time():
    given = [
        (0xFFFFFFFF, [LOW, HIGH]),
        (0, [HIGH, LOW]),
        (0x7FFFFFFF, [LOW, None]),
        (0xFFFFFFFF, [None, HIGH]),
        (5, [0, -1]),
        (4, [1 << 30, -(1 << 30) - 1]),
    ]
    _round_trip(given, [(0, -128), (255, 127)], quality=0, boot=0xFFFFFFFF)


def test_each_length_of_varint():
    given = [(10, [0])]
    for bits in range(32):
        for value in ((1 << bits) - 1, -(1 << bits)):
            given.append((given[-1][0] + 1, [value]))
            given.append((given[-1][0] + 1, [0]))
    _round_trip(given, [(3, 0)])


def test_masks_of_every_channel_count():
    for count in range(1, 33):
        given = [[None if (i * 7 + r * 3) % 5 < 2 else i * 100 - r for i in range(count)] for r in range(6)]
        given = [(r, given[r]) for r in range(6)]
        _round_trip(given, [(i, i - 9) for i in range(count)])
    _round_trip([(1, [None] * 9), (2, [None] * 9)], [(i, 0) for i in range(9)])


def test_frame_full_tells_how_many_rows_fit():
    given = [(1000 + 60 * i, [2000 + i * i, None if i % 3 else -i]) for i in range(40)]
    channels = [(1, -2), (2, 0)]
    rows, whole = _round_trip(given, channels)
    fits = 40
    for size in range(whole - 1, -1, -1):
        out = bytearray(size)
        fit = _raises(FrameFull, encode, rows, channels, out).rows
        assert fits - 1 <= fit <= fits and fit < 40
        fits = fit
        if fit:
            length = encode(rows, channels, out, fit)
            assert length <= size and _decode(out[:length])[3] == given[:fit]
    assert fits == 0


def test_discard_leaves_the_rest():
    given = [(i, [i * 5, None if i & 1 else -i] + [1] * 8) for i in range(9)]
    channels = [(i, 0) for i in range(10)]
    rows, _ = _round_trip(given, channels)
    rows.discard(3)
    rows.add(99, [7] * 10)
    out = bytearray(500)
    assert _decode(out[: encode(rows, channels, out)])[3] == given[3:] + [(99, [7] * 10)]
    _raises(ValueError, rows.discard, 8)
    rows.discard(7)
    assert len(rows) == 0


def test_refused_row_leaves_no_trace():
    rows = Rows(2, 2)
    rows.add(1, [1, 2])
    for time, values in ((2, [5, HIGH + 1]), (2, [LOW - 1, 5]), (2, [1]), (-1, [1, 2]), (1 << 32, [1, 2])):
        _raises(ValueError, rows.add, time, values)
        assert len(rows) == 1
    rows.add(2, [None, None])
    _raises(ValueError, rows.add, 3, [1, 2])
    out = bytearray(60)
    assert _decode(out[: encode(rows, [(1, 0), (2, 0)], out)])[3] == [(1, [1, 2]), (2, [None, None])]
    rows.clear()
    rows.add(8, [None, 4])
    assert _decode(out[: encode(rows, [(1, 0), (2, 0)], out)])[3] == [(8, [None, 4])]


def test_what_the_format_has_no_place_for():
    rows = Rows(2, 2)
    out = bytearray(60)
    good = [(1, 0), (2, 0)]
    _raises(ValueError, encode, rows, good, out)
    rows.add(1, [1, 2])
    for channels in ([(1, 0)], [(1, 0), (1, 1)], [(1, 0), (256, 0)], [(1, 128), (2, 0)], [(-1, 0), (2, 0)]):
        _raises(ValueError, encode, rows, channels, out)
    for field, bad in (("quality", 3), ("boot", 1 << 32), ("boot", -1)):
        kept = getattr(rows, field)
        setattr(rows, field, bad)
        _raises(ValueError, encode, rows, good, out)
        setattr(rows, field, kept)
    _raises(ValueError, encode, rows, good, out, 2)
    _raises(ValueError, encode, rows, good, out, 0)
    _raises(ValueError, Rows, 33, 1)
    _raises(ValueError, Rows, 0, 1)
    _raises(ValueError, Rows, 1, 65536)
    assert encode(rows, good, out)
