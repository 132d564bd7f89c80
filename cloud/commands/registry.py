"""`add`, `revoke` and `nodes`: who may speak to the cloud."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from cloud import query, status, store
from cloud.commands.options import DATA, JSON, Refusal, running_clock, write_csv, write_json


@click.command()
@click.argument("node")
@click.option("--tenant", required=True)
@click.option("--key", required=True, help="The node's key K, 64 hex digits; - reads them from standard input.")
@click.option("--channels", default="[]", help='JSON: [[1, "air.temperature", "degC"], ...]')
@click.option("--credentials", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write what the node needs for TLS here: ca, cert and pkey, DER. What is good there is kept.")
@click.option("--renew", is_flag=True, help="Write a new key and certificate even so; the earlier ones stay good.")
@DATA
@JSON
def add(
    node: str, tenant: str, key: str, channels: str, credentials: Path | None, renew: bool, data: Path, as_json: bool
) -> None:
    """Register NODE, or bring its key and channels up to date, and say what was done.

    A running cloud admits it at once. The same command again changes nothing.
    """
    try:
        secret = bytes.fromhex(sys.stdin.readline() if key == "-" else key)
        named = [(int(number), str(name), str(unit)) for number, name, unit in json.loads(channels)]
    except (ValueError, TypeError) as error:
        raise Refusal(f"--key takes hex digits, --channels JSON [[id, name, unit], ...]: {error}") from None
    db = store.connect(data, create=True)
    before = store.registration(db, node)
    registry = store.add_node(db, node, tenant, secret, named)
    after = store.registration(db, node)
    if before is None or after is None:
        did = "added"
    elif before.revoked:
        did = "readmitted"
    else:
        did = "unchanged" if before == after else "updated"
    issued = "none"
    if credentials is not None:
        from cloud.pki import Authority

        authority = Authority(data)
        generation = 0 if after is None else after.generation
        issued = "kept" if not renew and authority.holds(credentials, node, generation) else "written"
        if issued == "written":
            authority.node(node, generation).write(credentials)
    _report(data, registry, as_json, node, tenant=tenant, did=did, credentials=issued)


@click.command()
@click.argument("node")
@DATA
@JSON
def revoke(node: str, data: Path, as_json: bool) -> None:
    """Refuse NODE from now on and cut it off; its readings stay.

    `add` admits it again, with new credentials only: those of before stay refused.
    """
    db = store.connect(data)
    before = store.registration(db, node)
    registry = store.revoke_node(db, node)
    did = "unchanged" if before is not None and before.revoked else "revoked"
    _report(data, registry, as_json, node, tenant=before.tenant if before else "", did=did, credentials="none")


def _report(data: Path, registry: int, as_json: bool, node: str, **done: str) -> None:
    """Have the broker know, then say what was done. Raises Refusal if the broker does not take it."""
    from cloud.serve import announce, is_served

    running = is_served(data)
    if not announce(data, registry):
        raise Refusal(f"node {node} is stored, but the running broker did not take it; see {data / 'cloud.log'}")
    if as_json:
        click.echo(json.dumps({"node": node, **done, "running": running}))
        return
    credentials = {"none": "", "kept": "; its credentials are good and stay", "written": "; credentials written"}
    broker = "the broker knows" if running else "the cloud is not running; it will know when it starts"
    click.echo(f"{node} of {done['tenant']}: {done['did']}{credentials[done['credentials']]}; {broker}")


@click.command()
@DATA
@JSON
def nodes(data: Path, as_json: bool) -> None:
    """List the registered nodes, how they are, and what their last birth said."""
    db, now_ms = store.connect(data), running_clock(data).now_ms()
    found = query.nodes(db)
    for facts in found:
        state = status.node_status(db, facts["node"], now_ms)
        if state is not None:
            silent_s = None if state.last_heard_s is None else max(0, now_ms // 1000 - state.last_heard_s)
            facts |= {"state": state.state, "silent_s": silent_s, "refused": sum(state.refused.values())}
    if as_json:
        write_json(found)
    elif found:
        write_csv(found, list(found[0]))
