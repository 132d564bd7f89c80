"""Whether the node stays awake for somebody who wants to talk to it. Imported only where that may be."""

import asyncio

_STEP_MS = 200
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

    @property
    def active(self):
        """Whether there is a reason to stay awake."""
        return self.session or self._held or self._usb or self._open

    async def window(self):
        """Waits for somebody, for as long as the settings say. It comes before everything else: no watchdog runs yet,
        and one that was started cannot be stopped on every board, so this is where a host best takes the console.
        """
        self._open = True
        for _ in range(self._window_s * 1000 // _STEP_MS):
            await asyncio.sleep_ms(_STEP_MS)
            if self.session:
                break  # somebody is there, and wants to see the node live
        self._open = False
        self.look()

    def look(self):
        """Asks the pin, and the cable every tenth time; to be called about once a second while no contact runs."""
        if self._pin is not None:
            self._held = self._board.held(self._pin)
        if self._looks == 0:
            self._usb = self._board.power.usb()
        self._looks = (self._looks + 1) % _LOOK_S
