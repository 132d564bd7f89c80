"""Reader of a flash ring (`lib/flashring/SPEC.md`), of formats 0 and 1, in the image of a node's flash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from host_sim.image.sector import Sector, read_header


@dataclass
class RingImage:
    """What a ring holds. `records` are (seq, payload) from the oldest readable one, released or not; every
    seq <= `released` is released; `next` is the number of the next record; `dropped` counts records given
    up unreleased since format. `stream` is 0 for a ring that was never formatted. `damaged` are the numbers of records
    that stand there and cannot be read. `faults` names what the specification does not allow, a line each. `sectors`
    are those of the log, oldest first."""

    records: list[tuple[int, bytes]] = field(default_factory=list)
    released: int = 0
    next: int = 1
    dropped: int = 0
    stream: int = 0
    damaged: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    sectors: list[Sector] = field(default_factory=list)


def _log(sectors: dict[int, Sector]) -> list[Sector]:
    """The sectors of the log, oldest first: from the highest lap back while laps are consecutive and the
    stream is one."""
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
    count = len(sectors)
    by_lap: dict[int, Sector] = {}
    blank = True
    for index, number in enumerate(sectors):
        data = image[number * sector_size : (number + 1) * sector_size]
        blank = blank and data.count(0xFF) == len(data)
        sector = read_header(data, index, count, granularity)
        if sector is not None:
            by_lap[sector.lap] = sector
    log = _log(by_lap)
    if not log:
        if not blank:
            ring.faults.append(f"sectors {sectors[0]}..{sectors[-1]} are written, yet none has a valid header")
        return ring
    ring.stream = log[0].stream
    ring.next = log[0].first
    for sector in log:
        if sector.first != ring.next:
            # The last record of the sector before it is damaged: nothing behind it could say so.
            ring.damaged += range(ring.next, sector.first)
            if sector.first < ring.next:
                ring.faults.append(f"lap {sector.lap} begins with record {sector.first}, expected {ring.next}")
        content = sector.read()
        ring.records += content.records
        ring.damaged += content.damaged
        ring.faults += content.faults
        ring.next, ring.released, ring.dropped = content.next, content.released, content.dropped
    if log[0].lap == log[-1].lap + 2 - count and ring.released + 1 < log[0].first:
        # The sector after the head was not free, and its header does not fit.
        ring.dropped += log[0].first - 1 - ring.released
        ring.released = log[0].first - 1
    ring.faults += [f"record {seq} is damaged" for seq in ring.damaged]
    # The sector after the head may be erased once all in it is released: then it no longer counts, erased or not.
    if len(log) == count and log[1].first <= ring.released + 1:
        ring.records = [(seq, payload) for seq, payload in ring.records if seq >= log[1].first]
        log = log[1:]
    ring.sectors = log
    if ring.released >= ring.next:
        ring.faults.append(f"released up to {ring.released}, yet the next record is {ring.next}")
    return ring
