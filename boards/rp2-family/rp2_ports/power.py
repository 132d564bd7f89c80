"""Power port: deep sleep by way of a reset, resets, and the memory that survives them (watchdog scratch registers)."""

import machine

WATCHDOG_MS = 8000  # the chip allows 8388


class Power:
    """Supply and resets of this chip. `battery`: (pin, ratio, exponent) of the divider on VSYS."""

    def __init__(self, sleeper, clock, battery):
        self._battery = battery
        self._battery_mv = 0
        self._sleeper = sleeper
        self._clock = clock
        self._watchdog = None

    def reset_cause(self):
        """Reset reason as the wire counts them. The chip tells power-on only; the rest is what the last boot left."""
        return self._sleeper.cause

    def retained(self):
        """What was last retained, 28 bytes, or zeros."""
        return self._sleeper.scratch.read()

    def retain(self, data):
        """Keeps the 28 bytes of the node's table over resets and sleep, not over power-off."""
        self._sleeper.scratch.write(data)

    def sleep(self, ms):
        """Deep sleep, in whole seconds and at most 65,535; does not return. The radio must be down."""
        self._sleeper.sleep(ms // 1000, self._clock.seconds(), self._clock.ms())

    def reset(self):
        """Restarts the chip; does not return."""
        self._sleeper.restart()

    def feed(self):
        """Feeds the watchdog, 8 s; the first call starts it, and only a reset stops it, such as `sleep` makes."""
        if self._watchdog is None:
            self._watchdog = machine.WDT(timeout=WATCHDOG_MS)
        else:
            self._watchdog.feed()

    def usb(self):
        """Whether the board has its supply from a host. Asking takes the radio, a quarter of a second if it is off."""
        import network
        from machine import Pin

        wlan = network.WLAN(network.STA_IF)
        silent = not wlan.active()
        supplied = Pin("WL_GPIO2", Pin.IN).value()
        if silent:
            wlan.deinit()  # pyright: ignore[reportAttributeAccessIssue] -- the stubs are of the ESP32
        return bool(supplied)

    def battery_mv(self):
        """Of VSYS. With the radio on, which needs the pins, what was measured last in this boot, or 0."""
        from . import supply

        self._battery_mv = supply.asked(self._battery, self._battery_mv)
        return self._battery_mv
