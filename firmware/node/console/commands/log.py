"""The log."""

from collections import OrderedDict

from ... import log as kept
from ..table import Refused

_LOOK_MS = 200


async def log(console, words):
    """The lines that are kept; with -f those that come, until a key."""
    follow = "-f" in words
    words = [word for word in words if word != "-f"]
    if len(words) > 1 or words and words[0] not in kept.LEVELS:
        raise Refused("log [-f] [%s]" % "|".join(kept.LEVELS))
    least = kept.LEVELS.index(words[0]) if words else kept.DEBUG
    number, shown = kept.oldest(), 0
    while True:
        number = max(number, kept.oldest())
        while number < kept.said():
            level, ago, text = kept.line(number)
            if level >= least:
                name = kept.LEVELS[level]
                console.emit(OrderedDict(level=name, ago_s=ago, line=text), "%-7s -%d s  %s" % (name, ago, text))
                shown += 1
            number += 1
        if not follow or await console.pause(_LOOK_MS):
            return OrderedDict(lines=shown)
