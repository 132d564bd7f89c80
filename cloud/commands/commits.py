"""`records` and `tail`: what was committed, as it came."""

from __future__ import annotations

from pathlib import Path

import click

from cloud import query, store
from cloud.commands.options import DATA, JSON, WRITERS


@click.command()
@click.argument("node", required=False)
@click.option("--format", "layout", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@DATA
def records(node: str | None, layout: str, data: Path) -> None:
    """Write every record as it was committed, of NODE or of all nodes, in order of arrival."""
    found = query.records(store.connect(data), node)
    WRITERS[layout](found, ["t_ms", "node", "ring", "stream", "seq", "readings", "bytes"])


@click.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--from-start", is_flag=True, help="Begin with what is committed already.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on until Ctrl-C.")
@DATA
@JSON
def tail(nodes: tuple[str, ...], from_start: bool, follow: bool, data: Path, as_json: bool) -> None:
    """Print records and births as they are committed, of all nodes or of those named, one line each.

    --json writes an object per line: arrived_ms, node, ring, stream, seq (null for a birth), kind, readings, bytes,
    text.
    """
    from cloud.tail import Tail, show

    show(Tail(data, nodes, from_start), follow, as_json)
