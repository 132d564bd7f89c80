"""Frames of readings, format 00h. SPEC.md beside this file gives every byte; the cloud end decodes."""

from array import array
from struct import pack_into

from crc import crc24

MAX_CHANNELS = 32
_HEADER = 13  # bytes before the channel list
_CRC = 3
_FORMAT = 0


class FrameFull(ValueError):
    """The frame does not fit. `rows`: how many rows from the first on do; 0 if `out` is too small for any."""

    def __init__(self, rows, size):
        super().__init__("%d rows fit into %d bytes" % (rows, size))
        self.rows = rows


class Rows:
    """Up to `capacity` rows of `channels` (1..32) readings each, held in arrays that are made once.

    Attributes: `quality` (0..2) and `boot` (u32) belong to all rows and say what their times mean (SPEC.md); the
    owner sets them before `encode`. `len(rows)` is the number of rows held.
    """

    def __init__(self, channels, capacity):
        if not 1 <= channels <= MAX_CHANNELS or not 1 <= capacity <= 0xFFFF:
            raise ValueError("%d rows of %d channels: at most 65535 of 1..32" % (capacity, channels))
        self.channels = channels
        self.capacity = capacity
        self.quality = 0
        self.boot = 0
        self._mask_size = (channels + 7) // 8
        self._times = array("I", bytes(4 * capacity))
        self._values = array("i", bytes(4 * channels * capacity))
        self._present = bytearray(self._mask_size * capacity)
        self._count = 0

    def __len__(self):
        return self._count

    def add(self, time_s, values):
        """Add a row. `time_s`: u32, seconds. `values`: one i32 a channel, or None where there is no reading.

        ValueError for anything else, or when `capacity` rows are held; then no row is added.
        """
        if self._count == self.capacity:
            raise ValueError("%d rows held, no room for another" % self._count)
        if len(values) != self.channels:
            raise ValueError("%d values for %d channels" % (len(values), self.channels))
        if not 0 <= time_s <= 0xFFFFFFFF:
            raise ValueError("time %d is outside u32" % time_s)
        mask_at = self._count * self._mask_size
        for i in range(self._mask_size):
            self._present[mask_at + i] = 0
        at = self._count * self.channels
        for i in range(self.channels):
            value = values[i]
            if value is not None:
                # An array takes any int and keeps its low 32 bits.
                if not -0x80000000 <= value <= 0x7FFFFFFF:
                    raise ValueError("value %d of channel %d is outside i32" % (value, i))
                self._values[at + i] = value
                self._present[mask_at + (i >> 3)] |= 1 << (i & 7)
        self._times[self._count] = time_s
        self._count += 1

    def discard(self, count):
        """Forget the first `count` rows; those behind move up."""
        if not 0 <= count <= self._count:
            raise ValueError("discard of %d rows, %d held" % (count, self._count))
        left = self._count - count
        _move(self._times, count, left)
        _move(self._values, count * self.channels, left * self.channels)
        _move(self._present, count * self._mask_size, left * self._mask_size)
        self._count = left

    def clear(self):
        """Forget all rows."""
        self._count = 0

    def time(self, row):
        """The time of row 0..len-1, as given to `add`."""
        return self._times[row]

    def put(self, row, out, previous):
        """Write row 0..len-1 as the SPEC has it into `out` (169 bytes hold any). Returns its length.

        `previous`: an array of `channels` i32, each channel's last present value; brought up to date.
        """
        end = _varint(out, 0, self._times[row] - self._times[row - 1] if row else 0)
        mask_at = row * self._mask_size
        out[end : end + self._mask_size] = self._present[mask_at : mask_at + self._mask_size]
        end += self._mask_size
        at = row * self.channels
        for i in range(self.channels):
            if self._present[mask_at + (i >> 3)] >> (i & 7) & 1:
                value = self._values[at + i]
                end = _varint(out, end, value - previous[i])
                previous[i] = value
        return end


def encode(rows, channels, out, count=None):
    """Write a frame of the first `count` of `rows` (a Rows; default all) into `out`. Returns its length in bytes.

    `channels`: a sequence of (id u8, exponent i8), one for each channel of `rows`. `out`: a bytearray or memoryview;
    what stands behind the frame is undefined. FrameFull if it does not fit: it tells how many rows do, to be encoded
    by `count` and then discarded. ValueError for no rows, or for what the format has no place for.
    """
    count = len(rows) if count is None else count
    if not 1 <= count <= len(rows):
        raise ValueError("frame of %d rows, %d held" % (count, len(rows)))
    _check(rows, channels)
    end = _HEADER + 2 * len(channels)
    limit = len(out) - _CRC
    if end > limit:
        raise FrameFull(0, len(out))
    pack_into("<BBIIHB", out, 0, _FORMAT, rows.quality, rows.boot, rows.time(0), count, len(channels))
    for i in range(len(channels)):
        pack_into("<Bb", out, _HEADER + 2 * i, channels[i][0], channels[i][1])
    row = bytearray(5 + 4 + 5 * MAX_CHANNELS)
    view = memoryview(row)
    previous = array("i", bytes(4 * len(channels)))
    for i in range(count):
        length = rows.put(i, row, previous)
        if end + length > limit:
            raise FrameFull(i, len(out))
        out[end : end + length] = view[:length]
        end += length
    crc = crc24(memoryview(out)[:end])
    out[end] = crc & 0xFF
    out[end + 1] = crc >> 8 & 0xFF
    out[end + 2] = crc >> 16
    return end + _CRC


def _check(rows, channels):
    if len(channels) != rows.channels:
        raise ValueError("%d channels named, the rows have %d" % (len(channels), rows.channels))
    if not 0 <= rows.quality <= 2:
        raise ValueError("quality %d is not in 0..2" % rows.quality)
    if not 0 <= rows.boot <= 0xFFFFFFFF:
        raise ValueError("boot %d is outside u32" % rows.boot)
    for i in range(len(channels)):
        number, exponent = channels[i]
        if not 0 <= number <= 255 or not -128 <= exponent <= 127:
            raise ValueError("channel id %d (0..255), exponent %d (-128..127)" % (number, exponent))
        for j in range(i):
            if channels[j][0] == number:
                raise ValueError("channel id %d twice" % number)


def _varint(out, at, number):
    """Write the zigzag varint of a signed `number` at `at`; returns where it ends. Boards allocate above 2^30."""
    number = number << 1 if number >= 0 else -number * 2 - 1
    while number > 127:
        out[at] = number & 127 | 128
        number >>= 7
        at += 1
    out[at] = number
    return at + 1


def _move(items, start, count):
    for i in range(count):
        items[i] = items[start + i]
