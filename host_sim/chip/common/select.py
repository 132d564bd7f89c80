"""`select` on the simulated clock: a wait with nothing to wait for but time moves the clock there."""

import _chip
import uselect
from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT  # noqa: F401


class poll:
    def __init__(self):
        self._poll = uselect.poll()
        self._count = 0

    def register(self, obj, eventmask=POLLIN | POLLOUT):
        # The unix port tells a new registration from a changed one only by its own table; so do we, by its length.
        try:
            self._poll.modify(obj, eventmask)
        except OSError:
            self._poll.register(obj, eventmask)
            self._count += 1

    def modify(self, obj, eventmask):
        self._poll.modify(obj, eventmask)

    def unregister(self, obj):
        try:
            self._poll.modify(obj, 0)
        except OSError:
            return
        self._poll.unregister(obj)
        self._count -= 1

    def poll(self, timeout=-1):
        return self.ipoll(timeout)

    def ipoll(self, timeout=-1, flags=0):
        until = None if timeout is None or timeout < 0 else _chip.now_us() + timeout * 1000
        if _chip.paced():
            return _chip.wait(self._poll, until)
        if self._count:
            ready = self._poll.poll(0)
            if ready:
                return ready
        if until is None:
            raise RuntimeError("select: waits for ever with the radio off")
        _chip.sleep_us(timeout * 1000)
        return self._poll.poll(0) if self._count else []
