"""Whether a USB host is there, on chips with USB of their own: a host counts the frames, one each millisecond."""

from time import sleep_ms

from machine import mem32

_LOOK_MS = 2


def host(counters):
    """`counters`: (address, mask) of the registers that count start-of-frame packets. A charger sends none, nor does a
    host that sleeps, and neither counts.
    """
    before = _read(counters)
    sleep_ms(_LOOK_MS)
    return _read(counters) != before


def _read(counters):
    return [mem32[address] & mask for address, mask in counters]
