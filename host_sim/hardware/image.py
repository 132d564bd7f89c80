"""The flash of a new board, and whose flash an image is: the markers that each chip's boot ROM looks for."""

import struct
from pathlib import Path

from host_sim.hardware.flash import SECTOR, Flash
from tools.boards import Board
from tools.flash import partition_table

# esp_image_header_t (ESP-IDF, esp_app_format.h): magic, segments, SPI mode, size and speed, entry, WP pin, drive,
# chip id.
_ESP_MAGIC = 0xE9
_ESP_HEADER = struct.Struct("<BBBBIB3sH")
_ESP_IDS = {"ESP32": 0, "ESP32-C3": 5, "ESP32-S3": 9}
_ESP_SIZES = {0x100000: 0, 0x200000: 1, 0x400000: 2, 0x800000: 3, 0x1000000: 4}
_ESP_LOADERS = {"ESP32": 0x1000, "ESP32-C3": 0, "ESP32-S3": 0}
# Second stage of the RP2040 (datasheet, 2.8.1.3.1): 252 bytes and their CRC-32/MPEG-2.
_BOOT2 = 252
# Block of the RP2350 (datasheet, 5.9): an IMAGE_DEF of an Arm executable, the end of the list, a loop to itself.
_PICOBIN = struct.pack("<IBBHBHBiI", 0xFFFFDED3, 0x42, 1, 0x1021, 0xFF, 1, 0, 0, 0xAB123579)


class WrongImageError(ValueError):
    """A flash image that is not of this board."""


def blank(path: Path, board: Board) -> None:
    """An erased flash but for what tells the boot ROM its chip, and the partition table where the board has one."""
    image = bytearray(b"\xff") * board.flash_size
    for at, data in _markers(board):
        image[at : at + len(data)] = data
    path.write_bytes(image)


def open_flash(path: Path, board: Board) -> Flash:
    """The flash in the file `path`, made blank if missing. Raises WrongImageError for another board's."""
    if not path.exists():
        blank(path, board)
    size = path.stat().st_size
    chip = chip_of(path.read_bytes())
    found = f"the flash of {'an unknown chip' if chip is None else chip} with {size >> 10} KiB"
    if chip != board.chip or size != board.flash_size:
        raise WrongImageError(f"{path}: {found}, not of {board.name}: {board.chip} with {board.flash_size >> 10} KiB")
    return Flash(path, board.flash_size)


def chip_of(image: bytes) -> str | None:
    """The chip that would boot from `image`, or None."""
    if _crc32_mpeg2(image[:_BOOT2]) == int.from_bytes(image[_BOOT2 : _BOOT2 + 4], "little"):
        return "RP2040"
    if _PICOBIN[:4] in image[:SECTOR]:
        return "RP2350"
    for chip, at in _ESP_LOADERS.items():
        if len(image) >= at + _ESP_HEADER.size:
            magic, *_, number = _ESP_HEADER.unpack_from(image, at)
            if magic == _ESP_MAGIC and number == _ESP_IDS[chip]:
                return chip
    return None


def _markers(board: Board) -> list[tuple[int, bytes]]:
    if board.chip == "RP2040":
        boot2 = bytes(_BOOT2)
        return [(0, boot2 + _crc32_mpeg2(boot2).to_bytes(4, "little"))]
    if board.chip == "RP2350":
        return [(0, _PICOBIN)]
    size = _ESP_SIZES[board.flash_size] << 4
    header = _ESP_HEADER.pack(_ESP_MAGIC, 0, 2, size, 0, 0xEE, bytes(3), _ESP_IDS[board.chip])
    return [(_ESP_LOADERS[board.chip], header), (partition_table.ADDRESS, partition_table.encode(board.partitions))]


def _crc32_mpeg2(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)
            crc &= 0xFFFFFFFF
    return crc
