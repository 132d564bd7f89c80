"""Raspberry Pi Pico W (RP2040): what the node sees of it. Kept equal to board.toml, which the host reads
(tests/host/test_board.py).
"""

from rp2_ports import Board
from rp2_ports.scratch import Scratch
from rp2_ports.sleeper import Sleeper

NAME = "pico_w"
# bus name: (id, scl, sda)
BUSES = {"i2c0": (0, 5, 4), "i2c1": (1, 7, 6)}
# ring: (first sector, sectors)
RINGS = {"journal": (0, 24), "alerts": (24, 8), "frames": (32, 48)}
# divider on VSYS: (pin, ratio, exponent)
BATTERY = (29, 3, 0)

_WATCHDOG_BASE = 0x40058000  # pico-sdk, addressmap.h of the chip
_sleeper = Sleeper(Scratch(_WATCHDOG_BASE))


def boot():
    """Runs before main.py: sleeps on if the last boot ended for that; else the console is attended until main.py
    begins.
    """
    _sleeper.boot()
    if not _sleeper.woke:
        from rp2_ports import service

        service.attend(True, _sleeper)


def build():
    """The ports of this board; touches neither radio nor sensor."""
    return Board(NAME, BUSES, RINGS, BATTERY, _sleeper)
