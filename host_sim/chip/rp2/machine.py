"""`machine` of the RP2 family (ports/rp2/modmachine.c and machine_*.c), the part that firmware here uses."""

import socket as _socket
import time as _time

import _boot
import _chip
import _family
import _machine
import _model
import ustruct
from _machine import I2C, WDT, reset_cause, soft_reset, unique_id  # noqa: F401

PWRON_RESET = 1
WDT_RESET = 3

_SCRATCH = _model.WATCHDOG_BASE + 0x0C  # WATCHDOG_SCRATCH0 of RP2040 and RP2350 alike
_WORDS = 8
_CONTROL = _model.WATCHDOG_BASE  # WATCHDOG_CTRL; bit 30 is ENABLE
_WIRES = (25, 29)  # _radio_pins.py
_RADIO_PINS = {"LED": 64, "WL_GPIO0": 64, "WL_GPIO1": 65, "WL_GPIO2": 66}


def reset():
    """The watchdog does it, so the next boot reads WDT_RESET; scratch 4 is cleared for the boot ROM."""
    _chip.leave(_chip.RESET, WDT_RESET)


def lightsleep(time_ms=None):
    """Returns at once while the radio has work pending; here it has whenever it is on, the worst that can be."""
    if time_ms is None:
        raise OSError("lightsleep: without a time it sleeps until a pin wakes it, and none does here")
    if time_ms <= 1:
        _time.sleep_ms(time_ms)
        return
    if time_ms >= (1 << 32) // 1000:
        raise ValueError("sleep too long")
    if _socket._powered:
        return
    before = _chip.now_us()
    _chip.check(_chip.LIGHTSLEEP, 0, ustruct.pack("<I", time_ms))
    _family.lightslept(_chip.now_us() - before)


def deepsleep(time_ms=None):
    """A lightsleep and a reset, and so no sleep at all while the radio is on."""
    lightsleep(time_ms)
    reset()


def bootloader(value=None):
    """The boot ROM's, which offers a drive for a UF2 file."""
    _chip.leave(_chip.BOOTLOADER, 0)


def _wires():
    import _radio_pins

    return _radio_pins


class Pin(_machine.Pin):
    """GPIOs, and by name those of the radio, whose use powers it (ports/rp2/machine_pin_cyw43.c)."""

    ALT = 3
    ALT_PIO1 = 7

    def __init__(self, id, mode=-1, pull=-1, *, value=None, alt=None):
        if isinstance(id, str) and id in _RADIO_PINS:
            _socket._powered = True
            super().__init__(0, mode, pull, value=value)
            self._id = _RADIO_PINS[id]
        else:
            super().__init__(id, mode, pull, value=value)
            if id in _WIRES:
                _wires().set_up(id, mode, alt, value)

    def init(self, mode=-1, pull=-1, *, value=None, alt=None):
        """As the constructor."""
        self.__init__(self._id, mode, pull, value=value, alt=alt)


class RTC(_machine.Clock):
    pass


class _Mem32:
    """The watchdog's scratch registers, and whether it runs. What else a real address would do nobody simulates: it is
    refused.
    """

    def _index(self, address):
        index, rest = divmod(address - _SCRATCH, 4)
        if rest or not 0 <= index < _WORDS:
            raise OSError("mem32: nothing is simulated at 0x%x" % address)
        return index

    def __getitem__(self, address):
        if address == _CONTROL:
            return 1 << 30 if any(_chip.check(_chip.WATCHDOG)) else 0
        return ustruct.unpack_from("<I", _boot.kept, 4 * self._index(address))[0]

    def __setitem__(self, address, value):
        kept = bytearray(_boot.kept)
        ustruct.pack_into("<I", kept, 4 * self._index(address), value & 0xFFFFFFFF)
        _boot.kept = kept
        _chip.tell(_chip.KEEP, kept)


mem32 = _Mem32()


class ADC:
    """12 bits, read as 16; no calibration and no `read_uv` (ports/rp2/machine_adc.c)."""

    def __init__(self, pin):
        self._pin = _machine.number_of(pin)
        if self._pin == _WIRES[1]:
            _wires().take()
        elif self._pin not in _model.ADC_PINS:
            raise ValueError("Pin doesn't have ADC capabilities")

    def read_u16(self):
        uv = _machine.adc_uv(self._pin, 0)
        if self._pin == _WIRES[1]:
            uv = _wires().seen(uv)
        raw = min(max(uv * 4095 // 3300000, 0), 4095)
        return raw << 4 | raw >> 8


def __getattr__(name):
    if name != "Timer":
        raise AttributeError(name)
    from _timer import Timer

    return Timer
