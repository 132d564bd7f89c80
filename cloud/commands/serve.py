"""`serve` and the process that it supervises."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from cloud.commands.options import CLOCK, DATA, host_port, open_clock


@click.command()
@DATA
@click.option("--listen", default="127.0.0.1:8883", show_default=True, help="MQTT address; port 0 takes a free one.")
@click.option("--name", "names", multiple=True, metavar="HOST",
              help="A host name or address by which nodes call; may be repeated. Those given earlier stay good.")
@click.option("--web", metavar="HOST:PORT", help="Serve the web page and HTTP API here; port 0 takes a free one.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 16),
              help="Ingest workers; a second one goes on while the first is down.")
@click.option("--guide", is_flag=True, help="Say in words, not in JSON, what is up and what comes next.")
@click.option("--until-eof", is_flag=True, help="End, too, when standard input closes: whoever started it is gone.")
@CLOCK
def serve(
    data: Path, listen: str, names: tuple[str, ...], web: str | None, workers: int, guide: bool, until_eof: bool,
    clock: str | None,
) -> None:  # fmt: skip
    """Run broker, ingest and web page until Ctrl-C; prints one JSON line when ready."""
    from cloud.serve import Supervisor

    mqtt = host_port("--listen", listen)
    page = None if web is None else host_port("--web", web)
    open_clock(clock)
    telling = {"announce": lambda state: click.echo(_guide(data, state))} if guide else {}
    options = {"web": page, "workers": workers, "until_eof": until_eof, **telling}
    asyncio.run(Supervisor(data.absolute(), mqtt, names, clock, **options).run())


def _guide(data: Path, state: dict[str, Any]) -> str:
    """What a person needs when the cloud is up."""
    port = state["mqtt"].rpartition(":")[2]
    lines = [
        ("nodes call", ", ".join(state["names"]) + f"  port {port}"),
        ("data folder", f"{data}  (keys and readings; back it up)"),
        ("add a node", f"fieldnode provision NODE.toml --data {data}  (make provision NODE= DATA=)"),
        ("back up", f"python -m cloud backup FILE --data {data}"),
    ]
    if "web" in state:
        lines.insert(1, ("web page", f"http://{state['web']}/  (API: /openapi.json, Prometheus: /metrics)"))
    return "\n".join(["The cloud is up; Ctrl-C ends it.", *(f"  {label:12}{text}" for label, text in lines)])


@click.command(hidden=True)
@DATA
@click.option("--url", required=True)
@click.option("--alone", is_flag=True, help="There is no other: what a killed one held comes at once.")
@CLOCK
def ingest(data: Path, url: str, alone: bool, clock: str | None) -> None:
    """Run one ingest worker; `serve` does."""
    from cloud.ingest import run

    run(data, url, open_clock(clock), alone=alone)


@click.command(hidden=True)
@DATA
@click.option("--url", required=True)
@CLOCK
def auth(data: Path, url: str, clock: str | None) -> None:
    """Run the callout service; `serve` does."""
    from cloud.auth import run

    run(data, url, open_clock(clock))


@click.command(hidden=True)
@DATA
@click.option("--url", required=True)
@CLOCK
def control(data: Path, url: str, clock: str | None) -> None:
    """Run the control worker; `serve` does."""
    from cloud.control import run

    run(data, url, open_clock(clock))


@click.command(hidden=True)
@DATA
@click.option("--listen", required=True)
@click.option("--host", "hosts", multiple=True)
@CLOCK
def web(data: Path, listen: str, hosts: tuple[str, ...], clock: str | None) -> None:
    """Serve the web page; `serve --web` does."""
    from cloud.web.server import run

    run(data, *host_port("--listen", listen), hosts, open_clock(clock))
