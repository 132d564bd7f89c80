"""`time` as an ESP32 or RP2 offers it, on the simulated clock. Epoch and RTC come from the family (`_family`)."""

import _chip
import _family
import utime

# Period of ticks on boards with 31-bit small ints: py/mpconfig.h, MICROPY_PY_TIME_TICKS_PERIOD.
_PERIOD = 1 << 30
_start = 0
_offset = 0


def _begin(ticks):
    """The boot's first moment reads `ticks`."""
    global _start, _offset
    _start = _chip.now_us()
    _offset = ticks * 1000


def ticks_ms():
    return (_chip.now_us() - _start + _offset) // 1000 & (_PERIOD - 1)


def ticks_us():
    return (_chip.now_us() - _start + _offset) & (_PERIOD - 1)


ticks_cpu = ticks_us


def ticks_diff(end, start):
    return ((end - start + (_PERIOD >> 1)) & (_PERIOD - 1)) - (_PERIOD >> 1)


def ticks_add(ticks, delta):
    if not -(_PERIOD >> 1) < delta < _PERIOD >> 1:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) & (_PERIOD - 1)


def sleep_us(us):
    if us > 0:
        _chip.sleep_us(us)


def sleep_ms(ms):
    if ms > 0:
        _chip.sleep_us(ms * 1000)


def sleep(seconds):
    if seconds > 0:
        _chip.sleep_us(int(seconds * 1000000))


def time():
    """Whole seconds since the family's epoch, from the RTC."""
    return _family.rtc_us() // 1000000


def time_ns():
    return _family.rtc_us() * 1000


def gmtime(seconds=None):
    if seconds is None:
        seconds = time()
    return utime.gmtime(seconds + _family.UNIX_EPOCH_OFFSET)[:8]


localtime = gmtime


def mktime(moment):
    return int(utime.mktime(tuple(moment[:8]) + (0,))) - _family.UNIX_EPOCH_OFFSET
