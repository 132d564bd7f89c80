"""Radio port: the Wi-Fi station."""

import network
import station

_FAILED = (network.STAT_NO_AP_FOUND, network.STAT_WRONG_PASSWORD)


class Radio:
    """Down until `up`."""

    def __init__(self):
        self._wlan = network.WLAN(network.STA_IF)

    async def up(self, networks, timeout_ms):
        """Joins the first of `networks` ((ssid, password), ...) that answers. OSError when none did in time."""
        self._wlan.active(True)
        await station.join(self._wlan, networks, timeout_ms, _FAILED)

    def down(self):
        """Off, so that sleep takes microamperes."""
        self._wlan.disconnect()
        self._wlan.active(False)

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
