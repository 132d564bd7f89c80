"""One sector of a flash ring (`lib/flashring/SPEC.md`), of format 0 or 1: its header and its entries."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from host_sim.image.crc import crc24

_PAGE = 256
_PLAIN_HEADER = struct.Struct("<3sBIIIIIB")
_PLAIN_SIZE = 28
_PLAIN_ENTRY = struct.Struct("<HBI")
_PLAIN_LONGEST = 1024
_HEADER = struct.Struct("<BBIIIII")
_RECORD, _RUN, _BATCH, _CURSOR, _DROP = range(0xF8, 0xFD)
_BLANK = 0xFF


@dataclass
class Content:
    """What the entries of a sector say: `records` (seq, payload); `next`, `released`, `dropped` after the last of them.
    `damaged`: seqs of records that stand there and do not fit their check. `torn`: places where a cut left something.
    `used`: where the valid entries end."""

    next: int
    released: int
    dropped: int
    used: int
    records: list[tuple[int, bytes]] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    torn: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


@dataclass
class Sector:
    """A sector whose header fits. `mended`: one bit of the header is flipped."""

    version: int
    lap: int
    stream: int
    first: int
    released: int
    dropped: int
    data: bytes
    unit: int
    mended: bool = False

    def read(self) -> Content:
        """Walks through the entries."""
        if self.version == 0:
            content = Content(self.first, self.released, self.dropped, 0)
            _read_plain(self, content)
            return content
        torn_at: set[int] = set()
        while True:
            content = Content(self.first, self.released, self.dropped, 0)
            found = _read_entries(self, content, torn_at) or self._marked_torn(content.used)
            if found <= torn_at:
                return content
            torn_at |= found

    def _marked_torn(self, used: int) -> set[int]:
        """The places that marks behind the valid entries, which end at `used`, call torn: a mount had found them so,
        and may have been cut as it put zeros there. None if zeros stand behind the entries: then a later one did not.
        """
        padded = -(-used // self.unit) * self.unit
        end = padded if self.data[used:padded].count(_BLANK) == padded - used else used
        if self.data[end:][:4] == bytes(4) and self._mark(end) is None:
            return set()
        places = (*range(-(-padded // _PAGE) * _PAGE, len(self.data), _PAGE), max(padded, len(self.data) - 8))
        return {place for place in map(self._mark, places) if place is not None}

    def _mark(self, at: int) -> int | None:
        zeros, place, inverse = struct.unpack("<IHH", self.data[at:][:8].ljust(8, b"\xff"))
        return place if zeros == 0 and place ^ inverse == 0xFFFF else None


def read_header(data: bytes, index: int, count: int, unit: int) -> Sector | None:
    """The sector at `index` of a ring of `count`, None if its header does not fit. `unit`: bytes, the least that is
    programmed."""
    sector = _plain_header(data, unit) if data[:4] == b"FNR\0" else _header(data, unit)
    return sector if sector is not None and sector.lap % count == index else None


def _plain_header(data: bytes, unit: int) -> Sector | None:
    if crc24(data[:25]) != int.from_bytes(data[25:28], "little"):
        return None
    _, _, lap, stream, first, released, dropped, _ = _PLAIN_HEADER.unpack_from(data)
    return Sector(0, lap, stream, first, released, dropped, data, unit)


def _header(data: bytes, unit: int) -> Sector | None:
    header = data[:26]
    mended = False
    if not _fits(header, crc24(b"")):
        candidates = (_flipped(header, bit) for bit in range(8 * len(header)))
        header = next((each for each in candidates if _fits(each, crc24(b""))), b"\0\0")
        mended = True
    if header[:2] != b"\x52\x01":
        return None
    _, _, lap, stream, first, released, dropped = _HEADER.unpack_from(header)
    return Sector(1, lap, stream, first, released, dropped, data, unit, mended)


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _fits(data: bytes, start: int) -> bool:
    """Whether `data` ends in the check of 4 bytes."""
    return sum(data[:-1]) & 0xFF == data[-1] and crc24(data[:-4], start).to_bytes(3, "little") == data[-4:-1]


def _extent(data: bytes, at: int) -> tuple[int, int]:
    """(end, number of records) by the first bytes of the entry at `at`; (0, 0): it cannot be one."""
    kind = data[at]
    if kind < _RECORD:
        end, records = at + 3 + (kind >> 2), 1
    elif kind == _CURSOR:
        end, records = at + 9, 0
    elif kind == _DROP:
        end, records = at + 13, 0
    elif kind in (_RECORD, _RUN, _BATCH) and at + 3 <= len(data):
        word = int.from_bytes(data[at + 1 : at + 3], "little")
        end, records = (at + 7 + word, 1) if kind == _RECORD else (at + 7 + (word & 0xFFF), (word >> 12) + 1)
    else:
        return 0, 0
    return (end, records) if end <= len(data) else (0, 0)


class _Entries:
    """The entries of one sector of format 1."""

    def __init__(self, sector: Sector, torn_at: set[int]) -> None:
        self.data = sector.data
        self._torn_at = torn_at
        self._unit = sector.unit
        self._seed = crc24(sector.lap.to_bytes(4, "little"))

    def end_of(self, at: int, seq: int) -> int:
        """Where the entry at `at` ends if it fits as the one with number `seq`, else 0."""
        end, _ = _extent(self.data, at)
        if not end:
            return 0
        entry = self.data[at:end]
        start = self._seed ^ (seq & 0xFF) << 16 ^ at
        if entry[0] >= _RECORD:
            return end if _fits(entry, start) else 0
        payload = entry[1:-2]
        low = crc24(payload, start) & 15
        total = sum(payload) + 4 * len(payload) + low + (seq & 0xFF)
        told = (entry[0] & 3) << 16 | int.from_bytes(entry[-2:], "little")
        return end if told == low << 14 | 0x3FFF - total else 0

    def place(self, at: int) -> int:
        """Where the entry behind `at` stands: there, or behind the padding; the sector's length if it is full."""
        if at < len(self.data) and self.data[at] == _BLANK:
            at = -(-at // self._unit) * self._unit
        return min(at, len(self.data))

    def blank(self, at: int) -> bool:
        """Whether nothing stands at `at`."""
        return at >= len(self.data) or self.data[at] == _BLANK

    def behind_gap(self, at: int, seq: int) -> int:
        """The cursor that begins anew after `at`, or 0."""
        for page in range(at // _PAGE * _PAGE + _PAGE, len(self.data) - 8, _PAGE):
            entry = self.data[page : page + 9]
            if entry[:2] == b"\xff\xff" or not entry[0] or page in self._torn_at:
                continue
            start = self._seed ^ (seq & 0xFF) << 16 ^ page
            flipped = (each for each in [entry, *(_flipped(entry, bit) for bit in range(72))] if each[0] == _CURSOR)
            good = next((each for each in flipped if _fits(each, start)), None)
            if good is not None:
                self.data = self.data[:page] + good + self.data[page + 9 :]
                return page
        return 0

    def repaired(self, at: int, seq: int, counted: int = 0) -> int:
        """As `end_of`, after one bit of the entry's first 3 bytes was flipped back so that it and its follower fit, or
        its records are those that the cursor behind the gap counts: up to `counted`.
        """
        whole = self.data
        for bit in range(min(24, 8 * (len(whole) - at))):
            self.data = whole[:at] + _flipped(whole[at : at + 4], bit) + whole[at + 4 :]
            if self.data[at] < _RECORD and not 2 <= bit < 8:
                continue
            end = self.end_of(at, seq)
            if end:
                after, following = self.place(end), seq + _extent(self.data, at)[1]
                if following == counted or not self.blank(after) and self.end_of(after, following):
                    return end
        self.data = whole
        return 0

    def uncounted(self, last: int, last_seq: int, at: int, seq: int) -> set[int]:
        """`last` if the entry there, of record `last_seq`, is not counted by the cursor behind `at`."""
        return {last} if last_seq < seq and self.behind_gap(at, last_seq) else set()

    def after_damage(self, at: int, seq: int) -> tuple[int, int]:
        """(place, its seq) of the entry that follows damaged ones, by their lengths; (0, 0) if there is none.

        With more than one flipped bit in one of them they may be what a cut left of a record, and what follows a part
        of it: then one short record proves nothing.
        """
        explained = True
        while True:
            end, records = _extent(self.data, at)
            if not end:
                return 0, 0
            explained = explained and self._one_flip_explains(at, end, seq)
            seq += records
            at = self.place(end)
            if self.blank(at):
                return 0, 0
            fits_to = self.end_of(at, seq)
            if fits_to:
                after = self.place(fits_to)
                proven = explained or self.data[at] >= _RECORD
                if proven or not self.blank(after) and self.end_of(after, seq + 1):
                    return at, seq
                return 0, 0

    def mended(self, at: int, seq: int) -> int:
        """The end of the entry at `at` after one bit was flipped back so that it fits, 0 if none does it; of a short
        record none is tried."""
        whole = self.data
        end, _ = _extent(whole, at)
        if whole[at] >= _RECORD and end:
            for bit in range(8 * (end - at)):
                self.data = whole[:at] + _flipped(whole[at:end], bit) + whole[end:]
                if self.end_of(at, seq) == end:
                    return end
        self.data = whole
        return 0

    def _one_flip_explains(self, at: int, end: int, seq: int) -> bool:
        whole = self.data
        short = whole[at] < _RECORD
        try:
            for bit in range(8 * (end - at)):
                if short and 1 < bit < 8:
                    continue
                self.data = whole[:at] + _flipped(whole[at:end], bit) + whole[end:]
                if self.end_of(at, seq) == end:
                    return True
        finally:
            self.data = whole
        return False


def _read_entries(sector: Sector, content: Content, torn_at: set[int]) -> set[int]:
    """Reads all but what stands at `torn_at`. Returns the place of an entry that fits, but that the cursor behind the
    gap after it does not count: it was torn, and must not be read either.
    """
    entries = _Entries(sector, torn_at)
    content.used = at = 26
    last, last_seq = 0, content.next
    while True:
        begin, at = at, entries.place(at)
        if entries.blank(at):
            page = entries.behind_gap(at, content.next)
            if page:
                content.torn.append(content.used)
                at = page
            elif sector.data[at:].count(_BLANK) == len(sector.data) - at:
                return set()
        end = 0 if at in torn_at else entries.end_of(at, content.next)
        if not end:
            if at in torn_at or sector.data[at : at + 3] == bytes(3):  # torn, and marked as such by a mount
                content.torn.append(at)
                place = entries.behind_gap(at, content.next)
                if not place:
                    return entries.uncounted(last, last_seq, at, content.next)
                at = place
                continue
            padded = -(-at // sector.unit) * sector.unit
            if at < padded < len(sector.data) and entries.end_of(padded, content.next):
                at = padded
                continue
            for start in sorted({begin, at}):  # an entry whose first byte is flipped to FFh looks like padding
                end = entries.repaired(start, content.next)
                if end:
                    at = start
                    break
        if not end:
            place, seq = entries.after_damage(at, content.next)
            direct = place > 0
            if not direct:
                counts = ((entries.behind_gap(at, seq), seq) for seq in range(content.next, content.next + 17))
                place, seq = next((found for found in counts if found[0]), (0, 0))
            if direct or place and seq == content.next + _extent(entries.data, at)[1]:
                end = entries.mended(at, content.next)
            if not end and place and not direct and seq > content.next:
                for start in sorted({begin, at}):
                    end = entries.repaired(start, content.next, seq)
                    if end:
                        at = start
                        break
        if not end:
            if not direct:
                content.torn.append(at)
            if not place:
                return entries.uncounted(last, last_seq, at, content.next)
            content.damaged += range(content.next, seq)
            content.next, at = seq, place
            continue
        last, last_seq = at, content.next
        _take(entries.data[at:end], content)
        content.used = at = end


def _take(entry: bytes, content: Content) -> None:
    kind = entry[0]
    if kind < _RECORD:
        payloads = [entry[1:-2]]
    elif kind == _CURSOR:
        content.released = int.from_bytes(entry[1:5], "little")
        return
    elif kind == _DROP:
        content.released, content.dropped = struct.unpack_from("<II", entry, 1)
        return
    elif kind == _RECORD:
        payloads = [entry[3:-4]]
    elif kind == _BATCH:
        payloads = []
        at = 3
        while at < len(entry) - 4:
            payloads.append(entry[at + 1 : at + 1 + entry[at]])
            at += 1 + entry[at]
    else:
        # Only whoever wrote them can tell them apart: they stand as one under the first number.
        content.records.append((content.next, entry[3:-4]))
        content.next += (entry[2] >> 4) + 1
        return
    for payload in payloads:
        content.records.append((content.next, payload))
        content.next += 1


def _read_plain(sector: Sector, content: Content) -> None:
    data = sector.data
    content.used = at = -(-_PLAIN_SIZE // sector.unit) * sector.unit
    while True:
        end = _plain_end(sector, at)
        if not end:
            at, seq = _plain_behind(sector, at, content.next)
            if not at:
                return
            content.damaged += range(content.next, seq)
            content.next = seq
            continue
        length, kind, seq = _PLAIN_ENTRY.unpack_from(data, at)
        payload = data[at + _PLAIN_ENTRY.size : at + _PLAIN_ENTRY.size + length]
        if kind == 1:
            if seq != content.next:
                content.faults.append(f"lap {sector.lap} holds record {seq}, expected {content.next}")
            content.records.append((seq, payload))
            content.next = seq + 1
        elif kind in (2, 4):
            content.released = seq
        elif kind == 3 and length == 4:
            content.released, content.dropped = seq, int.from_bytes(payload, "little")
        else:
            content.faults.append(f"lap {sector.lap}: an entry of type {kind:02x}h and {length} bytes")
        content.used = at = -(-end // sector.unit) * sector.unit


def _plain_end(sector: Sector, at: int) -> int:
    """Where the entry at `at` ends if it fits, else 0."""
    data = sector.data
    if at + _PLAIN_ENTRY.size + 3 > len(data):
        return 0
    length, _, _ = _PLAIN_ENTRY.unpack_from(data, at)
    end = at + _PLAIN_ENTRY.size + length
    if length > _PLAIN_LONGEST or end + 3 > len(data):
        return 0
    fits = crc24(data[at:end], crc24(sector.lap.to_bytes(4, "little"))) == int.from_bytes(data[end : end + 3], "little")
    return end + 3 if fits else 0


def _plain_behind(sector: Sector, at: int, seq: int) -> tuple[int, int]:
    """(place, its seq) of the first record that fits behind damage at `at`, where record `seq` would stand."""
    if sector.data[at:].count(_BLANK) < len(sector.data) - at:
        for place in range(at + sector.unit, len(sector.data) - _PLAIN_ENTRY.size - 2, sector.unit):
            _, kind, there = _PLAIN_ENTRY.unpack_from(sector.data, place)
            if kind == 1 and 0 <= there - seq <= (place - at) // 10 and _plain_end(sector, place):
                return place, there
    return 0, 0
