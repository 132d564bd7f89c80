"""`network` of the ESP32 (ports/esp32/network_wlan.c): the station interface."""

import _station

STA_IF = 0
AP_IF = 1

STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202

_STATUS = (STAT_IDLE, STAT_CONNECTING, STAT_GOT_IP, STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD)


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF

    def __init__(self, interface=STA_IF):
        self._active = False
        self._station = _station.Station()

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
        if self._station.state() == _station.JOINING:
            raise OSError("Wifi Internal Error")
        self._station.join(ssid, key)

    def scan(self):
        """Blocks; a connection stays."""
        if not self._active:
            raise OSError("STA must be active")
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
