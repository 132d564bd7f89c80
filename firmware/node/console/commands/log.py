"""The log."""

from collections import OrderedDict
from time import ticks_diff, ticks_ms

from ... import log as kept
from ..refused import Refused

_LOOK_MS = 200


async def log(console, words):
    """The lines that are kept; with -f those that come, until a key."""
    follow = "-f" in words
    words = [word for word in words if word != "-f"]
    if len(words) > 1 or words and words[0] not in kept.LEVELS:
        raise Refused("log [-f] [%s]" % "|".join(kept.LEVELS))
    least = kept.LEVELS.index(words[0]) if words else kept.DEBUG
    number = shown = 0
    while True:
        oldest = kept.said - len(kept.lines)
        for level, at, text in kept.lines[max(0, number - oldest) :]:
            if level >= least:
                name = kept.LEVELS[level]
                ago = max(0, ticks_diff(ticks_ms(), at)) // 1000
                console.emit(OrderedDict(level=name, ago_s=ago, line=text), "%-7s -%d s  %s" % (name, ago, text))
                shown += 1
        number = oldest + len(kept.lines)
        if not follow or await console.pause(_LOOK_MS):
            return OrderedDict(lines=shown)
