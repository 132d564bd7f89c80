"""What the ESP32 family adds to the simulated chip: its RTC, and how its peripherals fail."""

import _chip
import ustruct

UNIX_EPOCH_OFFSET = 946684800  # time.time() counts from 2000: ports/esp32/modtime.c
RTC_HAS_SUBSECONDS = True
PIN_IN, PIN_OUT, PIN_PULL_DOWN, PIN_PULL_UP = 1, 3, 1, 2  # ports/esp32/machine_pin.c
NO_ANSWER = 19  # ENODEV: ports/esp32/machine_hw_i2c.c

_rtc_base = 0  # RTC minus true time, microseconds


def begin(rtc):
    global _rtc_base
    _rtc_base = rtc - _chip.now_us()


def rtc_us():
    """Microseconds since 2000-01-01 by the RTC; runs through every reset but power-on, which starts it at 0."""
    return _rtc_base + _chip.now_us()


def set_rtc_us(us):
    global _rtc_base
    _rtc_base = us - _chip.now_us()
    _chip.check(_chip.RTC_SET, 0, ustruct.pack("<q", us))


def check_watchdog(timeout):
    """ports/esp32/machine_wdt.c."""
    if timeout <= 0:
        raise ValueError("WDT timeout too short")


def check_timer(id):
    """ports/esp32/machine_timer.c; the two hardware timers that every chip of the family has."""
    if not 0 <= id < 2:
        raise ValueError("invalid Timer number")
