"""What nats-server's auth callout wants signed: NATS JWTs, by an Ed25519 key that it knows by its nkey.

An nkey is base32 of: prefix byte, 32-byte public key, CRC-16/XMODEM little-endian. A NATS JWT is a JWS with the
algorithm "ed25519-nkey" whose `iss` and `sub` are nkeys (NATS ADR-14, ADR-26).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ACCOUNT = 0
"""The prefix byte of an account's nkey, which then begins with "A"."""


class Issuer:
    """The key that signs for the callout service; nats-server has its `name` in the configuration."""

    def __init__(self, secret: bytes) -> None:
        """`secret` is the Ed25519 private key, 32 bytes. Raises ValueError on another length."""
        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        raw = bytes([_ACCOUNT]) + self._key.public_key().public_bytes_raw()
        self.name = _base32(raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little"))

    def sign(self, claims: dict[str, Any]) -> str:
        """Return a JWT of `claims`, to which iss, iat and jti are added."""
        whole = {**claims, "iss": self.name, "iat": int(time.time())}
        whole["jti"] = _base32(hashlib.sha256(json.dumps(whole).encode()).digest())
        text = ".".join(_base64(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, whole))
        return f"{text}.{_base64(self._key.sign(text.encode()))}"


def claims(token: bytes) -> dict[str, Any]:
    """Return the claims of a JWT whose sender is known otherwise; the signature is not checked. Raises ValueError."""
    parts = token.split(b".")
    if len(parts) != 3:
        raise ValueError("not a JWT")
    found = json.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    if not isinstance(found, dict):
        raise ValueError("not a JWT's claims")
    return found


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
