"""The bytes of one program: a sector's header, moves of the release cursor, a record, in the order in which they are
read.
"""

from struct import pack_into

from crc import crc24

from flashring import checks
from flashring.entries import CURSOR, DROP, RECORD, SHORT_MAX

HEADER = 26  # bytes
MAGIC, FORMAT = 0x52, 1
_EMPTY = b""
_BLANKS = b"\xff" * 16


class Commit:
    """`data`: the bytes so far, a bytearray that keeps its memory when it is emptied: building allocates nothing.

    An entry's check tells where it stands: `begin` says where in which sector the bytes will go.
    """

    def __init__(self, capacity):
        self.data = bytearray(capacity)
        self.data[:] = _EMPTY
        self._head = bytearray(16)  # what goes before a payload
        self._header = bytearray(HEADER - 4)
        self._at = 0
        self._seed = 0

    def begin(self, at, seed):
        """Start over for byte `at` of the sector whose lap has `seed`."""
        self.data[:] = _EMPTY
        self._at = at
        self._seed = seed

    def header(self, lap, stream, first, released, dropped):
        """The header of a sector."""
        header = self._header
        header[0] = MAGIC
        header[1] = FORMAT
        pack_into("<IIIII", header, 2, lap, stream, first, released, dropped)
        self.data.extend(header)
        self._check(crc24(header), sum(header))

    def cursor(self, released, seq):
        """The release cursor as it is now. `seq`: of the next record."""
        self._word(self._start(CURSOR), released)
        self._finish(seq)

    def drop(self, released, dropped, seq):
        """The release cursor after a drop."""
        head = self._start(DROP)
        self._word(head, released)
        self._word(head, dropped)
        self._finish(seq)

    def record(self, payload, seq):
        """A record; of up to 61 bytes it takes three bytes more."""
        data = self.data
        length = len(payload)
        if length <= SHORT_MAX:
            check = checks.short(payload, checks.entry_seed(self._seed, self._at + len(data), seq), seq)
            data.append(length << 2 | check >> 16)
            data.extend(payload)
            data.append(check & 0xFF)
            data.append(check >> 8 & 0xFF)
            return
        head = self._start(RECORD)
        head.append(length & 0xFF)
        head.append(length >> 8)
        crc = crc24(head, checks.entry_seed(self._seed, self._at + len(data), seq))
        total = sum(head) + sum(payload)
        crc = crc24(payload, crc)
        data.extend(head)
        data.extend(payload)
        self._check(crc, total)

    def entry(self, pieces, seq):
        """An entry of `pieces`, bytes-like, under one check."""
        data = self.data
        crc = checks.entry_seed(self._seed, self._at + len(data), seq)
        total = 0
        for piece in pieces:
            crc = crc24(piece, crc)
            total += sum(piece)
            data.extend(piece)
        self._check(crc, total)

    def pad(self, unit):
        """Fill up to a multiple of `unit` with FFh."""
        data = self.data
        left = -len(data) % unit
        while left >= 16:
            data.extend(_BLANKS)
            left -= 16
        while left:
            data.append(0xFF)
            left -= 1

    def _start(self, kind):
        head = self._head
        head[:] = _EMPTY
        head.append(kind)
        return head

    def _word(self, head, value):
        head.append(value & 0xFF)
        head.append(value >> 8 & 0xFF)
        head.append(value >> 16 & 0xFF)
        head.append(value >> 24)

    def _finish(self, seq):
        head = self._head
        crc = crc24(head, checks.entry_seed(self._seed, self._at + len(self.data), seq))
        self.data.extend(head)
        self._check(crc, sum(head))

    def _check(self, crc, total):
        """The 32-bit check after bytes whose CRC is `crc` and whose sum is `total`."""
        low, middle, high = crc & 0xFF, crc >> 8 & 0xFF, crc >> 16
        data = self.data
        data.append(low)
        data.append(middle)
        data.append(high)
        data.append(total + low + middle + high & 0xFF)
