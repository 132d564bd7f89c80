"""ESP32 (4 MB flash): what the node sees of it. Kept equal to board.toml, which the host reads
(tests/host/test_board.py).
"""

from esp32_ports import Board, boot  # noqa: F401

NAME = "esp32"
# bus name: (id, scl, sda)
BUSES = {"i2c0": (0, 22, 21), "i2c1": (1, 26, 25)}
# ring: (first sector, sectors)
RINGS = {"journal": (0, 32), "alerts": (32, 16), "frames": (48, 208)}
# no divider on the supply
BATTERY = None


def build():
    """The ports of this board; touches neither radio nor sensor."""
    return Board(NAME, BUSES, RINGS, BATTERY)
