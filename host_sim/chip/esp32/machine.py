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

_HOST_SUPPLY = 66  # not a pin here: host_sim/hardware/chip.py knows by it whether a host is there
_STOPPED = 0x155  # where it counted to when the host left
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


class _Mem32:
    """The registers that count frames of a USB host, if the chip has any. What else a real address would do nobody
    simulates: it is refused.
    """

    def __getitem__(self, address):
        if address not in _model.USB_FRAMES:
            raise OSError("mem32: nothing is simulated at 0x%x" % address)
        first, now = _model.USB_FRAMES[address], _chip.now_us()
        if first is None:
            return 0
        noise = now & ((1 << first) - 1)  # of the other fields
        there = _chip.check(_chip.PIN, _HOST_SUPPLY, b"\x00")[0]
        return (now // 1000 & 0x7FF if there else _STOPPED) << first | noise


mem32 = _Mem32()


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
