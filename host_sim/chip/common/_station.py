"""Joining an access point, as every family's `network.WLAN` does it: the host decides how it goes and how long it
takes.
"""

import socket as _socket

import _chip
import ustruct

IDLE, JOINING, UP, NO_NETWORK, WRONG_PASSWORD = range(5)
_RESULTS = (UP, NO_NETWORK, WRONG_PASSWORD)  # of the line's `join`


class Station:
    """One per chip."""

    def __init__(self):
        self._result = IDLE
        self._due = None

    def join(self, ssid, key):
        answer = _chip.check(_chip.JOIN, 0, ssid.encode() + b"\0" + (key or "").encode())
        result, delay_ms = ustruct.unpack("<HI", answer)
        self._result = _RESULTS[result]
        self._due = _chip.now_us() + delay_ms * 1000

    def scan(self):
        """(ssid, bssid, channel, rssi, security, hidden) of each network, as every port gives it; it blocks."""
        data = _chip.check(_chip.SCAN)
        found, at = [], 0
        while at < len(data):
            signal, channel, security, size = ustruct.unpack_from("<bBBB", data, at)
            ssid = bytes(data[at + 4 : at + 4 + size])
            found.append((ssid, b"\x02\0\0\0\0" + bytes([len(found)]), channel, signal, security, False))
            at += 4 + size
        return found

    def leave(self):
        self._result = IDLE
        self._due = None
        _socket._link(False)

    def state(self):
        if self._due is None:
            return IDLE
        if _chip.now_us() < self._due:
            return JOINING
        if self._result == UP:
            _socket._link(True)
        return self._result

    def rssi(self):
        return -61 if self.state() == UP else 0
