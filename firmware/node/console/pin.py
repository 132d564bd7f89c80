"""The console's PIN as settings keep it: a salt and an iterated hash. Runs under MicroPython and CPython alike.

It keeps passers-by from changing a node. It does not keep out who can read the flash or load another firmware: a few
digits are no secret to them.
"""

import hashlib
from binascii import hexlify, unhexlify

_ROUNDS = 1000


def seal(pin, salt):
    """-> [salt, hash], both hex, of a PIN (text) under `salt` (8 bytes)."""
    digest = salt + pin.encode()
    for _ in range(_ROUNDS):
        digest = hashlib.sha256(salt + digest).digest()
    return [hexlify(salt).decode(), hexlify(digest).decode()]


def fits(pin, sealed):
    """Whether `pin` is the one that was sealed."""
    return seal(pin, unhexlify(sealed[0])) == list(sealed)
