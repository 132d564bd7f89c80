"""ESP32-S3 (8 MB flash): what the node sees of it. Kept equal to board.toml, which the host reads
(tests/host/test_board.py).
"""

from esp32_ports import Board, boot  # noqa: F401

NAME = "esp32s3"
# bus name: (id, scl, sda)
BUSES = {"i2c0": (0, 9, 8), "i2c1": (1, 18, 17)}
# ring: (first sector, sectors)
RINGS = {"journal": (0, 32), "alerts": (32, 16), "frames": (48, 208)}
# no divider on the supply
BATTERY = None

# USB Serial/JTAG, FRAM_NUM, and USB OTG, DSTS.SOFFN (ESP-IDF, soc/esp32s3, usb_serial_jtag_reg.h and usb_struct.h).
# They share a pair of pins: stock MicroPython gives it to OTG (ports/esp32/mpconfigport.h, MICROPY_HW_USB_CDC).
_FRAMES = ((0x60038024, 0x7FF), (0x60080808, 0x3FFF00))


def build():
    """The ports of this board; touches neither radio nor sensor."""
    return Board(NAME, BUSES, RINGS, BATTERY, _FRAMES)
