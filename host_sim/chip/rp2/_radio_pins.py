"""GPIO 25 and 29 of a board with a CYW43439: chip select and clock of the radio's SPI, and, while 25 is high and the
radio silent, the middle of a divider on VSYS at 29 (Pico W datasheet, 2.1). Loaded while one of them is out of the
radio's hands.
"""

import socket as _socket
import sys

SELECT, CLOCK = 25, 29
# What the ADC reads at the clock where the divider is not switched on: 0.03 V (micropython #10406).
NOTHING_UV = 30600

kept = False  # on a board at a cable, as _timer.py's
_high = False  # 25 is driven high
_taken = False  # 29 is not the clock any more


def set_up(pin, mode, alt, level):
    """A Pin was made or set anew."""
    global _high
    if pin == SELECT and mode != -1:
        _high = mode == 1 and bool(level)
    elif pin == CLOCK and mode == 3 and alt == 7:  # PIO 1
        release()
    elif pin == CLOCK and mode != -1:
        take()


def selected():
    """The level of 25."""
    return 1 if _high else 0


def take():
    """The radio's clock is used otherwise: what it was doing is lost."""
    global _taken
    _taken = True
    if _socket._powered:
        _socket._link(False)


def release():
    """The radio has its clock again."""
    global _taken
    _taken = False
    if not _high and not kept:
        sys.modules.pop(__name__)  # a real one takes none of the heap


def seen(uv):
    """Microvolts that the ADC at 29 sees. A radio that has power talks now and then, even to nobody."""
    return uv if _high and _taken and not _socket._powered else NOTHING_UV


def check():
    """ETIMEDOUT where the radio has no clock; the driver itself prints that and leaves the interface down."""
    if _taken:
        raise OSError(110)
