"""ESP32 (4 MB flash): the ports that the node sees. `build()` makes them and touches neither radio nor sensor."""

import machine
from machine import ADC, I2C, Pin

from .clock import Clock
from .flash import Flash
from .power import Power

NAME = "esp32"
# bus name: (id, scl, sda)
BUSES = {"i2c0": (0, 22, 21), "i2c1": (1, 26, 25)}
# ring: (first sector, sectors) of the `ring` partition
RINGS = {"journal": (0, 32), "alerts": (32, 16), "frames": (48, 208)}


class Board:
    """One per boot."""

    name = NAME
    rings = RINGS

    def __init__(self):
        self.clock = Clock()
        self.flash = Flash()
        self.power = Power()
        self._buses = {}

    def i2c(self, bus):
        """The bus `bus` at 400 kHz; ValueError for a bus this board does not have."""
        if bus not in self._buses:
            if bus not in BUSES:
                raise ValueError("board: no bus %s; there are %s" % (bus, ", ".join(BUSES)))
            number, scl, sda = BUSES[bus]
            self._buses[bus] = I2C(number, scl=Pin(scl), sda=Pin(sda), freq=400000)
        return self._buses[bus]

    def adc(self, pin):
        """ADC1 on GPIO `pin`, range to about 2.45 V; its `read_uv()` is calibrated by the chip's eFuse."""
        return ADC(Pin(pin), atten=ADC.ATTN_11DB)

    def radio(self):
        """The Wi-Fi station. Imported when first asked for: most wakes never need it."""
        from .radio import Radio

        return Radio()

    def chip_id(self):
        """The chip's unique id, 6 bytes."""
        return machine.unique_id()


def build():
    """The ports of this board."""
    return Board()
