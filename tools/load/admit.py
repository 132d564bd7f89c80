"""Nodes by the hundred, known to a cloud end that is not running yet."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from cloud import pki, store
from tools.load.frames import digest

TENANT = "load"


def admit(data: Path, folder: Path, count: int) -> None:
    """Register `count` nodes in the data folder of a cloud end, and write what each holds into a folder in `folder`."""
    authority = pki.Authority(data)
    pem = serialization.Encoding.PEM
    with store.connect(data, create=True) as db:
        for number in range(count):
            name = f"node{number:04}"
            key = digest(b"load", name.encode())
            store.add_node(db, name, TENANT, key, [])
            given = authority.node(name)
            where = folder / name
            where.mkdir(parents=True)
            secret = serialization.load_der_private_key(given.key, None)
            (where / "node.pem").write_bytes(
                x509.load_der_x509_certificate(given.certificate).public_bytes(pem)
                + secret.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            )
            given.write(where)
            (where / "key").write_bytes(key)
            (where / "ca.pem").write_bytes(authority.certificate.read_bytes())
            (where / "node.json").write_text(json.dumps({"tenant": TENANT, "node": name, "key": key.hex()}))
