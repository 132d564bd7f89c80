"""Service: the watchdog while a host has the console. Not imported on a wake from sleep."""

import machine
from attendance import Attendance

from .power import WATCHDOG_MS

_current = None


def attend(on, sleeper):
    """Begins or ends it. The watchdog is fed if it runs, left so by the VM before a soft reset or by the node; one that
    does not run stays so.
    """
    global _current
    if _current is not None:
        _current.end()
        _current = None
    if on:
        feed = machine.WDT(timeout=WATCHDOG_MS).feed if sleeper.scratch.watchdog_runs() else _nothing
        _current = Attendance(machine.Timer(-1), feed, sleeper.restart)
        _current.begin()


def _nothing():
    """There is no watchdog to feed."""
