"""What commands can ask for, and where it is done. Operations are numbered in lib/mqtt/PROTOCOL.md.

An act is a coroutine function of the node and the command's arguments (bytes). It returns a word on how it went, at
most 64 bytes, or None; raises `Refused` before it has done anything; or fails by any other exception. It runs after
the contact, radio off, and another contact follows. It is looked up by name, so that nothing is imported before it is
needed.
"""

READ, REPORT, RESTART, RADIO, ERASE, IDENTIFY = 1, 2, 3, 4, 5, 6

_FOUND_IN = {
    READ: ("node.acts", "read"),
    REPORT: ("node.acts", "report"),
    RESTART: ("node.acts", "restart"),
    RADIO: ("node.acts", "radio"),
    ERASE: ("node.acts", "erase"),
    IDENTIFY: ("node.acts", "identify"),
}


class Refused(Exception):
    """What an act raises before it has done anything; the text says why, in at most 64 bytes."""


def register(op, module, name):
    """Has operation `op`, 1..255, done by the function `name` of `module`. ValueError if the number is taken."""
    if op in _FOUND_IN:
        raise ValueError("operations: %d is taken" % op)
    _FOUND_IN[op] = module, name


def find(op):
    """The act. Refused if there is none."""
    if op not in _FOUND_IN:
        raise Refused("this firmware has no operation %d" % op)
    module, name = _FOUND_IN[op]
    found = __import__(module)
    for part in module.split(".")[1:]:
        found = getattr(found, part)
    return getattr(found, name)
