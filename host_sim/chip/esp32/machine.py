"""`machine` of the ESP32 family (ports/esp32/modmachine.c and machine_*.c), the part that firmware here uses."""

import _boot
import _chip
import _machine
import _model
import ustruct
from _machine import I2C, WDT, Pin, reset_cause, soft_reset, unique_id  # noqa: F401

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

_MAX_RTC_MEMORY = 2048  # MICROPY_HW_RTC_USER_MEM_MAX, ports/esp32/machine_rtc.h


def reset():
    _chip.leave(_chip.RESET, HARD_RESET)


def deepsleep(time_ms=0):
    """Ends this boot. 0 sleeps until an outside event, which a node never wants."""
    _chip.leave(_chip.SLEEP, 0, ustruct.pack("<I", time_ms))


class RTC(_machine.Clock):
    def memory(self, data=None):
        if data is None:
            return bytes(_boot.kept)
        if len(data) > _MAX_RTC_MEMORY:
            raise ValueError("buffer too long")
        _boot.kept = bytes(data)
        _chip.tell(_chip.KEEP, _boot.kept)


class ADC:
    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3

    def __init__(self, pin, *, atten=ATTN_0DB):
        self._pin = _machine.number_of(pin)
        # ADC2 works only without Wi-Fi; the firmware keeps to ADC1, so nothing else is offered.
        if self._pin not in _model.ADC_PINS:
            raise ValueError("invalid pin")
        self.atten(atten)

    def atten(self, atten):
        if not 0 <= atten <= 3:
            raise ValueError("invalid atten")
        self._atten = atten

    def read_uv(self):
        return _machine.adc_uv(self._pin, self._atten)


def __getattr__(name):
    if name != "Timer":
        raise AttributeError(name)
    from _timer import Timer

    return Timer
