"""ESP32-C3 (4 MB flash): what the node sees of it. Kept equal to board.toml, which the host reads
(tests/host/test_board.py).
"""

from esp32_ports import Board, boot  # noqa: F401

NAME = "esp32c3"
# bus name: (id, scl, sda)
BUSES = {"i2c0": (0, 7, 6)}
# ring: (first sector, sectors)
RINGS = {"journal": (0, 32), "alerts": (32, 16), "frames": (48, 208)}
# no divider on the supply
BATTERY = None

# USB Serial/JTAG, FRAM_NUM (ESP-IDF, soc/esp32c3/usb_serial_jtag_reg.h): the console is there.
_FRAMES = ((0x60043024, 0x7FF),)


def build():
    """The ports of this board; touches neither radio nor sensor."""
    return Board(NAME, BUSES, RINGS, BATTERY, _FRAMES)
