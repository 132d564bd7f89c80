"""An ESP32 image that stands in for MicroPython: whole by every check of a boot ROM, and nothing runs in it.

The simulated board's Python is the VM's own; what lies in flash where MicroPython would is never executed.
"""

import hashlib
import random
import struct

from tools.boards import Board
from tools.flash import partition_table

VERSION = b"v1.28.0 on 2026-04-06"
_CHIP_IDS = {"ESP32": 0, "ESP32-C3": 5, "ESP32-S3": 9}
_SIZES = {0x400000: 0x20, 0x800000: 0x30}
_APP = 0x10000


def esp_app(chip: str, payload: bytes, flash_size: int = 0x400000) -> bytes:
    """One image of the ROM's format (esptool documentation, "Firmware Image Format")."""
    size = _SIZES[flash_size]
    number = _CHIP_IDS[chip]
    header = struct.pack("<BBBBIB3sHB8sB", 0xE9, 1, 2, size, 0x40080000, 0xEE, bytes(3), number, 0, bytes(8), 1)
    payload = payload.ljust(-(-len(payload) // 4) * 4, b"\0")
    body = header + struct.pack("<II", 0x3FFB0000, len(payload)) + payload
    checksum = 0xEF
    for byte in payload:
        checksum ^= byte
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def esp_image(board: Board, app: int = 60_000, seed: int = 1) -> bytes:
    """As micropython.org has it for an ESP board: second stage, a table of its own, the application of `app` bytes."""
    dice = random.Random(seed)
    begin = board.rom.offset
    stages = {
        begin: esp_app(board.chip, dice.randbytes(5000), board.flash_size),
        partition_table.ADDRESS: partition_table.encode(board.partitions[:3]),
        _APP: esp_app(board.chip, VERSION + dice.randbytes(app), board.flash_size),
    }
    image = b""
    for at, content in stages.items():
        image = image.ljust(at - begin, b"\xff") + content
    return image
