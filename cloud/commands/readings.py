"""`query`, `alerts` and `cursors`: what the nodes sent."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from cloud import query, store
from cloud.commands.options import DATA, JSON, WRITERS, Refusal, write_json


@click.command("query")
@click.argument("node")
@click.option("--channel", help="One channel; without it all, with a column for the channel.")
@click.option("--all-channels", is_flag=True, help="All channels (the default).")
@click.option("--from", "start", help="First moment: ISO 8601 or Unix seconds.")
@click.option("--to", "end", help="End, not included: ISO 8601 or Unix seconds.")
@click.option("--format", "layout", type=click.Choice(["csv", "json", "jsonl"]), default="csv", show_default=True)
@click.option("--raw", is_flag=True, help="With jsonl: integers, exponents and sequence numbers as stored.")
@DATA
def query_command(
    node: str, channel: str | None, all_channels: bool, start: str | None, end: str | None, layout: str, raw: bool,
    data: Path,
) -> None:  # fmt: skip
    """Write the readings of NODE in the order in which they were taken."""
    if channel is not None and all_channels:
        raise Refusal("--channel and --all-channels exclude each other")
    if raw and layout != "jsonl":
        raise Refusal("--raw goes with --format jsonl")
    bounds = [None if text is None else query.parse_time(text) for text in (start, end)]
    found = query.readings(store.connect(data), node, channel, *bounds)
    if raw:
        rows = ({key: value for key, value in asdict(reading).items() if key != "unit"} for reading in found)
    else:
        rows = (_plain(reading, channel is None) for reading in found)
    WRITERS[layout](rows, list(_plain_columns(channel is None)))


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


@click.command()
@click.argument("node")
@DATA
@JSON
def alerts(node: str, data: Path, as_json: bool) -> None:
    """List the events of NODE (alarms, sensors, gaps) and the cloud's notices about it."""
    found = query.alerts(store.connect(data), node)
    if as_json:
        write_json(found)
        return
    for event in found:
        click.echo(f"{event['time'] or '-':20}  {event['kind']:11}  {event['text']}")


@click.command()
@click.argument("node")
@DATA
@JSON
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
