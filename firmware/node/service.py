"""Whether the node stays awake for somebody who wants to talk to it. Imported only where that may be."""

import asyncio
import select
import sys

_STEP_MS = 200
_TYPING_MS = 30000
_LOOK_S = 10  # between two looks at the cable: on some boards that takes the radio


class Service:
    """`board`: the ports; `window_s`, `pin`: settings service.window and service.pin, which may be None.

    `active`: the node must not sleep. Whoever has a session at the console sets `session` meanwhile.
    """

    def __init__(self, board, window_s, pin):
        self.session = False
        self._board = board
        self._window_s = window_s
        self._pin = pin
        self._usb = False
        self._held = False
        self._open = False
        self._looks = 0
        self._poll = None

    @property
    def active(self):
        """Whether there is a reason to stay awake."""
        return self.session or self._held or self._usb or self._open

    async def window(self, attend):
        """Waits for somebody, for as long as the settings say, and lets who begins to type end a line; `attend()` is
        called when a key comes. It comes before everything else: no watchdog runs yet,
        and one that was started cannot be stopped on every board, so this is where a host best takes the console.
        """
        self._open = True
        left_ms, typing = self._window_s * 1000, False
        while left_ms > 0 and not self.session:  # whoever has a session wants to see the node live
            await asyncio.sleep_ms(_STEP_MS)
            left_ms -= _STEP_MS
            if not typing and self.knocked():
                typing = True
                left_ms = max(left_ms, _TYPING_MS)
                attend()
        self._open = False
        self.look()

    def knocked(self):
        """Whether a key has come that nobody has read."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(sys.stdin, select.POLLIN)
        return len(self._poll.poll(0)) > 0

    def look(self):
        """Asks the pin, and the cable every tenth time; to be called about once a second while no contact runs."""
        if self._pin is not None:
            self._held = self._board.held(self._pin)
        if self._looks == 0:
            self._usb = self._board.power.usb()
        self._looks = (self._looks + 1) % _LOOK_S
