"""The node's settings as `settings.json` holds them: made and checked on the host from the node file, read here."""

import json

PATH = "settings.json"
_KEY_PATH = "key"
FORMAT = 1


def load():
    """The settings, a dict (nodes/README.md). OSError when the node was never given any, ValueError for another
    format.
    """
    with open(PATH) as file:
        settings = json.load(file)
    if settings.get("v") != FORMAT:
        raise ValueError("settings.json: format %s, this firmware reads %d; flash it anew" % (settings.get("v"),
        FORMAT))
    return settings


def key():
    """The node's 32 secret bytes."""
    with open(_KEY_PATH, "rb") as file:
        key = file.read()
    if len(key) != 32:
        raise ValueError("key: %d bytes, must be 32; provision the node anew" % len(key))
    return key
