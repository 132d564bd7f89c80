"""Joining one of several Wi-Fi networks with MicroPython's `network.WLAN`, whichever chip it is."""

import asyncio
from time import ticks_diff, ticks_ms

_POLL_MS = 50


async def join(wlan, networks, timeout_ms, failed):
    """Joins the first of `networks` ((ssid, password), ...) that answers. OSError when none did in time.

    `wlan` is active; `failed` are the values of its `status()` that mean that it has given up on a network.
    """
    began = ticks_ms()
    status = None
    for ssid, password in networks:
        wlan.connect(ssid, password)
        while ticks_diff(ticks_ms(), began) < timeout_ms and not wlan.isconnected() and wlan.status() not in failed:
            await asyncio.sleep_ms(_POLL_MS)
        if wlan.isconnected():
            return
        status = wlan.status()
        wlan.disconnect()
    raise OSError("radio: no network of %d joined (status %s)" % (len(networks), status))


def scan(wlan):
    """(ssid, dBm, channel, protected) of each network that an active `wlan` finds. An SSID need not be text: then it is
    shown in hex.
    """
    found = []
    for ssid, _, channel, signal, security, _ in wlan.scan():
        try:
            name = ssid.decode()
        except UnicodeError:
            name = "0x" + ssid.hex()
        found.append((name, signal, channel, security != 0))
    return found
