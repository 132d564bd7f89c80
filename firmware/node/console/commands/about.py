"""What the console itself can do."""

from collections import OrderedDict

from ..parse import find
from ..table import COMMANDS


async def help(console, words):
    """Every command, or one."""
    if words:
        command, _ = find(words)
        return OrderedDict(usage=("%s %s" % (command.name, command.args)).rstrip(), help=command.help)
    rows = [OrderedDict(command=("%s %s" % (each.name, each.args)).rstrip(), help=each.help) for each in COMMANDS]
    return {"commands": rows}
