"""What a command can have the node do by itself (`node.operations` says what an act is)."""

import asyncio

from .operations import Refused

_BLINK_MS = 250
_BLINKS_S = 5
_LONGEST_BLINKS_S = 20


def _none(args):
    if args:
        raise Refused("it takes no arguments")


async def read(node, args):
    """A reading of every sensor, now, as a row of its own; the answer tells the row and its values."""
    _none(args)
    row = await node.read_now()
    sampler, words = node.sampler, []
    for index, (_, _, _, exponent) in enumerate(node.settings["channels"]):
        words.append(_decimal(sampler.values[index], exponent) if sampler.present >> index & 1 else "-")
    return "row %d: %s" % (row, " ".join(words))


async def report(node, args):
    """Nothing: the contact that follows every command sends all rows taken up to then."""
    _none(args)


async def restart(node, args):
    """A boot from nothing. It does not return; the boot tells."""
    _none(args)
    node.restart()


async def radio(node, args):
    """The radio off once more, and up from the start in the contact that follows."""
    _none(args)
    node.board.radio().down()


async def erase(node, args):
    """Erases what the cloud has committed, as far as it fills whole sectors; the newest records stay."""
    _none(args)
    store, sectors = node.store, 0
    store.mount_rest()
    for ring in (store.journal, store.alerts, store.frames):
        for _ in ring.erase_released():
            sectors += 1
            node.watch.feed()  # an erase takes up to 80 ms
            await asyncio.sleep_ms(0)
    return "%d sectors" % sectors


async def identify(node, args):
    """Blinks, so that a person finds this node among many. `args`: seconds u8, 1 to 20, or none for 5."""
    seconds = args[0] if args else _BLINKS_S
    if len(args) > 1 or not 1 <= seconds <= _LONGEST_BLINKS_S:
        raise Refused("seconds: 1 to %d" % _LONGEST_BLINKS_S)
    light = node.board.led()
    if light is None:
        raise Refused("this board has no light that the node can switch")
    blinks = seconds * 1000 // (2 * _BLINK_MS)
    try:
        for _ in range(blinks):
            light.on()
            await asyncio.sleep_ms(_BLINK_MS)
            light.off()
            await asyncio.sleep_ms(_BLINK_MS)
    finally:
        light.off()
    return "%d blinks" % blinks


def _decimal(value, exponent):
    """value x 10^exponent, exactly, for exponents of -9 to 9."""
    if exponent >= 0:
        return "%d" % (value * 10**exponent)
    digits = "%0*d" % (1 - exponent, abs(value))
    return "%s%s.%s" % ("-" if value < 0 else "", digits[:exponent], digits[exponent:])
