"""The PIN."""

import asyncio

from ..refused import Refused

_TRIES = 3
_PAUSE_MS = 30000


async def unlock(console, words):
    """Three wrong PINs, and the next try waits half a minute."""
    if "pin" not in console.node.settings:
        console.locked = False
        return {"locked": False}
    pin = words[0] if words else await console.secret("PIN: ")
    from ..pin import fits

    if not fits(pin, console.node.settings["pin"]):
        console.tries += 1
        left = _TRIES - console.tries
        if left <= 0:
            console.tries = 0
            await asyncio.sleep_ms(_PAUSE_MS)
            raise Refused("wrong PIN, the third; that took %d s" % (_PAUSE_MS // 1000))
        raise Refused("wrong PIN; %d more, then a pause" % left)
    console.tries = 0
    console.locked = False
    return {"locked": False}


async def lock(console, words):
    """Until the next unlock."""
    if "pin" not in console.node.settings:
        raise Refused("there is no PIN; config set console.pin")
    console.locked = True
    return {"locked": True}
