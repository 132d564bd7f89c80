"""`serve` and the process that it supervises."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from cloud.commands.options import CLOCK, DATA, host_port, open_clock


@click.command()
@DATA
@click.option("--listen", default="127.0.0.1:8883", show_default=True, help="MQTT address; port 0 takes a free one.")
@click.option("--name", "names", multiple=True, metavar="HOST",
              help="A host name or address by which nodes call; may be repeated. That of --listen is always one.")
@click.option("--until-eof", is_flag=True, help="End, too, when standard input closes: whoever started it is gone.")
@CLOCK
def serve(data: Path, listen: str, names: tuple[str, ...], until_eof: bool, clock: str | None) -> None:
    """Run broker and ingest until Ctrl-C; prints one JSON line when ready."""
    from cloud.serve import Supervisor

    host, port = host_port("--listen", listen)
    open_clock(clock)
    asyncio.run(Supervisor(data.absolute(), host, port, names, clock, until_eof).run())


@click.command(hidden=True)
@DATA
@click.option("--url", required=True)
@CLOCK
def ingest(data: Path, url: str, clock: str | None) -> None:
    """Run one ingest worker; `serve` does."""
    from cloud.ingest import run

    run(data, url, open_clock(clock))
