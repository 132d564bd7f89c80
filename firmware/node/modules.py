"""Modules that are needed for a moment only."""

import sys


def forget(*names):
    """Gives up these modules' memory as soon as nobody holds anything of them; the next import loads them anew."""
    for name in names:
        known = sys.modules.pop(name, None)
        package, _, last = name.rpartition(".")
        if known is not None and package:
            delattr(sys.modules[package], last)
