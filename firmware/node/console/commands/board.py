"""The board itself."""

import asyncio
import os
import struct
from collections import OrderedDict

from .. import keep
from ..refused import Refused

_BLINKS_S = 10
_LONGEST_S = 3600


async def identify(console, words):
    """Blinks, so that a person finds this one among many."""
    seconds = int(words[0]) if words and words[0].isdigit() else _BLINKS_S
    if len(words) > 1 or words and not words[0].isdigit() or not 1 <= seconds <= _LONGEST_S:
        raise Refused("identify [SECONDS], 1 to %d" % _LONGEST_S)
    light = console.node.board.led()
    if light is None:
        raise Refused("this board has no light that the node can switch")
    blinks = 0
    try:
        while blinks < 2 * seconds:
            light.on()
            key = await console.pause(100)
            light.off()
            blinks += 1
            if key or await console.pause(400):
                break
    finally:
        light.off()
    return OrderedDict(blinks=blinks)


async def reboot(console, words):
    """Says so first."""
    await _bye(console, OrderedDict(restart=True))


async def factory_reset(console, words):
    """Settings as deployed; name, tenant, keys and certificates are none of them. `--data`: empty rings as well."""
    if "--yes" not in words or [word for word in words if word not in ("--yes", "--data")]:
        raise Refused("factory-reset --yes [--data]; it restarts the node")
    node = console.node
    if "--data" in words and node.contacts.busy():
        raise Refused("a contact is under way; wait for its end")
    answer = OrderedDict(settings="as deployed", erased_rows=0, erased_frames=0, erased_events=0, restart=True)
    if not keep.reset():
        answer["settings"] = "were as deployed"
    console.candidate = None
    if "--data" in words:
        store = node.store
        store.mount_rest()
        for key, ring in (("rows", store.journal), ("frames", store.frames), ("events", store.alerts)):
            oldest, released, following = ring.range()
            answer["erased_" + key] = following - max(oldest, released + 1)
            ring.format(struct.unpack("<I", os.urandom(4))[0] or 1)
    await _bye(console, answer)


async def _bye(console, answer):
    console.answer(answer)
    await console.stream.drain()
    await asyncio.sleep_ms(50)  # a UART sends 500 bytes in it
    console.node.restart()
