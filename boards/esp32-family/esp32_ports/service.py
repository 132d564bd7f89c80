"""Service: the watchdog while a host has the console. Not imported on a wake from sleep."""

import machine
from attendance import Attendance

from .power import ARMED, TABLE_SIZE, WATCHDOG_MS

_current = None


def attend(on, armed):
    """Begins or ends it. `armed`: the watchdog runs, so it must be fed; one that does not run stays so."""
    global _current
    if _current is not None:
        _current.end()
        _current = None
    if on:
        feed = machine.WDT(timeout=WATCHDOG_MS).feed if armed else _nothing
        _current = Attendance(machine.Timer(0), feed, machine.reset)
        _current.begin()


def left_armed():
    """Whether the VM before a soft reset has left the watchdog running: no reset but those of the chip stops it."""
    return machine.reset_cause() == machine.SOFT_RESET and machine.RTC().memory()[TABLE_SIZE:] == ARMED


def _nothing():
    """There is no watchdog to feed."""
