"""`machine` of the ESP32 (ports/esp32/modmachine.c and machine_*.c), the part that firmware here uses."""

import time as _time

import _boot
import _chip
import _family
import ustruct

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

_MAX_RTC_MEMORY = 2048  # MICROPY_HW_RTC_USER_MEM_MAX, ports/esp32/machine_rtc.h


def reset_cause():
    return _boot.cause


def unique_id():
    return _boot.unique_id


def reset():
    _chip.leave(_chip.RESET, HARD_RESET)


def deepsleep(time_ms=0):
    """Ends this boot. 0 sleeps until an outside event, which a node never wants."""
    _chip.leave(_chip.SLEEP, 0, ustruct.pack("<I", time_ms))


class RTC:
    def memory(self, data=None):
        if data is None:
            return bytes(_boot.rtc_memory)
        if len(data) > _MAX_RTC_MEMORY:
            raise ValueError("buffer too long")
        _boot.rtc_memory = bytes(data)
        _chip.check(_chip.RTC_MEMORY, 0, _boot.rtc_memory)

    def datetime(self, moment=None):
        """(year, month, day, weekday, hour, minute, second, microsecond)."""
        if moment is None:
            us = _family.rtc_us()
            t = _time.gmtime(us // 1000000)
            return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], us % 1000000)
        seconds = _time.mktime((moment[0], moment[1], moment[2], moment[4], moment[5], moment[6], 0, 0))
        _family.set_rtc_us(seconds * 1000000 + moment[7])


class Pin:
    IN = 1
    OUT = 3
    PULL_UP = 2
    PULL_DOWN = 1

    def __init__(self, id, mode=-1, pull=-1, *, value=None):
        if id not in _PINS:
            raise ValueError("invalid pin")
        self._id = id
        self._level = 1 if value else 0

    def value(self, level=None):
        if level is None:
            return self._level
        self._level = 1 if level else 0

    __call__ = value

    def on(self):
        self._level = 1

    def off(self):
        self._level = 0


# GPIO 20, 24 and 28-31 do not exist, 6-11 carry the flash (ESP32 datasheet, table 2-1).
_PINS = (0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 25, 26, 27, 32, 33, 34, 35, 36, 37, 38, 39)


class ADC:
    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3

    def __init__(self, pin, *, atten=ATTN_0DB):
        self._pin = pin._id if isinstance(pin, Pin) else pin
        # ADC2 (0, 2, 4, 12-15, 25-27) works only without Wi-Fi; the firmware keeps to ADC1, so nothing else is offered.
        if self._pin not in (32, 33, 34, 35, 36, 37, 38, 39):
            raise ValueError("invalid pin")
        self.atten(atten)

    def atten(self, atten):
        if not 0 <= atten <= 3:
            raise ValueError("invalid atten")
        self._atten = atten

    def read_uv(self):
        answer = _chip.check(_chip.ADC, self._pin, bytes([self._atten]))
        return ustruct.unpack("<i", answer)[0]


class I2C:
    """Master on bus 0 or 1. OSError(19) when nobody answers, as machine_hw_i2c.c reports a missing acknowledge."""

    def __init__(self, id=0, *, scl=None, sda=None, freq=400000, timeout=50000):
        if id not in (0, 1):
            raise ValueError("I2C(%d) doesn't exist" % id)
        self._bus = id
        self._head = bytearray(4)

    def _transfer(self, addr, write, count, into=None):
        head = self._head
        head[0] = addr
        head[1] = 0
        head[2] = count & 255
        head[3] = count >> 8
        return _chip.check(_chip.I2C, self._bus, bytes(head) + write, into)

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
