"""The ports of an RP2040 or RP2350 with a CYW43439, from what its board package says of pins, rings and registers."""

import sys

import machine
from machine import I2C, Pin

from .clock import Clock
from .flash import Flash
from .power import Power


class Board:
    """One per boot. `buses`: {name: (id, scl, sda)}; `rings`: {name: (first sector, sectors)} of the reserved ones;
    `sleeper`: the Sleeper whose `boot()` ran before; `battery`: see Power.
    """

    def __init__(self, name, buses, rings, battery, sleeper):
        self.name = name
        self.rings = rings
        self.clock = Clock(sleeper)
        self.power = Power(sleeper, self.clock, battery)
        sectors = max([first + count for first, count in rings.values()])
        self.flash = Flash(sectors, not sleeper.woke)
        self._sleeper = sleeper
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
        """The ADC on GPIO `pin`, 0 to 3.3 V against the board's supply: this chip has no calibration. ValueError: it is
        none of 26-28; 29 is the radio's.
        """
        from .adc import port

        return port(pin)

    def held(self, pin):
        """Whether GPIO `pin`, pulled up, is held low. ValueError: no such pin."""
        return not Pin(pin, Pin.IN, Pin.PULL_UP).value()

    def attend(self, on):
        """While a host has the console: a timer feeds the watchdog, if it was started, and resets the board after 15
        minutes. False ends that.
        """
        from . import service

        service.attend(on, self._sleeper)
        if not on:  # the memory is wanted for a TLS session
            for name in (__name__ + ".service", "attendance"):
                sys.modules.pop(name, None)
            globals().pop("service", None)

    def radio(self):
        """The Wi-Fi station. Imported when first asked for: most wakes never need it."""
        from .radio import Radio

        return Radio()

    def led(self):
        """The light on the board, which hangs on the radio chip: a Pin."""
        return Pin("LED", Pin.OUT)

    def chip_id(self):
        """The flash chip's unique id, 8 bytes."""
        return machine.unique_id()
