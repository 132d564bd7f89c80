"""HMAC-SHA256 (RFC 2104 with FIPS 180-4's SHA-256), and the comparison of tags."""

import hashlib

_BLOCK = 64


class Hmac256:
    """A key, its schedule made once, and the message being hashed.

    `key`: bytes-like, any length. After update()s, digest() gives the 32 bytes and the next update() begins
    a new message.
    """

    def __init__(self, key):
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        self._inner = bytearray(b"\x36" * _BLOCK)
        self._outer = bytearray(b"\x5c" * _BLOCK)
        for at, byte in enumerate(key):
            self._inner[at] ^= byte
            self._outer[at] ^= byte
        self._hash = None

    def update(self, part):
        """Adds a bytes-like object to the message."""
        if self._hash is None:
            self._hash = hashlib.sha256(self._inner)
        self._hash.update(part)

    def digest(self):
        """Ends the message; returns its 32 bytes."""
        self.update(b"")
        outer = hashlib.sha256(self._outer)
        outer.update(self._hash.digest())
        self._hash = None
        return outer.digest()


def hmac256(key, *parts):
    """The 32 bytes for a key that is used once; the message is `parts`, one after another."""
    mac = Hmac256(key)
    for part in parts:
        mac.update(part)
    return mac.digest()


def equal(a, b):
    """Whether two bytes-like objects are equal, in a time that depends on their lengths alone."""
    if len(a) != len(b):
        return False
    difference = 0
    for i in range(len(a)):
        difference |= a[i] ^ b[i]
    return difference == 0
