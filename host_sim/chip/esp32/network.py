"""`network` of the ESP32 (ports/esp32/network_wlan.c): the station interface."""

import socket as _socket

import _chip
import ustruct

STA_IF = 0
AP_IF = 1

STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF

    def __init__(self, interface=STA_IF):
        self._active = False
        self._result = STAT_IDLE
        self._due = None

    def active(self, up=None):
        if up is None:
            return self._active
        self._active = bool(up)
        if not up:
            self.disconnect()
        return self._active

    def connect(self, ssid, key=""):
        """Begins to join; `status()` tells how it went."""
        if not self._active:
            raise OSError("Wifi Not Started")
        if self._due is not None and self.status() == STAT_CONNECTING:
            raise OSError("Wifi Internal Error")
        answer = _chip.check(_chip.JOIN, 0, ssid.encode() + b"\0" + key.encode())
        self._result, delay_ms = ustruct.unpack("<HI", answer)
        self._due = _chip.now_us() + delay_ms * 1000

    def disconnect(self):
        self._result = STAT_IDLE
        self._due = None
        _socket._link(False)

    def status(self, what=None):
        if what == "rssi":
            return -61 if self.isconnected() else 0
        if self._due is None:
            return STAT_IDLE
        if _chip.now_us() < self._due:
            return STAT_CONNECTING
        if self._result == STAT_GOT_IP:
            _socket._link(True)
        return self._result

    def isconnected(self):
        return self.status() == STAT_GOT_IP

    def ifconfig(self):
        return ("192.0.2.10", "255.255.255.0", "192.0.2.1", "192.0.2.1")
