"""VSYS by the ADC, on a board whose radio lies on the same pins: GPIO 29 is the clock of the radio's SPI and, while
GPIO 25, the radio's chip select, is high, the middle of a divider on VSYS (Pico W datasheet, 2.1).
"""

import sys

import divider
import network
from machine import Pin

from .adc import Adc

_SELECT = 25
_LEAST_MV = 1800  # the board's regulator does not start below (Pico W datasheet, 2.1): it would be no measurement


def asked(battery, known):
    """VSYS, measured if the radio is off, else as it is `known`. A TLS session follows, and wants the memory."""
    if not network.WLAN(network.STA_IF).active():
        known = millivolts(*battery)
    package = sys.modules[__name__.rpartition(".")[0]]
    for name in ("supply", "adc"):
        sys.modules.pop("%s.%s" % (package.__name__, name), None)
        delattr(package, name)
    sys.modules.pop("divider", None)
    return known


def millivolts(pin, ratio, exponent):
    """Of VSYS, the battery's or what is left of USB's behind a diode; 0 where the radio had the pin. Only while the
    radio is off: it loses its clock meanwhile. Pins are left as the radio's driver has them.
    """
    select = Pin(_SELECT, Pin.OUT, value=1)
    try:
        mv = divider.millivolts(Adc(pin), ratio, exponent)
    finally:
        # High would feed a radio without supply through its pin.
        select.init(Pin.OUT, Pin.PULL_DOWN, value=0)
        # The driver's SPI runs on PIO 1 (pico-sdk, cyw43_bus_pio_spi.c, CYW43_SPI_PIO_PREFERRED_PIO).
        Pin(pin, Pin.ALT, Pin.PULL_DOWN, alt=Pin.ALT_PIO1)  # pyright: ignore[reportAttributeAccessIssue]
    return mv if mv >= _LEAST_MV else 0
