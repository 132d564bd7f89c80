"""`add` and `nodes`: who may speak to the cloud."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cloud import query, store
from cloud.commands.options import DATA, JSON, Refusal, write_csv, write_json


@click.command()
@click.argument("node")
@click.option("--tenant", required=True)
@click.option("--key", required=True, help="The node's key K, 64 hex digits.")
@click.option("--channels", default="[]", help='JSON: [[1, "air.temperature", "degC"], ...]')
@click.option("--credentials", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write what the node needs for TLS here: ca, cert and pkey, DER.")
@DATA
def add(node: str, tenant: str, key: str, channels: str, credentials: Path | None, data: Path) -> None:
    """Register NODE, or bring its key and channels up to date. A running cloud admits it at once.

    Each time --credentials is given, the node gets another certificate; the earlier ones stay good.
    """
    from cloud.serve import announce

    try:
        secret = bytes.fromhex(key)
        named = [(int(number), str(name), str(unit)) for number, name, unit in json.loads(channels)]
    except (ValueError, TypeError) as error:
        raise Refusal(f"--key takes hex digits, --channels JSON [[id, name, unit], ...]: {error}") from None
    db = store.connect(data, create=True)
    registry = store.add_node(db, node, tenant, secret, named)
    if credentials is not None:
        from cloud.pki import Authority

        Authority(data).node(node).write(credentials)
    if not announce(data, registry):
        raise Refusal(f"node {node} is stored, but the running broker did not take it; see {data / 'cloud.log'}")


@click.command()
@DATA
@JSON
def nodes(data: Path, as_json: bool) -> None:
    """List the registered nodes and what their last birth said."""
    found = query.nodes(store.connect(data))
    if as_json:
        write_json(found)
    elif found:
        write_csv(found, list(found[0]))
