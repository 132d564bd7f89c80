"""What the RP2 family adds to the simulated chip: its RTC, and how its peripherals fail."""

import _chip
import _model

UNIX_EPOCH_OFFSET = 0  # time.time() counts from 1970: ports/rp2, MICROPY_EPOCH_IS_1970
RTC_HAS_SUBSECONDS = False  # ports/rp2/machine_rtc.c reads and writes whole seconds
PIN_IN, PIN_OUT, PIN_PULL_UP, PIN_PULL_DOWN = 0, 1, 1, 2  # ports/rp2/machine_pin.c
NO_ANSWER = 5  # EIO: ports/rp2/machine_i2c.c, machine_i2c_transfer_single

_BOOT_US = 1609459200 * 1000000  # 2021-01-01, set by ports/rp2/main.c at every boot
_MAX_WATCHDOG = 8388  # ports/rp2/machine_wdt.c of 1.28 for both chips
_rtc_base = 0


def begin(rtc):
    """Whatever the RTC showed before, main.c sets it."""
    set_rtc_us(_BOOT_US)


def rtc_us():
    """Microseconds since 1970 by the RTC."""
    return _rtc_base + _chip.now_us()


def set_rtc_us(us):
    """The prescaler starts anew: the second begins now."""
    global _rtc_base
    _rtc_base = us - _chip.now_us()


def lightslept(us):
    """The RP2040's RTC stands still in lightsleep: modmachine.c clears sleep_en0, and with it CLK_RTC (RP2040
    datasheet, 2.15.7). The RP2350's counter runs on in the always-on domain.
    """
    global _rtc_base
    if _model.RP2040:
        _rtc_base -= us


def check_watchdog(timeout):
    """ports/rp2/machine_wdt.c: the timeout is taken as unsigned."""
    if not 0 <= timeout <= _MAX_WATCHDOG:
        raise ValueError("timeout exceeds 8388")


def check_timer(id):
    """ports/rp2/machine_timer.c: only virtual timers."""
    if id != -1:
        raise ValueError("Timer doesn't exist")
