"""The ports of an ESP32, ESP32-C3 or ESP32-S3, from what its board package says of pins and rings."""

import sys

import machine
from machine import ADC, I2C, Pin

from .clock import Clock
from .flash import Flash
from .power import Power


class Board:
    """One per boot. `buses`: {name: (id, scl, sda)}; `rings`: {name: (first sector, sectors)} of the partition
    `ring`; `battery`, `frames`: see Power.
    """

    def __init__(self, name, buses, rings, battery, frames=()):
        self.name = name
        self.rings = rings
        self.clock = Clock()
        self.flash = Flash()
        self.power = Power(battery, frames)
        self._pins = buses
        self._buses = {}

    def i2c(self, bus):
        """The bus `bus` at 400 kHz; ValueError for a bus this board does not have."""
        if bus not in self._buses:
            if bus not in self._pins:
                raise ValueError("board: no bus %s; there are %s" % (bus, ", ".join(self._pins)))
            number, scl, sda = self._pins[bus]
            self._buses[bus] = I2C(number, scl=Pin(scl), sda=Pin(sda), freq=400000)
        return self._buses[bus]

    def adc(self, pin):
        """ADC1 on GPIO `pin`, range to about 2.45 V; its `read_uv()` is calibrated by the chip's eFuse."""
        return ADC(Pin(pin), atten=ADC.ATTN_11DB)

    def held(self, pin):
        """Whether GPIO `pin`, pulled up, is held low. GPIO 34-39 of an ESP32 need a resistor for that. ValueError: no
        such pin.
        """
        return not Pin(pin, Pin.IN, Pin.PULL_UP).value()

    def attend(self, on):
        """While a host has the console: a timer feeds the watchdog, if it was started, and resets the board after 15
        minutes. False ends that.
        """
        from . import service

        service.attend(on, self.power.armed())
        if not on:  # the memory is wanted for a TLS session
            for name in (__name__ + ".service", "attendance"):
                sys.modules.pop(name, None)
            globals().pop("service", None)

    def radio(self):
        """The Wi-Fi station. Imported when first asked for: most wakes never need it."""
        from .radio import Radio

        return Radio()

    def led(self):
        """None: boards of this family have no light in common."""
        return None

    def chip_id(self):
        """The chip's unique id, 6 bytes."""
        return machine.unique_id()


def boot():
    """Runs before main.py, which ends what begins here; but a soft reset out of the raw REPL leaves it out, and the
    watchdog may run. This family sleeps by itself: a wake needs nothing.
    """
    if machine.reset_cause() != machine.DEEPSLEEP_RESET:
        from . import service

        service.attend(True, service.left_armed())
