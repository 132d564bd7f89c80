"""What the ESP32 family adds to the simulated chip: its RTC."""

import _chip
import ustruct

# time.time() counts from 2000 (ports/esp32/modtime.c); the RTC below counts microseconds since then.
RTC_EPOCH_OFFSET = 0
UNIX_EPOCH_OFFSET = 946684800

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
