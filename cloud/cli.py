"""The command line, `python -m cloud`. Errors are one line on standard error and exit status 2."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cloud import clock as clocks
from cloud import query, store

_DATA = click.option(
    "--data", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the database."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
_CLOCK = click.option("--clock", metavar="file:PATH", help="Read the time from a simulation's clock page.")


class _Refusal(click.ClickException):
    exit_code = 2


class _Group(click.Group):
    """Turns what the parts raise on bad requests into one line and status 2.

    Where the reader of the output has gone (`| head`), a command ends quietly, with status 1.
    """

    def invoke(self, ctx: click.Context) -> Any:
        from cloud.serve import ServeError

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends without a word
        except (store.StoreError, ServeError, OSError) as error:
            raise _Refusal(str(error)) from None


@click.group(cls=_Group)
def main() -> None:
    """The cloud end of Fieldnode."""


def _open_clock(address: str | None) -> clocks.Clock:
    try:
        return clocks.open_clock(address)
    except ValueError as error:
        raise _Refusal(str(error)) from None


@main.command()
@_DATA
@click.option("--listen", default="127.0.0.1:8883", show_default=True, help="MQTT address; port 0 takes a free one.")
@click.option("--name", "names", multiple=True, metavar="HOST",
              help="A host name or address by which nodes call; may be repeated. That of --listen is always one.")
@click.option("--until-eof", is_flag=True, help="End, too, when standard input closes: whoever started it is gone.")
@_CLOCK
def serve(data: Path, listen: str, names: tuple[str, ...], until_eof: bool, clock: str | None) -> None:
    """Run broker and ingest until Ctrl-C; prints one JSON line when ready."""
    from cloud.serve import Supervisor

    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise _Refusal(f"--listen {listen!r}: expected HOST:PORT")
    _open_clock(clock)
    asyncio.run(Supervisor(data.absolute(), host, int(port), names, clock, until_eof).run())


@main.command(hidden=True)
@_DATA
@click.option("--url", required=True)
@_CLOCK
def ingest(data: Path, url: str, clock: str | None) -> None:
    """Run one ingest worker; `serve` does."""
    from cloud.ingest import run

    run(data, url, _open_clock(clock))


@main.command()
@click.argument("node")
@click.option("--tenant", required=True)
@click.option("--key", required=True, help="The node's key K, 64 hex digits.")
@click.option("--channels", default="[]", help='JSON: [[1, "air.temperature", "degC"], ...]')
@click.option("--credentials", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write what the node needs for TLS here: ca, cert and pkey, DER.")
@_DATA
def add(node: str, tenant: str, key: str, channels: str, credentials: Path | None, data: Path) -> None:
    """Register NODE, or bring its key and channels up to date. A running cloud admits it at once.

    Each time --credentials is given, the node gets another certificate; the earlier ones stay good.
    """
    from cloud.serve import announce

    try:
        secret = bytes.fromhex(key)
        named = [(int(number), str(name), str(unit)) for number, name, unit in json.loads(channels)]
    except (ValueError, TypeError) as error:
        raise _Refusal(f"--key takes hex digits, --channels JSON [[id, name, unit], ...]: {error}") from None
    db = store.connect(data, create=True)
    registry = store.add_node(db, node, tenant, secret, named)
    if credentials is not None:
        from cloud.pki import Authority

        Authority(data).node(node).write(credentials)
    if not announce(data, registry):
        raise _Refusal(f"node {node} is stored, but the running broker did not take it; see {data / 'cloud.log'}")


@main.command("query")
@click.argument("node")
@click.option("--channel", help="One channel; without it all, with a column for the channel.")
@click.option("--all-channels", is_flag=True, help="All channels (the default).")
@click.option("--from", "start", help="First moment: ISO 8601 or Unix seconds.")
@click.option("--to", "end", help="End, not included: ISO 8601 or Unix seconds.")
@click.option("--format", "layout", type=click.Choice(["csv", "json", "jsonl"]), default="csv", show_default=True)
@click.option("--raw", is_flag=True, help="With jsonl: integers, exponents and sequence numbers as stored.")
@_DATA
def query_command(
    node: str, channel: str | None, all_channels: bool, start: str | None, end: str | None, layout: str, raw: bool,
    data: Path,
) -> None:  # fmt: skip
    """Write the readings of NODE in the order in which they were taken."""
    if channel is not None and all_channels:
        raise _Refusal("--channel and --all-channels exclude each other")
    if raw and layout != "jsonl":
        raise _Refusal("--raw goes with --format jsonl")
    bounds = [None if text is None else query.parse_time(text) for text in (start, end)]
    found = query.readings(store.connect(data), node, channel, *bounds)
    if raw:
        rows = ({key: value for key, value in asdict(reading).items() if key != "unit"} for reading in found)
    else:
        rows = (_plain(reading, channel is None) for reading in found)
    _WRITERS[layout](rows, list(_plain_columns(channel is None)))


@main.command()
@click.argument("node", required=False)
@click.option("--format", "layout", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@_DATA
def records(node: str | None, layout: str, data: Path) -> None:
    """Write every record as it was committed, of NODE or of all nodes, in order of arrival."""
    found = query.records(store.connect(data), node)
    _WRITERS[layout](found, ["t_ms", "node", "ring", "stream", "seq", "readings", "bytes"])


def _plain_columns(with_channel: bool) -> tuple[str, ...]:
    return ("time", *(("channel",) if with_channel else ()), "value", "unit", "quality")


def _plain(reading: query.Reading, with_channel: bool) -> dict[str, object]:
    row: dict[str, object] = {
        "time": query.iso(reading.time_s),
        "channel": reading.channel,
        "value": reading.decimal,
    }
    row |= {"unit": reading.unit, "quality": reading.quality}
    return {column: row[column] for column in _plain_columns(with_channel)}


def _write_csv(rows: Any, columns: list[str]) -> None:
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _write_json(rows: Any, _columns: list[str]) -> None:
    click.echo(json.dumps(list(rows), indent=1))


def _write_jsonl(rows: Any, _columns: list[str]) -> None:
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")


_WRITERS: dict[str, Callable[[Any, list[str]], None]] = {
    "csv": _write_csv, "json": _write_json, "jsonl": _write_jsonl,
}  # fmt: skip


@main.command()
@_DATA
@_JSON
def nodes(data: Path, as_json: bool) -> None:
    """List the registered nodes and what their last birth said."""
    found = query.nodes(store.connect(data))
    if as_json:
        _write_json(found, [])
    elif found:
        _write_csv(found, list(found[0]))


@main.command()
@click.argument("node")
@_DATA
@_JSON
def alerts(node: str, data: Path, as_json: bool) -> None:
    """List the events of NODE (alarms, sensors, gaps) and the cloud's notices about it."""
    found = query.alerts(store.connect(data), node)
    if as_json:
        _write_json(found, [])
        return
    for event in found:
        click.echo(f"{event['time'] or '-':20}  {event['kind']:11}  {event['text']}")


@main.command()
@click.argument("nodes", nargs=-1, metavar="[NODE]...")
@click.option("--from-start", is_flag=True, help="Begin with what is committed already.")
@click.option("--follow/--no-follow", default=True, show_default=True, help="Go on until Ctrl-C.")
@_DATA
@_JSON
def tail(nodes: tuple[str, ...], from_start: bool, follow: bool, data: Path, as_json: bool) -> None:
    """Print records and births as they are committed, of all nodes or of those named, one line each.

    --json writes an object per line: arrived_ms, node, ring, stream, seq (null for a birth), kind, readings, bytes,
    text.
    """
    from cloud.tail import Tail, show

    show(Tail(data, nodes, from_start), follow, as_json)


@main.command()
@click.argument("node")
@_DATA
@_JSON
def cursors(node: str, data: Path, as_json: bool) -> None:
    """Show what is committed of NODE, ring by ring, and what was counted."""
    found = query.cursors(store.connect(data), node)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for ring in ("1", "2"):
        if ring in found:
            facts = found[ring]
            missing = sum(gap["hi"] - gap["lo"] + 1 for gap in facts["gaps"])
            click.echo(
                f"ring {ring}  stream {facts['stream']:08x}  committed to {facts['cum']}  records {facts['rows']}"
                f"  missing {missing}  conflicts {facts['conflicts']}"
            )
    click.echo("  ".join(f"{name} {count}" for name, count in found["counters"].items()))


def _write_json_object(found: dict[str, Any]) -> None:
    click.echo(json.dumps(found, indent=1))
