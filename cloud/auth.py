"""The callout service: nats-server asks it about every MQTT connection, before anything comes of it.

A node is admitted if it shows a certificate of ours for a node that is registered, of its present generation, and not
revoked, and calls itself by that node's name: certificate, client id and subjects are one. It may publish exactly its
six `up` subjects and subscribe its `dn.*`. So a node cannot end another's connection by taking its client id. The
registry is read at each question; only a new tenant needs a new configuration of the broker.

While nobody answers, the broker refuses whoever comes, after broker.CALLOUT_TIMEOUT_S; who is connected stays.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import nats.errors
from cryptography import x509
from cryptography.x509.oid import NameOID
from nats.aio.client import Client
from nats.aio.msg import Msg

from cloud import broker, nkey, pki, refusal, store
from cloud.child import until_told
from cloud.clock import Clock

_ASKED = "$SYS.REQ.USER.AUTH"
_CONNECTIONS = "$SYS.REQ.SERVER.PING.CONNZ"
_PAGE = 256
_REQUEST_S = 2.0
_POLL_S = 0.05
"""How often the registry is looked at for who is to be cut off."""


class Refused(Exception):
    """Why a connection is refused: a reason of refusal.REASONS, the certificate's node ("" if none), and a notice."""

    def __init__(self, reason: str, node: str = "", text: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.node = node
        self.text = text


def admit(db: sqlite3.Connection, asked: dict[str, Any]) -> tuple[str, str]:
    """Return (tenant, node) of a connection, as the claim "nats" of the broker's question tells of it.

    Raises Refused.
    """
    chains = asked.get("client_tls", {}).get("verified_chains") or []
    if not chains or not chains[0] or asked["client_info"].get("type") != "mqtt":
        raise Refused("no_certificate")
    subject = x509.load_pem_x509_certificate(chains[0][0].encode()).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else ""
    try:
        row = db.execute("SELECT tenant, generation, revoked FROM node WHERE name = ?", (name,)).fetchone()
        claimed = str(asked["client_info"].get("mqtt_id", ""))
        registered = db.execute("SELECT 1 FROM node WHERE name = ?", (claimed,)).fetchone()
    except sqlite3.Error:
        raise Refused("database") from None
    if row is None:
        raise Refused("unknown")
    tenant, generation, revoked = row
    if revoked or subject.rfc4514_string() != pki.user_of(name, generation):
        raise Refused("revoked", name)
    if claimed != name:
        # Only names of the registry, or whoever makes ids up could fill the table of notices.
        whose = f"the client id of {claimed}" if registered else "a client id of no node"
        raise Refused("client_id", name, f"its certificate came with {whose}")
    if asked["connect_opts"].get("user") or asked["connect_opts"].get("pass"):
        raise Refused("user_name", name, "its certificate came with a user name")
    return tenant, name


class Auth:
    """One callout service over a database, its issuer's key, what it counts, and a connection that `run` makes."""

    def __init__(self, db: sqlite3.Connection, issuer: nkey.Issuer, tally: refusal.Tally) -> None:
        """It only reads `db`, so that no lock of ingest's delays an answer."""
        self._db = db
        self._issuer = issuer
        self._client = Client()
        self._tally = tally
        self._enforced: int | None = None
        """The version of the registry by which those were cut off who are no longer admitted."""

    async def run(self, url: str, password: str) -> None:
        """Work until cancelled. Prints "ready" once it answers, and each version of the registry that is enforced."""

        async def error(problem: Exception) -> None:
            print(f"auth: {type(problem).__name__}: {problem}", file=sys.stderr)

        async def reconnected() -> None:
            self._enforced = None

        await self._client.connect(
            url, user=broker.AUTH_USER, password=password, max_reconnect_attempts=-1,
            reconnect_time_wait=0.05,  # type: ignore[arg-type]
            ping_interval=5, error_cb=error, reconnected_cb=reconnected,
        )  # fmt: skip
        await self._client.subscribe(_ASKED, cb=self._answer)
        await self._client.flush()
        await self._enforce()
        print("ready", flush=True)
        try:
            while True:
                await asyncio.sleep(_POLL_S)
                await self._enforce()
        finally:
            await self._client.close()

    async def _answer(self, question: Msg) -> None:
        try:
            asked = nkey.claims(question.data)["nats"]
            user, server = asked["user_nkey"], asked["server_id"]["id"]
        except (ValueError, KeyError, TypeError) as problem:
            print(f"auth: not a question: {type(problem).__name__}: {problem}", file=sys.stderr)
            return
        answer: dict[str, Any] = {"type": "authorization_response", "version": 2}
        try:
            answer["jwt"] = self._issuer.sign(_user(user, *admit(self._db, asked)))
        except Refused as refused:
            self._tally.add(refused.node, refused.reason, refused.text)
            answer["error"] = refused.reason
        with suppress(nats.errors.Error):
            await question.respond(self._issuer.sign({"sub": user, "aud": server, "nats": answer}).encode())

    async def _enforce(self) -> None:
        """If the registry has changed, end the connections of nodes that are revoked or unknown by now."""
        try:
            version = store.registry_version(self._db)
            if version == self._enforced:
                return
            self._enforced = version  # None again if the broker goes meanwhile
            # The connections first: whoever is among them was registered before the nodes are read. One without a
            # certificate yet is in the midst of its handshake; about that one the broker will ask.
            connections = await self._connections()
            nodes = self._db.execute("SELECT name, generation FROM node WHERE NOT revoked")
            admitted = {pki.user_of(name, generation) for name, generation in nodes}
            for server, connection in connections:
                certificates = connection.get("tls_peer_certs")
                if certificates and certificates[0].get("subject") not in admitted:
                    kick = json.dumps({"cid": connection["cid"]}).encode()
                    await self._client.request(f"$SYS.REQ.SERVER.{server}.KICK", kick, timeout=_REQUEST_S)
        except (nats.errors.Error, asyncio.TimeoutError, sqlite3.OperationalError) as problem:
            print(f"auth: nobody cut off: {type(problem).__name__}: {problem}", file=sys.stderr)
            self._enforced = None
            return
        print(f"[INF] registry enforced: {version}", flush=True)

    async def _connections(self) -> list[tuple[str, dict[str, Any]]]:
        """Return (server's id, what it says) of all MQTT connections, some maybe twice.

        The broker lists them by age. Read from the youngest page on, for one that closes meanwhile moves the younger
        ones to places that were not read yet.
        """
        found: list[tuple[str, dict[str, Any]]] = []
        total = (await self._page(0))["total"]
        for offset in range(max(total - 1, 0) // _PAGE * _PAGE, -1, -_PAGE):
            answer = await self._page(offset)
            page = answer.get("connections") or []
            found += [(answer["server_id"], one) for one in page if one.get("type") == "mqtt"]
        return found

    async def _page(self, offset: int) -> dict[str, Any]:
        request = json.dumps({"auth": True, "offset": offset, "limit": _PAGE, "sort": "cid"}).encode()
        return json.loads((await self._client.request(_CONNECTIONS, request, timeout=_REQUEST_S)).data)["data"]


def _user(nkey_of_user: str, tenant: str, node: str) -> dict[str, Any]:
    """Return the claims of an admitted node's user.

    They have no name: nats-server would take it for a user of its configuration and, missing it there, would
    disconnect the node at every reload.
    """
    permissions = broker.node_permissions(tenant, node)
    nats_claims = {
        "type": "user", "version": 2, "allowed_connection_types": ["MQTT"],
        "pub": permissions["publish"], "sub": permissions["subscribe"], "subs": -1, "data": -1, "payload": -1,
    }  # fmt: skip
    return {"sub": nkey_of_user, "aud": broker.account_of(tenant), "nats": nats_claims}


async def _main(data: Path, url: str, clock: Clock) -> None:
    counts, tally = store.connect(data, create=True), refusal.Tally()
    service = Auth(store.connect_to_read(data), nkey.Issuer(broker.callout_secret(data)), tally)
    writing = asyncio.create_task(refusal.keep_writing(tally, counts, clock))
    await until_told(service.run(url, broker.auth_password(data)))
    writing.cancel()


def run(data: Path, url: str, clock: Clock) -> None:
    """Answer the broker at `url` from the registry in `data` until SIGTERM or the end of standard input."""
    asyncio.run(_main(data, url, clock))
