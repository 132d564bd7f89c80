"""Performs a command, never twice, and records how it went.

From when it is begun until its result is in ring A it stands in the boot log; a boot that finds one there cannot know
how far it came, says so and does not repeat it. Acts (`node.acts`) know nothing of this.
"""

import asyncio

from . import operations, wire
from .watch import CONTACT

_LONGEST_MS = 30000  # an act that takes longer has failed
_MARGIN_MS = 10000
_RECENT = 64  # events among which a result whose settling was cut short is looked for


async def attend(node, control):
    """What a contact brought (`node.control`); whether another must follow and tell how it went."""
    report(node.store, control.counts)
    if control.taken:
        await perform(node, control.taken)
    return bool(control.taken)


async def perform(node, taken):
    """Performs what a contact has taken (`Control.taken`). A restart does not return."""
    number, op, args, expired = taken
    node.bootlog.save_command(number, op)
    detail = ""
    try:
        if expired:
            status = wire.EXPIRED
        else:
            node.watch.expect(CONTACT, _LONGEST_MS + _MARGIN_MS)
            detail = await asyncio.wait_for_ms(operations.find(op)(node, args), _LONGEST_MS) or ""
            status = wire.DONE
    except operations.Refused as error:
        status, detail = wire.REFUSED, str(error)
    except Exception as error:
        status, detail = wire.FAILED, "%s: %s" % (type(error).__name__, error)
    node.store.result(number, op, status, detail)
    node.bootlog.save_command(number, 0)


def report(store, counts):
    """Records how many messages were not taken (`Control.counts`), if any of them was forged or malformed: at most one
    event for a contact.
    """
    if counts.get("tag") or counts.get("malformed"):
        said = ["%s %d" % (reason, counts[reason]) for reason in sorted(counts)]
        store.result(0, 0, wire.REFUSED, ", ".join(said))


def recover(bootlog, store, restarted):
    """At a boot: says of a command that was begun and not told how it went. `restarted`: the node was asked to."""
    number, op = bootlog.last_cmd, bootlog.command
    for event in store.events(_RECENT):
        told = wire.result_of(event)
        if told is not None and told[0] == number and told[2] != wire.BEGUN:
            break
    else:
        store.result(number, op, wire.DONE if restarted and op == operations.RESTART else wire.UNKNOWN, "")
    bootlog.save_command(number, 0)
