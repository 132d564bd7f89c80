"""What a board is, read from boards/<board>/board.toml without running its code (boards/README.md).

`load(name)` gives a Board; everything on the host that must know a flash layout, a pin or a heap takes it from there.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.catalogue import BOARDS
from tools.catalogue import boards as names
from tools.toml_lines import tomllib

SECTOR = 4096
ENDURANCE = 100_000
"""Erases that a sector stands: W25Q32JV datasheet, rev. G, and other NOR flash of the kind."""
_TYPES = {"app": 0, "data": 1}
_SUBTYPES = {"factory": 0, "ota_0": 0x10, "ota_1": 0x11, "ota": 0, "phy": 1, "nvs": 2, "fat": 0x81}


class BoardError(Exception):
    """A board's description cannot be used; the text says which and why."""


@dataclass(frozen=True)
class Partition:
    """An entry of an ESP32's partition table; offset and size in bytes."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int


@dataclass(frozen=True)
class Divider:
    """Two resistors on the battery: its voltage is that at GPIO `pin` times `ratio` * 10 ** `exponent`."""

    pin: int
    ratio: int
    exponent: int


@dataclass(frozen=True)
class Power:
    """Currents at the board's supply pin, but `sleep_ua` to `peak_ma` of an ESP32 at its chip's 3.3 V, with a linear
    regulator between. Processor awake without radio; radio receiving, processor included; at most, while it sends.
    `idle_ua`: what the board takes on top, always. `supply_mv`: (least, most) at the supply pin.
    """

    sleep_ua: int
    awake_ma: int
    radio_ma: int
    peak_ma: int
    idle_ua: int
    supply_mv: tuple[int, int]
    battery: Divider | None


@dataclass(frozen=True)
class Rom:
    """What the chip's boot ROM looks for. `id`: of an image for this chip, an ESP image's chip id or a UF2 file's
    family. `offset`: where in an ESP's flash it begins; `volume`: the Board-ID of the drive that an RP2 offers.
    """

    id: int
    offset: int = 0
    volume: str = ""


@dataclass(frozen=True)
class Board:
    """`storage` is the filesystem, as (offset, size) in bytes of the flash. `rings` are (first sector, sectors) counted
    in the `ring` partition, or, where `reserved` names a folder of reservation files, in the map of those
    (lib/reservation/SPEC.md). `i2c` maps a bus to (id, scl, sda). `heap` is what the garbage collector has, in bytes.
    `free` is a GPIO on a pin of the board that carries nothing.
    """

    name: str
    family: str
    chip: str
    rom: Rom
    build: str
    flash_size: int
    granularity: int
    heap: int
    storage: tuple[int, int]
    partitions: tuple[Partition, ...]
    reserved: str | None
    rings: Mapping[str, tuple[int, int]]
    i2c: Mapping[str, tuple[int, int, int]]
    adc: tuple[int, ...]
    free: int
    power: Power

    @property
    def packages(self) -> tuple[Path, Path]:
        """The folders that the device's path holds for this board: its own and its family's."""
        return BOARDS / self.name, BOARDS / f"{self.family}-family"

    @property
    def ring_sectors(self) -> int:
        """Sectors of all rings together."""
        return max(first + count for first, count in self.rings.values())


def load(name: str, boards: Path = BOARDS) -> Board:
    """The description of the board `name`. Raises BoardError."""
    path = boards / name / "board.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        partitions = _partitions(path.parent / data["partitions"]) if "partitions" in data else ()
        return Board(
            name=name,
            family=data["family"],
            chip=data["chip"],
            rom=Rom(**data["rom"]),
            build=data["build"],
            flash_size=data["flash_size"],
            granularity=data["granularity"],
            heap=data["heap"],
            storage=_storage(data, partitions),
            partitions=partitions,
            reserved=data.get("reserved"),
            rings={ring: (place[0], place[1]) for ring, place in data["rings"].items()},
            i2c={bus: (pins["id"], pins["scl"], pins["sda"]) for bus, pins in data["i2c"].items()},
            adc=tuple(data["adc"]),
            free=data["free"],
            power=_power(data["power"]),
        )
    except OSError as error:
        raise BoardError(f"{error.filename}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        raise BoardError(f"{path}: {error!r}") from error


def chip_of(family: str, image: int) -> str | None:
    """The chip, of a known board, whose boot ROM takes images with the id `image`; None: of no board."""
    known = map(load, names())
    return next((board.chip for board in known if (board.family, board.rom.id) == (family, image)), None)


def _storage(data: dict[str, Any], partitions: tuple[Partition, ...]) -> tuple[int, int]:
    if "storage" in data:
        return data["storage"]["offset"], data["storage"]["size"]
    (found,) = (each for each in partitions if each.label == "vfs")
    return found.offset, found.size


def _power(data: dict[str, Any]) -> Power:
    least, most = data["supply_mv"]
    battery = Divider(**data["battery"]) if "battery" in data else None
    return Power(**data | {"supply_mv": (least, most), "battery": battery})


def _partitions(path: Path) -> tuple[Partition, ...]:
    """A table as ESP-IDF's gen_esp32part.py reads it; here every offset must be given."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip() and line[0] != "#"]
    found = []
    for label, kind, subtype, offset, size, *_ in csv.reader(lines, skipinitialspace=True):
        number = _SUBTYPES[subtype] if subtype in _SUBTYPES else int(subtype, 0)
        found.append(Partition(label, _TYPES[kind], number, int(offset, 0), int(size, 0)))
    return tuple(found)
