"""MicroPython images of the ESP32 family: checked, and given our partition table in place of their own.

Image format: ESP-IDF, esp_app_format.h, and esptool's "Firmware Image Format".
"""

from __future__ import annotations

import hashlib
import struct

from tools.boards import Board, chip_of
from tools.flash import Refusal
from tools.flash import partition_table as tables

_HEADER = struct.Struct("<BBBBIB3sHB8xB")  # magic, segments, mode, size and speed, entry, WP, drive, chip, ..., hash
_MAGIC = 0xE9


def chip_id(board: Board) -> bytes:
    """What an image of this board's chip has at 12."""
    return board.rom.id.to_bytes(2, "little")


def prepare(image: bytes, board: Board, name: str) -> bytes:
    """`image` with the partition table of `board`, to be written at `board.rom.offset`.

    Refuses what is not whole, not of this chip, or does not fit the table; `name` is how it is called then.
    """
    begin = board.rom.offset
    app = next((each for each in board.partitions if each.type == 0), None)
    if app is None:
        raise Refusal(f"boards/{board.name}: its partition table has no app")
    _check(image, 0, board, f"{name}: second-stage loader")
    end = app.offset - begin + _check(image, app.offset - begin, board, f"{name}: application")
    if end + begin > app.offset + app.size:
        over = end + begin - app.offset - app.size
        raise Refusal(f"{name}: the application is {over} bytes too long for partition {app.label!r} of {board.name}")
    table = tables.ADDRESS - begin
    if tables.decode(image[table : table + tables.SIZE]) in (None, ()):
        raise Refusal(f"{name}: no partition table at {tables.ADDRESS:#x}; take a whole image from micropython.org")
    if image[end:].strip(b"\xff\0"):
        raise Refusal(f"{name}: {len(image) - end} bytes behind the application, which lie in other partitions")
    return image[:table] + tables.encode(board.partitions).ljust(0x1000, b"\xff") + image[table + 0x1000 :]


def _check(image: bytes, at: int, board: Board, what: str) -> int:
    """One image of the ROM's format -> its length. Its own checksum and SHA-256 tell whether it is whole."""
    if len(image) < at + _HEADER.size:
        raise Refusal(f"{what}: the file ends at {len(image)} bytes, before it begins; download it again")
    magic, segments, *_, chip, _, hashed = _HEADER.unpack_from(image, at)
    if magic != _MAGIC:
        raise Refusal(f"{what}: begins with {magic:#04x}, an image for ESP chips with 0xe9; is this the right file?")
    if chip != board.rom.id:
        found = chip_of(board.family, chip) or f"chip id {chip}"
        raise Refusal(f"{what}: is for {found}, {board.name} has an {board.chip}; take {board.build}")
    position, checksum = at + _HEADER.size, 0xEF
    for _ in range(segments):
        if position + 8 > len(image):
            raise Refusal(f"{what}: cut off; download it again")
        length = struct.unpack_from("<I", image, position + 4)[0]
        checksum ^= _xor(image[position + 8 : position + 8 + length])
        position += 8 + length
    position += 15 - (position - at) % 16  # the checksum ends a line of 16 bytes
    if position + 1 + 32 * hashed > len(image):
        raise Refusal(f"{what}: cut off; download it again")
    body, position = image[at : position + 1], position + 1
    if body[-1] != checksum:
        raise Refusal(f"{what}: damaged (checksum); download it again")
    if hashed and hashlib.sha256(body).digest() != image[position : position + 32]:
        raise Refusal(f"{what}: damaged (SHA-256); download it again")
    return position - at + 32 * hashed


def _xor(data: bytes) -> int:
    """All bytes exclusive-ored, by halves of one long integer."""
    value, bits = int.from_bytes(data, "little"), 8 * (1 << max(0, len(data) - 1).bit_length())
    while bits > 8:
        bits //= 2
        value = value >> bits ^ value & (1 << bits) - 1
    return value
