"""MicroPython images as small as the checks allow: whole, and to be damaged by tests."""

import random
import struct

from host_sim.bench.standin import VERSION, esp_app, esp_image
from tools.boards import Board

__all__ = ["FAMILIES", "VERSION", "esp_app", "esp_image", "uf2"]
FAMILIES = {"RP2040": 0xE48BFF56, "RP2350": 0xE48BFF59}


def uf2(board: Board, blocks: int = 200, family: int | None = None, first: int = 0x10000000) -> bytes:
    """A UF2 file of whole blocks."""
    dice = random.Random(2)
    made = b""
    for number in range(blocks):
        data = VERSION.ljust(256, b"\0") if number == 3 else dice.randbytes(256)
        head = (0x0A324655, 0x9E5D5157, 0x2000, first + 256 * number, 256, number, blocks)
        made += struct.pack("<8I476sI", *head, family or FAMILIES[board.chip], data, 0x0AB16F30)
    return made
