"""What `machine` has on every family: pins, I2C and the watchdog. What differs comes from the family and the model.

`_model` (../models/) is what one chip on one board has: PINS, ADC_PINS, I2C_PINS.
"""

import time as _time

import _boot
import _chip
import _family
import _model
import ustruct


def reset_cause():
    return _boot.cause


def unique_id():
    return _boot.unique_id


def soft_reset():
    raise SystemExit


def number_of(pin):
    """The GPIO number of a Pin or a number."""
    return pin._id if isinstance(pin, Pin) else pin


_PULLS = {_family.PIN_PULL_UP: b"\x01", _family.PIN_PULL_DOWN: b"\x02"}


class Clock:
    """The part of `RTC` that all have: (year, month, day, weekday, hour, minute, second, subsecond)."""

    def datetime(self, moment=None):
        if moment is None:
            us = _family.rtc_us()
            t = _time.gmtime(us // 1000000)
            return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], us % 1000000 if _family.RTC_HAS_SUBSECONDS else 0)
        seconds = _time.mktime((moment[0], moment[1], moment[2], moment[4], moment[5], moment[6], 0, 0))
        _family.set_rtc_us(seconds * 1000000 + (moment[7] if _family.RTC_HAS_SUBSECONDS else 0))


class Pin:
    IN = _family.PIN_IN
    OUT = _family.PIN_OUT
    PULL_UP = _family.PIN_PULL_UP
    PULL_DOWN = _family.PIN_PULL_DOWN

    def __init__(self, id, mode=-1, pull=-1, *, value=None):
        if id not in _model.PINS:
            raise ValueError("invalid pin")
        self._id = id
        self._reads = mode == Pin.IN
        self._pull = _PULLS.get(pull, b"\x00")
        self._level = 1 if value else 0

    def value(self, level=None):
        if level is None:
            return _chip.check(_chip.PIN, self._id, self._pull)[0] if self._reads else self._level
        self._level = 1 if level else 0

    __call__ = value

    def on(self):
        self._level = 1

    def off(self):
        self._level = 0


class I2C:
    """Master. What a missing acknowledge raises is the family's: OSError(_family.NO_ANSWER)."""

    def __init__(self, id=0, *, scl=None, sda=None, freq=400000, timeout=50000):
        if id not in _model.I2C_BUSES:
            raise ValueError("I2C(%d) doesn't exist" % id)
        for name, pin in (("SCL", scl), ("SDA", sda)):
            if pin is not None:
                _model.check_i2c_pin(id, name, number_of(pin))
        self._bus = id
        self._head = bytearray(4)

    def _transfer(self, addr, write, count, into=None):
        head = self._head
        head[0] = addr
        head[1] = 0
        head[2] = count & 255
        head[3] = count >> 8
        status, answer = _chip.call(_chip.I2C, self._bus, bytes(head) + write, into)
        if status:
            raise OSError(_family.NO_ANSWER)
        return answer

    def writeto(self, addr, buf, stop=True):
        self._transfer(addr, bytes(buf), 0)
        return len(buf)

    def readfrom_into(self, addr, buf, stop=True):
        self._transfer(addr, b"", len(buf), buf)

    def readfrom(self, addr, nbytes, stop=True):
        return self._transfer(addr, b"", nbytes)

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        self._transfer(addr, bytes([memaddr]) + bytes(buf), 0)

    def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
        self._transfer(addr, bytes([memaddr]), len(buf), buf)

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        return self._transfer(addr, bytes([memaddr]), nbytes)

    def scan(self):
        found = []
        for addr in range(8, 120):
            if _chip.call(_chip.I2C, self._bus, bytes([addr, 0, 0, 0]))[0] == 0:
                found.append(addr)
        return found


def adc_uv(pin, attenuation):
    """Microvolts at a GPIO of the ADC."""
    return ustruct.unpack("<i", _chip.check(_chip.ADC, pin, bytes([attenuation])))[0]


class WDT:
    """Nothing stops it but a reset: extmod/machine_wdt.c has no method for that."""

    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError("WDT(%d) doesn't exist" % id)
        _family.check_watchdog(timeout)
        _chip.watchdog(timeout)

    def feed(self):
        _chip.watchdog()
