"""Settings on flash: replaced whole or not at all, the previous kept, and those of the last deployment.

`settings.json` as it was deployed has no "base". What is saved here has: the first 8 hex digits of the SHA-256 of the
file it comes from, which is kept as `settings.first`. A new deployment writes a file without "base", so what was kept
of the one before is recognised as not belonging to it.
"""

import hashlib
import json
import os
from binascii import hexlify

from .. import settings
from .refused import Refused

_NEW = "settings.new"
_PREVIOUS = "settings.old"
_FIRST = "settings.first"


def save(new):
    """Makes the dict `new` the settings. A cut at any moment leaves the old ones or the new ones."""
    now = _read(settings.PATH)
    base = _base(now)
    if base == _digest(now):
        _write(_FIRST, now)
    new["base"] = base
    _write(_PREVIOUS, now)
    _write(settings.PATH, json.dumps(new).encode())


def undo():
    """Exchanges the settings and those before the last save. Refused if nothing was saved since the deployment."""
    now, before = _read(settings.PATH), _read(_PREVIOUS)
    if not before or _base(before) != _base(now):
        raise Refused("nothing was saved since the deployment")
    _write(_PREVIOUS, now)
    _write(settings.PATH, before)


def reset():
    """Brings back the settings of the last deployment; -> False if they are those already. Refused if they are lost."""
    now, first = _read(settings.PATH), _read(_FIRST)
    base = _base(now)
    if base == _digest(now):
        return False
    if _digest(first) != base:
        raise Refused("the deployed settings are not there any more; deploy the node anew")
    _write(settings.PATH, first)
    return True


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _write(path, data):
    with open(_NEW, "wb") as file:
        file.write(data)
    os.rename(_NEW, path)


def _digest(data):
    return hexlify(hashlib.sha256(data).digest()[:4]).decode()


def _base(data):
    """Which deployment a file comes from."""
    return json.loads(data).get("base") or _digest(data)
