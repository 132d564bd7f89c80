"""Modules that are needed for a moment only."""

import sys


def forget(name):
    """Gives up a module's memory as soon as nobody holds anything of it; the next import loads it anew."""
    known = sys.modules.pop(name, None)
    package, _, last = name.rpartition(".")
    if known is not None and package:
        delattr(sys.modules[package], last)
