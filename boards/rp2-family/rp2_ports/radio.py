"""Radio port: the Wi-Fi station of the CYW43439."""

import network
import station

_FAILED = (network.STAT_CONNECT_FAIL, network.STAT_NO_AP_FOUND, network.STAT_WRONG_PASSWORD)


class Radio:
    """Down until `up`."""

    def __init__(self):
        self._wlan = network.WLAN(network.STA_IF)

    async def up(self, networks, timeout_ms):
        """Joins the first of `networks` ((ssid, password), ...) that answers. OSError when none did in time."""
        self._wlan.active(True)
        await station.join(self._wlan, networks, timeout_ms, _FAILED)

    def down(self):
        """Off. `active(False)` alone would leave the radio powered, at some 28 mA."""
        self._wlan.disconnect()
        self._wlan.deinit()  # pyright: ignore[reportAttributeAccessIssue] -- the stubs are of the ESP32

    def scan(self):
        """(ssid, dBm, channel, protected) of each network in reach. Blocks for seconds; leaves the radio as it was."""
        was_on = self._wlan.active()
        self._wlan.active(True)
        try:
            return station.scan(self._wlan)
        finally:
            if not was_on:
                self.down()

    def signal(self):
        """dBm."""
        return self._wlan.status("rssi")
