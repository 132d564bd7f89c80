"""A board whose console somebody has: a hardware timer feeds its watchdog meanwhile, but not for ever."""

from micropython import const

LIMIT_S = const(900)  # a console that was forgotten ends in a reset
_STEP_MS = const(2000)  # the shortest watchdog of a board is 8 s


class Attendance:
    """`timer` as machine.Timer has it, not yet started. `feed()` feeds the watchdog where it runs; `reset()` is the
    board's. Nothing is allocated in a tick: it may come in the middle of anything.
    """

    def __init__(self, timer, feed, reset):
        self._timer = timer
        self._feed = feed
        self._reset = reset
        self._left = 0

    def begin(self, limit_s=LIMIT_S):
        """From here on, and for at most `limit_s`."""
        self._left = limit_s * 1000 // _STEP_MS
        self._timer.init(period=_STEP_MS, mode=self._timer.PERIODIC, callback=self._tick)

    def end(self):
        """Whoever feeds does so itself again."""
        self._timer.deinit()

    def _tick(self, _timer):
        self._left -= 1
        if self._left > 0:
            self._feed()
        else:
            self._reset()
