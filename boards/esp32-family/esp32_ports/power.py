"""Power port: deep sleep, resets, and the memory that survives them (RTC slow memory)."""

import machine

# Our reset reasons (lib/mqtt/PROTOCOL.md) by the chip's cause. HARD is machine.reset() or a panic: the node's
# retained reason tells.
_REASONS = {
    machine.PWRON_RESET: 1,
    machine.DEEPSLEEP_RESET: 3,
    machine.HARD_RESET: 4,
    machine.WDT_RESET: 5,
    machine.SOFT_RESET: 4,
}


WATCHDOG_MS = 8000  # as on the RP2 family, which allows no more than 8388
TABLE_SIZE = 28
ARMED = b"\x01"  # behind the node's table in RTC memory: the watchdog runs, and a soft reset will not stop it


class Power:
    """Supply and resets of this chip. `battery`: (pin, ratio, exponent) of the divider on it, None without one;
    `frames`: the registers in which the chip's own USB counts frames, () without any (usb.py).
    """

    def __init__(self, battery, frames):
        self._battery = battery
        self._frames = frames
        self._rtc = machine.RTC()
        self._watchdog = None

    def reset_cause(self):
        """Reset reason as the wire counts them; 0 when the chip says something unknown."""
        return _REASONS.get(machine.reset_cause(), 0)

    def retained(self):
        """What was last retained, or noise of at most 28 bytes."""
        return self._rtc.memory()[:TABLE_SIZE]

    def retain(self, data):
        """Keeps `data` over resets and deep sleep, not over power-off."""
        self._rtc.memory(data if self._watchdog is None else bytes(data) + ARMED)

    def sleep(self, ms):
        """Deep sleep; does not return. The radio must be down."""
        machine.deepsleep(ms)

    def reset(self):
        """Restarts the chip; does not return."""
        machine.reset()

    def feed(self):
        """Feeds the watchdog, 8 s; the first call starts it, and only a reset or deep sleep stops it."""
        if self._watchdog is None:
            # Marked before it runs: a Ctrl-C between the two must not leave a watchdog that nobody feeds.
            table = self.retained()
            self._rtc.memory(table + bytes(TABLE_SIZE - len(table)) + ARMED)
            self._watchdog = machine.WDT(timeout=WATCHDOG_MS)
        else:
            self._watchdog.feed()

    def armed(self):
        """Whether `feed` has started the watchdog."""
        return self._watchdog is not None

    def usb(self):
        """Whether a USB host is at the chip's own port. False where it has none: a USB-UART bridge keeps it to itself.
        """
        if not self._frames:
            return False
        from . import usb

        return usb.host(self._frames)

    def battery_mv(self):
        """By ADC1, which works with the radio on; 0: this board has no divider on its supply."""
        if self._battery is None:
            return 0
        import divider
        from machine import ADC, Pin

        pin, ratio, exponent = self._battery
        return divider.millivolts(ADC(Pin(pin), atten=ADC.ATTN_11DB), ratio, exponent)
