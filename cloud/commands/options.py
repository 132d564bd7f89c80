"""What the commands share: options, refusals and how rows are written."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from cloud import clock as clocks

DATA = click.option(
    "--data", default="cloud-data", show_default=True, envvar="FIELDNODE_DATA",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the database; the environment's FIELDNODE_DATA stands in for it.",
)  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Write JSON.")
CLOCK = click.option("--clock", metavar="file:PATH", help="Read the time from a simulation's clock page.")


class Refusal(click.ClickException):
    """What was asked for cannot be done: one line on standard error and exit status 2."""

    exit_code = 2


def open_clock(address: str | None) -> clocks.Clock:
    """Return the clock of --clock. Raises Refusal."""
    try:
        return clocks.open_clock(address)
    except ValueError as error:
        raise Refusal(str(error)) from None


def running_clock(data: Path) -> clocks.Clock:
    """Return the clock that the running cloud goes by, so that a moment means the same here and there."""
    from cloud.serve import clock_of

    return open_clock(clock_of(data))


def host_port(option: str, text: str) -> tuple[str, int]:
    """Return (host, port) of the HOST:PORT given to `option`. Raises Refusal."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise Refusal(f"{option} {text!r}: expected HOST:PORT")
    return host, int(port)


def write_csv(rows: Iterable[dict[str, Any]], columns: Sequence[str]) -> None:
    """Write `rows` to standard output, a header first."""
    writer = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def write_json(rows: Iterable[dict[str, Any]], _columns: Sequence[str] = ()) -> None:
    """Write `rows` to standard output as one list."""
    click.echo(json.dumps(list(rows), indent=1))


def write_jsonl(rows: Iterable[dict[str, Any]], _columns: Sequence[str] = ()) -> None:
    """Write `rows` to standard output, an object a line."""
    for row in rows:
        sys.stdout.write(json.dumps(row) + "\n")


WRITERS: dict[str, Callable[[Iterable[dict[str, Any]], Sequence[str]], None]] = {
    "csv": write_csv, "json": write_json, "jsonl": write_jsonl,
}  # fmt: skip
