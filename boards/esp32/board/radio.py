"""Radio port: the Wi-Fi station."""

import asyncio

import network

_POLL_MS = 50
_FAILED = (network.STAT_NO_AP_FOUND, network.STAT_WRONG_PASSWORD)


class Radio:
    """Down until `up`."""

    def __init__(self):
        self._wlan = network.WLAN(network.STA_IF)

    async def up(self, networks, timeout_ms):
        """Joins the first of `networks` ((ssid, password), ...) that answers. OSError when none did in time."""
        wlan = self._wlan
        wlan.active(True)
        left = timeout_ms
        for ssid, password in networks:
            wlan.connect(ssid, password)
            while left > 0 and not wlan.isconnected() and wlan.status() not in _FAILED:
                await asyncio.sleep_ms(_POLL_MS)
                left -= _POLL_MS
            if wlan.isconnected():
                return
            wlan.disconnect()
        raise OSError("radio: no network of %d joined (status %d)" % (len(networks), wlan.status()))

    def down(self):
        """Off, so that sleep takes microamperes."""
        self._wlan.disconnect()
        self._wlan.active(False)

    def signal(self):
        """dBm."""
        return self._wlan.status("rssi")
