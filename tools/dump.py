"""What stands in the flash of a node, dead or alive: JSON lines, made from the specifications alone.

    python -m tools.dump IMAGE [--board NAME] [--ring NAME]

IMAGE is the whole flash, as `esptool read_flash` or `picotool save` makes it, or what `fieldnode backup` reads from an
RP2, or the partition `ring` alone. Lines:

    {"ring": "journal", "stream": .., "oldest": .., "released": .., "next": .., "dropped": .., "faults": [..]}
    {"ring": "journal", "sector": .., "verdict": .., ..}      one for each sector
    {"ring": "journal", "seq": .., "released": .., "hex": .., "row": {..}}    one for each record; "frame", "event",
    "damaged"

A verdict: `head`, `log`, `next` (still read, the next to be erased), `older`, `blank`, `blank but for some bytes`,
`spoilt` (a boot after a cut has marked it), `no header`, `other format`. Beside it `torn` (places where a cut left
something), `damaged` (seqs), `mended` (a flipped bit in the header). Status 1 if a ring has faults, 2 if there is
nothing to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from host_sim.hardware import rings
from host_sim.hardware.image import chip_of
from host_sim.image import FrameError, RingImage, frame_rows, journal_row, read_event, read_sectors
from host_sim.image.sector import Sector, read_header
from tools import boards
from tools.boards import SECTOR, Board


class DumpError(Exception):
    """There is nothing to read; the text says why."""


def find_board(image: bytes, name: str | None) -> Board:
    """The board `name`, or the one whose flash looks like this."""
    if name is not None:
        return boards.load(name)
    chip = chip_of(image)
    known = [boards.load(path.name) for path in sorted(boards.BOARDS.iterdir()) if (path / "board.toml").exists()]
    fitting = [board for board in known if board.chip == chip and board.flash_size == len(image)]
    if len(fitting) != 1:
        raise DumpError(f"{chip or 'an unknown chip'} with {len(image) >> 10} KiB: say --board NAME")
    return fitting[0]


def places(board: Board, path: Path, image: bytes) -> dict[str, list[int]]:
    """The sectors of each ring in `image`, in order."""
    partition = next((each for each in board.partitions if each.label == "ring"), None)
    if partition is not None and len(image) == partition.size:
        return {name: list(range(first, first + count)) for name, (first, count) in board.rings.items()}
    if board.reserved is not None and len(image) == board.storage[1]:
        board = replace(board, storage=(0, len(image)))
    elif len(image) != board.flash_size:
        raise DumpError(f"{path}: {len(image)} bytes, and the flash of {board.name} has {board.flash_size}")
    found = rings.places(board, path)
    if not found:
        raise DumpError(f"{path}: no map of reserved blocks, or several: this node never had rings, or two lives")
    return {
        name: place["sectors"] if isinstance(place, dict) else list(range(place[0], place[0] + place[1]))
        for name, place in found.items()
    }


def verdict(data: bytes, sector: Sector | None, ring: RingImage, count: int) -> str:
    """One word or a few on a sector."""
    if sector is None:
        if data.count(0xFF) == len(data):
            return "blank"
        if data[0] == 0:
            return "spoilt"
        if data[0] == 0x52 and 1 < data[1] < 16 or data[:3] == b"FNR" and 0 < data[3] < 16:
            return "other format"
        return "blank but for some bytes" if data[:28].count(0xFF) == 28 else "no header"
    log = ring.sectors
    if sector.stream != ring.stream or not log or not log[0].lap <= sector.lap <= log[-1].lap:
        return "older"
    if sector.lap == log[-1].lap:
        return "head"
    return "next" if sector.lap == log[-1].lap + 1 - count else "log"


def _sector_lines(name: str, image: bytes, sectors: Sequence[int], ring: RingImage, unit: int) -> Iterator[dict[str,
Any]]:
    for index, number in enumerate(sectors):
        data = image[number * SECTOR : (number + 1) * SECTOR]
        sector = read_header(data, index, len(sectors), unit)
        line: dict[str, Any] = {"ring": name, "sector": number, "verdict": verdict(data, sector, ring, len(sectors))}
        if sector is not None:
            content = sector.read()
            line |= {"format": sector.version, "lap": sector.lap, "stream": sector.stream, "first": sector.first,
                     "records": len(content.records), "used": content.used}  # fmt: skip
            line |= {key: value for key, value in (("damaged", content.damaged), ("torn", content.torn)) if value}
            if sector.mended:
                line["mended"] = True
        yield line


def _meaning(name: str, seq: int, payload: bytes) -> dict[str, Any]:
    try:
        if name == "journal":
            return {"row": journal_row(seq, payload)._asdict()}
        if name == "frames":
            rows, exponents = frame_rows(seq, payload)
            return {"frame": {"rows": [row._asdict() for row in rows], "exponents": exponents}}
        event = read_event(seq, payload)
        return {} if event is None else {"event": event._asdict()}
    except FrameError as error:
        return {"fault": str(error)}


def lines(name: str, image: bytes, sectors: Sequence[int], unit: int) -> Iterator[dict[str, Any]]:
    """Everything about one ring."""
    ring = read_sectors(image, sectors, SECTOR, unit)
    oldest = ring.records[0][0] if ring.records else ring.next
    yield {"ring": name, "stream": ring.stream, "oldest": oldest, "released": ring.released, "next": ring.next,
           "dropped": ring.dropped, "faults": ring.faults}  # fmt: skip
    yield from _sector_lines(name, image, sectors, ring, unit)
    records = dict(ring.records)
    for seq in sorted({*records, *ring.damaged}):
        line: dict[str, Any] = {"ring": name, "seq": seq, "released": seq <= ring.released}
        if seq not in records:
            yield line | {"damaged": True}
            continue
        yield line | {"hex": records[seq].hex()} | _meaning(name, seq, records[seq])


@click.command()
@click.argument("path", metavar="IMAGE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--board", "board_name", help="The board, where the image does not tell.")
@click.option("--ring", "only", help="Only this ring: journal, alerts or frames.")
def main(path: Path, board_name: str | None, only: str | None) -> None:
    """Print what stands in the rings of a flash image, as JSON lines."""
    image = path.read_bytes()
    faulty = False
    try:
        board = find_board(image, board_name)
        for name, sectors in places(board, path, image).items():
            if only not in (None, name):
                continue
            for line in lines(name, image, sectors, board.granularity):
                faulty = faulty or bool(line.get("faults"))
                click.echo(json.dumps(line))
    except (DumpError, boards.BoardError) as error:
        click.echo(f"dump: {error}", err=True)
        raise SystemExit(2) from error
    if faulty:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
