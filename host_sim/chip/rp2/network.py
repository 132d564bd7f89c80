"""`network` of a board with a CYW43439 (extmod/network_cyw43.c): the station interface, one object for all."""

import socket as _socket
import sys

import _station

STA_IF = 0
AP_IF = 1

# CYW43_LINK_..., lib/cyw43-driver/src/cyw43.h
STAT_IDLE = 0
STAT_CONNECTING = 1
STAT_GOT_IP = 3
STAT_CONNECT_FAIL = -1
STAT_NO_AP_FOUND = -2
STAT_WRONG_PASSWORD = -3

_STATUS = (STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP, STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD)
_EPERM = 1
_the_station = _station.Station()


def _check_clock():
    if "_radio_pins" in sys.modules:
        sys.modules["_radio_pins"].check()


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF

    _up = False

    def __init__(self, interface=STA_IF):
        self._station = _the_station

    def active(self, up=None):
        """active(False) leaves the network and keeps the radio on; only `deinit` turns it off."""
        if up is None:
            return WLAN._up
        if up:
            _check_clock()
            _socket._powered = True
        else:
            self.disconnect()
        WLAN._up = bool(up)

    def deinit(self):
        self.active(False)
        _socket._powered = False

    def connect(self, ssid, key=None):
        """Begins to join, anew if it was at it; `status()` tells how it went."""
        if not WLAN._up:
            raise OSError(-_EPERM)
        _check_clock()
        self._station.join(ssid, key)

    def scan(self):
        """Blocks; a connection stays."""
        if not WLAN._up:
            raise OSError(-_EPERM)
        _check_clock()
        return self._station.scan()

    def disconnect(self):
        self._station.leave()

    def status(self, what=None):
        if what == "rssi":
            return self._station.rssi()
        return _STATUS[self._station.state()]

    def isconnected(self):
        return self._station.state() == _station.UP

    def ifconfig(self):
        return ("192.0.2.10", "255.255.255.0", "192.0.2.1", "192.0.2.1")
