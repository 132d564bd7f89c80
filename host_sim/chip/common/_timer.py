"""`machine.Timer`: a callback at intervals, run where the VM waits or asks the chip for anything, as a board's runs
between two bytecodes.

Imported with the first timer: until then, and again when the last one has ended, nothing in the simulation is slower
for it.
"""

import sys

import _chip
import _family

_plain_wait, _plain_call, _plain_sleep_us = _chip.wait, _chip.call, _chip.sleep_us
kept = False  # a board at a cable cannot import it anew: the host's folders are out of its sight
_running = []
_busy = False  # in a callback: timers do not interrupt each other


class Timer:
    ONE_SHOT = 0
    PERIODIC = 1

    def __init__(self, id=-1, *, mode=PERIODIC, freq=-1, period=-1, callback=None):
        _family.check_timer(id)
        self._period_us = 0
        self._at = 0
        self._mode = mode
        self._callback = None
        if freq > 0 or period > 0:
            self.init(mode=mode, freq=freq, period=period, callback=callback)

    def init(self, *, mode=PERIODIC, freq=-1, period=-1, callback=None):
        self.deinit()
        self._period_us = 1000000 // freq if freq > 0 else period * 1000
        if self._period_us <= 0:
            raise ValueError("invalid period")
        self._mode = mode
        self._callback = callback
        self._at = _chip.now_us() + self._period_us
        _running.append(self)
        _hook()

    def deinit(self):
        if self in _running:
            _running.remove(self)
            _hook()


def _hook():
    _chip.wait, _chip.call, _chip.sleep_us = (
        (_wait, _call, _sleep_us) if _running else (_plain_wait, _plain_call, _plain_sleep_us)
    )
    if not _running and not kept:
        sys.modules.pop("_timer", None)  # a real one takes none of the heap


def _due():
    return min([timer._at for timer in _running]) if _running else 1 << 62


def _tick():
    """One call for each timer whose moment has come; what was missed is not made up for."""
    global _busy
    if _busy:
        return
    _busy = True
    try:
        now = _chip.now_us()
        for timer in list(_running):
            if timer._at > now:
                continue
            if timer._mode == Timer.ONE_SHOT:
                timer.deinit()
            while timer._at <= now:
                timer._at += timer._period_us
            try:
                if timer._callback is not None:
                    timer._callback(timer)
            except Exception as error:
                print("Unhandled exception in callback")
                sys.print_exception(error)
    finally:
        _busy = False


def _wait(poller, until):
    while True:
        due = _due()
        ready = _plain_wait(poller, due if until is None or due < until else until)
        _tick()
        if ready or until is not None and _chip.now_us() >= until:
            return ready


def _sleep_us(us):
    if _chip.paced():
        _plain_sleep_us(us)  # by way of `wait`
        return
    end = _chip.now_us() + us
    while True:
        now = _chip.now_us()
        if now >= end:
            return
        _plain_sleep_us(min(end, max(_due(), now + 1)) - now)
        _tick()


def _call(op, arg=0, payload=b"", into=None):
    found = _plain_call(op, arg, payload, into)
    _tick()
    return found
