"""How often a node's flash is erased: as it was, from an image; as it will be, from a node file.

    python -m tools.wear NODEFILE          projected erases and life, a line for each ring
    python -m tools.wear --image IMAGE     how often each sector was opened

A ring opens its sectors in turn, so its sectors are worn alike to within one erase (`ring.wear_spread` of `make
bench`), and a header's lap says how often (lib/flashring/SPEC.md). A boot after a cut may cost one erase more and up to
three pages.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from host_sim.image.sector import read_header
from tools import boards, dump, nodefile
from tools.boards import ENDURANCE, SECTOR, Board

_DAY = 86_400
_ROW = 18  # firmware/node/JOURNAL.md
_VALUE = 4
_SHORT_MAX = 61
_CURSOR = 9
_HEADER = 26
_FRAME_ROWS = 100  # rows that make a frame without waiting for the report (firmware/node/app.py)
_FRAME = 6 + 13 + 3 + 7  # name, codec header, CRC (lib/codec/SPEC.md), record
_EVENT = 24  # bytes of a usual one


@dataclass(frozen=True)
class Wear:
    """What a ring goes through: bytes programmed and erases of each of its `sectors`, per day; the life until
    ENDURANCE, in years; and how many days of records it holds before the oldest must go."""

    ring: str
    sectors: int
    bytes_per_day: float
    erases_per_day: float
    years: float
    days_held: float


def _entry(length: int, granularity: int) -> int:
    size = length + (3 if length <= _SHORT_MAX else 7)
    return math.ceil(size / granularity) * granularity


def _rows(settings: Mapping[str, Any]) -> list[int]:
    """The number of values in each row of a day: at every slot of a sensor those of all sensors that are due."""
    sensors = [(sensor["interval"], len(sensor["channels"])) for sensor in settings["sensors"]]
    step = math.gcd(*[interval for interval, _ in sensors])
    slots = ([count for interval, count in sensors if at % interval == 0] for at in range(0, _DAY, step))
    return [sum(due) for due in slots if due]


def project(settings: Mapping[str, Any], board: Board, events_per_day: float = 10) -> list[Wear]:
    """The wear of each ring of a node with these `settings` (tools.nodefile), contacts included.

    A value in a frame is taken as 2 bytes, a row's time and mask as 3: measured on weather, and kind to none.
    """
    unit = board.granularity
    rows = _rows(settings)
    frames = max(_DAY / settings["report"], len(rows) / _FRAME_ROWS)
    journal = sum(_entry(_ROW + _VALUE * values, unit) for values in rows) + frames * _entry(_CURSOR - 3, unit)
    channels = len(settings["channels"])
    rows_in_frame = len(rows) / frames
    frame = _FRAME + 2 * channels + rows_in_frame * (3 + 2 * sum(rows) / len(rows))
    per_frame = math.ceil(frame / unit) * unit
    cursor = _entry(_CURSOR - 3, unit)
    daily = {
        "journal": journal,
        "frames": frames * (per_frame + cursor),
        "alerts": events_per_day * (_entry(_EVENT, unit) + cursor),
    }
    usable = SECTOR - (_HEADER if unit < 256 else 0)
    result = []
    for name, amount in daily.items():
        _, count = board.rings[name]
        erases = amount / usable / count
        held = (count - 2) * usable / amount
        result.append(Wear(name, count, amount, erases, ENDURANCE / erases / 365.25, held))
    return result


def opened(image: bytes, sectors: Sequence[int], unit: int) -> list[int]:
    """How often each of a ring's sectors was opened, by the lap that it holds; 0: never, or its header is gone."""
    found = []
    for index, number in enumerate(sectors):
        header = read_header(image[number * SECTOR : (number + 1) * SECTOR], index, len(sectors), unit)
        found.append(0 if header is None else header.lap // len(sectors) + 1)
    return found


@click.command()
@click.argument("node", metavar="[NODEFILE]", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A flash image.")
@click.option("--board", "board_name", help="The image's board, where it does not tell.")
def main(node: Path | None, image: Path | None, board_name: str | None) -> None:
    """Projected or actual wear of a node's rings."""
    if node is None and image is None:
        raise click.UsageError("name a node file, or --image")
    try:
        if node is not None:
            file = nodefile.load(node)
            for wear in project(file.settings(), boards.load(file.board)):
                yearly = wear.erases_per_day * 365.25
                click.echo(
                    f"{wear.ring}: {wear.bytes_per_day:,.0f} bytes a day, each of {wear.sectors} sectors erased "
                    f"{yearly:.1f} times a year, {wear.years:,.0f} years to {ENDURANCE:,}; "
                    f"holds {wear.days_held:.1f} days"
                )
        if image is not None:
            data = image.read_bytes()
            board = dump.find_board(data, board_name)
            for name, sectors in dump.places(board, image, data).items():
                counts = opened(data, sectors, board.granularity)
                click.echo(f"{name}: sectors opened {min(counts)} to {max(counts)} times: {counts}")
    except (dump.DumpError, boards.BoardError, nodefile.NodeFileError) as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
