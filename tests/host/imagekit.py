"""MicroPython images as small as the checks allow: whole, and to be damaged by tests."""

import hashlib
import random
import struct

from tools.boards import Board
from tools.flash import espimage, partition_table

CHIP_IDS = {"ESP32": 0, "ESP32-C3": 5, "ESP32-S3": 9}
FAMILIES = {"RP2040": 0xE48BFF56, "RP2350": 0xE48BFF59}
VERSION = b"v1.28.0 on 2026-04-06"


def esp_app(chip: str, payload: bytes, flash_size: int = 0x400000) -> bytes:
    """One image of the ROM's format (esptool documentation, "Firmware Image Format")."""
    size = {0x400000: 0x20, 0x800000: 0x30}[flash_size]
    header = struct.pack("<BBBBIB3sHB8sB", 0xE9, 1, 2, size, 0x40080000, 0xEE, bytes(3), CHIP_IDS[chip], 0, bytes(8), 1)
    payload = payload.ljust(-(-len(payload) // 4) * 4, b"\0")
    body = header + struct.pack("<II", 0x3FFB0000, len(payload)) + payload
    checksum = 0xEF
    for byte in payload:
        checksum ^= byte
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    return body + hashlib.sha256(body).digest()


def esp_image(board: Board, app: int = 60_000, seed: int = 1) -> bytes:
    """What micropython.org offers for an ESP board: second stage, a table of its own, the application."""
    dice = random.Random(seed)
    begin = espimage.offset(board)
    stages = {
        begin: esp_app(board.chip, dice.randbytes(5000), board.flash_size),
        partition_table.ADDRESS: partition_table.encode(board.partitions[:3]),
        0x10000: esp_app(board.chip, VERSION + dice.randbytes(app), board.flash_size),
    }
    image = b""
    for at, content in stages.items():
        image = image.ljust(at - begin, b"\xff") + content
    return image


def uf2(board: Board, blocks: int = 200, family: int | None = None, first: int = 0x10000000) -> bytes:
    """A UF2 file of whole blocks."""
    dice = random.Random(2)
    made = b""
    for number in range(blocks):
        data = VERSION.ljust(256, b"\0") if number == 3 else dice.randbytes(256)
        head = (0x0A324655, 0x9E5D5157, 0x2000, first + 256 * number, 256, number, blocks)
        made += struct.pack("<8I476sI", *head, family or FAMILIES[board.chip], data, 0x0AB16F30)
    return made
