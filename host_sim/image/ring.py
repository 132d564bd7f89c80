"""Reader of a flash ring (`lib/flashring/SPEC.md`) in the image of a node's flash."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from host_sim.image.crc import crc24

_HEADER = struct.Struct("<3sBIIIIIB")
_HEADER_SIZE = 28
_MAGIC = b"FNR"
_ENTRY = struct.Struct("<HBI")
_MAX_PAYLOAD = 1024
_RECORD, _RELEASE, _DROP, _REWIND = 1, 2, 3, 4


@dataclass
class RingImage:
    """What a ring holds. `records` are (seq, payload) from the oldest readable one, released or not; every
    seq <= `released` is released; `next` is the number of the next record; `dropped` counts records given
    up unreleased since format. `stream` is 0 for a ring that was never formatted. `faults` names what the
    specification does not allow, a line each."""

    records: list[tuple[int, bytes]] = field(default_factory=list)
    released: int = 0
    next: int = 1
    dropped: int = 0
    stream: int = 0
    faults: list[str] = field(default_factory=list)


class _Sector(NamedTuple):
    lap: int
    stream: int
    first: int
    released: int
    dropped: int
    data: bytes


def _read_header(data: bytes, index: int, count: int) -> _Sector | None:
    magic, form, lap, stream, first, released, dropped, _ = _HEADER.unpack_from(data)
    crc = int.from_bytes(data[_HEADER.size : _HEADER_SIZE], "little")
    if magic != _MAGIC or form != 0 or lap % count != index or crc24(data[: _HEADER.size]) != crc:
        return None
    return _Sector(lap, stream, first, released, dropped, data)


def _entries(sector: _Sector, granularity: int):
    """(type, seq, payload) of each valid entry, to the first place that holds none."""
    data = sector.data
    seed = crc24(sector.lap.to_bytes(4, "little"))
    at = -(-_HEADER_SIZE // granularity) * granularity
    while at + _ENTRY.size + 3 <= len(data):
        length, kind, seq = _ENTRY.unpack_from(data, at)
        end = at + _ENTRY.size + length
        if length > _MAX_PAYLOAD or end + 3 > len(data):
            return
        if crc24(data[at:end], seed) != int.from_bytes(data[end : end + 3], "little"):
            return
        yield kind, seq, data[at + _ENTRY.size : end]
        at = -(-(end + 3) // granularity) * granularity


def _log(area: bytes, sector_size: int) -> list[_Sector]:
    """The sectors of the log, oldest first: from the highest lap back while laps are consecutive and the
    stream is one."""
    sectors = {}
    count = len(area) // sector_size
    for index in range(count):
        sector = _read_header(area[index * sector_size : (index + 1) * sector_size], index, count)
        if sector is not None:
            sectors[sector.lap] = sector
    if not sectors:
        return []
    head = sectors[max(sectors)]
    log = [head]
    while (before := sectors.get(log[-1].lap - 1)) is not None and before.stream == head.stream:
        log.append(before)
    return log[::-1]


def read_ring(image: bytes, first_sector: int, count: int, sector_size: int, granularity: int = 1) -> RingImage:
    """Reads the ring of `count` sectors of `sector_size` bytes that begins at sector `first_sector` of
    `image`.

    `granularity` is the program granularity of the flash in bytes. Raises ValueError where the image is too
    short. A ring that was never written reads as an empty one; torn ends of sectors, which a power cut may
    leave, are no faults.
    """
    return read_sectors(image, range(first_sector, first_sector + count), sector_size, granularity)


def read_sectors(image: bytes, sectors: Sequence[int], sector_size: int, granularity: int = 1) -> RingImage:
    """As `read_ring`, of a ring whose sectors stand anywhere in `image`, in the order of `sectors`."""
    if len(image) < (max(sectors) + 1) * sector_size:
        raise ValueError(f"flash image of {len(image)} bytes ends before sector {max(sectors) + 1}")
    ring = RingImage()
    area = b"".join(image[sector * sector_size : (sector + 1) * sector_size] for sector in sectors)
    log = _log(area, sector_size)
    if not log:
        if area.count(0xFF) != len(area):
            ring.faults.append(f"sectors {sectors[0]}..{sectors[-1]} are written, yet none has a valid header")
        return ring
    count = len(sectors)
    ring.stream = log[0].stream
    ring.next = log[0].first
    for sector in log:
        if sector.first != ring.next:
            ring.faults.append(f"lap {sector.lap} begins with record {sector.first}, expected {ring.next}")
            ring.next = sector.first
        ring.released, ring.dropped = sector.released, sector.dropped
        for kind, seq, payload in _entries(sector, granularity):
            if kind == _RECORD:
                if seq != ring.next:
                    ring.faults.append(f"lap {sector.lap} holds record {seq}, expected {ring.next}")
                ring.records.append((seq, payload))
                ring.next = seq + 1
            elif kind in (_RELEASE, _REWIND):
                ring.released = seq
            elif kind == _DROP and len(payload) == 4:
                ring.released, ring.dropped = seq, int.from_bytes(payload, "little")
            elif kind == _DROP:
                ring.faults.append(f"lap {sector.lap}: a drop entry of {len(payload)} bytes")
            else:
                ring.faults.append(f"lap {sector.lap}: an entry of unknown type {kind:02x}h")
    # The sector after the head may be erased once all in it is released: then it no longer counts, erased or not.
    if len(log) == count and log[1].first <= ring.released + 1:
        ring.records = [(seq, payload) for seq, payload in ring.records if seq >= log[1].first]
    if ring.released >= ring.next:
        ring.faults.append(f"released up to {ring.released}, yet the next record is {ring.next}")
    return ring
