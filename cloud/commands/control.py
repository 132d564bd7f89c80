"""`send` and `node`: what a node is to do, and how it is."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from cloud import downlink, query, status, store
from cloud.commands.options import DATA, JSON, Refusal, running_clock

_POLL_S = 0.1
_SHOWN = 20


@click.command(epilog="Operations: " + ", ".join(downlink.OPERATIONS.values()) + " [SECONDS], or a number [HEX].")
@click.argument("node")
@click.argument("operation")
@click.argument("argument", required=False)
@click.option("--ttl", default=86400, show_default=True, type=click.IntRange(1, downlink.LONGEST_TTL_S),
              metavar="SECONDS", help="How long the command may wait for the node's next contact.")
@click.option("--wait", type=click.FloatRange(0), metavar="SECONDS", help="Wait so long for its result.")
@DATA
@JSON
def send(
    node: str, operation: str, argument: str | None, ttl: int, wait: float | None, data: Path, as_json: bool
) -> None:
    """Have NODE do something at its next contact; one that is connected does it now.

    With --wait the exit status is 0 only if the node has said that it is done.
    """
    op, args = _parsed(operation, argument)
    db, clock = store.connect(data), running_clock(data)
    number = downlink.enqueue(db, node, op, args, ttl, clock.now_ms())
    command = downlink.command(db, node, number)
    deadline = time.monotonic() + (wait or 0)
    while wait is not None and command.open and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        command = downlink.command(db, node, number)
    if as_json:
        click.echo(json.dumps({"node": node, **_facts(command)}))
    else:
        click.echo(f"{node}: {_line(command)}")
        if command.open:
            due = status.node_status(db, node, clock.now_ms())
            moment = query.iso(due.next_contact_s) if due else ""
            click.echo(f"  next contact by {moment or 'unknown'}; the result: python -m cloud node {node}")
    if wait is not None and command.status != "done":
        raise SystemExit(1)


def _parsed(operation: str, argument: str | None) -> tuple[int, bytes]:
    numbers = {name: number for number, name in downlink.OPERATIONS.items()}
    try:
        if operation.isdigit():
            return int(operation), bytes.fromhex(argument or "")
        if operation == "identify" and argument is not None:
            return numbers[operation], bytes([int(argument)])
    except ValueError as error:
        raise Refusal(f"{operation} {argument}: {error}") from None
    if operation not in numbers:
        raise Refusal(f"no operation {operation!r}; there are {', '.join(numbers)}, and numbers")
    if argument is not None:
        raise Refusal(f"{operation} takes no argument")
    return numbers[operation], b""


def _facts(command: downlink.Command) -> dict[str, Any]:
    def moment(ms: int | None) -> str | None:
        return None if ms is None else query.iso(ms // 1000)

    return {
        "id": command.id, "operation": command.operation, "args": command.args.hex(), "status": command.status,
        "detail": command.detail, "made": moment(command.made_ms), "expires": moment(command.expires_ms),
        "sent": moment(command.sent_ms), "answered": moment(command.answered_ms),
    }  # fmt: skip


def _line(command: downlink.Command) -> str:
    facts = _facts(command)
    when = facts["answered"] or facts["sent"] or facts["made"]
    said = f"command {command.id} {command.operation}: {command.status}"
    said += f" ({command.detail})" if command.detail else ""
    return said + (f", expires {facts['expires']}" if command.status in ("waiting", "sent") else f", {when}")


@click.command()
@click.argument("node")
@DATA
@JSON
def node(node: str, data: Path, as_json: bool) -> None:
    """Show how NODE is, as of its last birth, and its last commands with what became of them."""
    db = store.connect(data)
    state = _state(db, node, running_clock(data).now_ms())
    found = downlink.commands(db, node, _SHOWN)
    if as_json:
        click.echo(json.dumps({**state, "commands": [_facts(command) for command in found]}, indent=1))
        return
    for name, value in state.items():
        if isinstance(value, dict):
            value = "  ".join(f"{key} {count}" for key, count in value.items())
        click.echo(f"{name:13}{'-' if value is None else value}")
    for command in found:
        click.echo(f"  {_line(command)}")


def _state(db: sqlite3.Connection, name: str, now_ms: int) -> dict[str, Any]:
    found = status.node_status(db, name, now_ms)
    if found is None:
        store.node_id(db, name)  # says which there are
        raise Refusal(f"no node {name}")
    facts = asdict(found)
    names = ("last_contact", "last_heard", "next_contact")
    moments = {name: facts.pop(f"{name}_s") for name in names}
    facts["flags"] = ", ".join(facts["flags"])
    facts["refused"] = {reason: count for reason, count in facts["refused"].items() if count}
    del facts["revoked"], facts["presence"], facts["commits"]
    told = {key: query.iso(at) or None for key, at in moments.items()}
    return {"node": facts.pop("node"), "state": found.state, **told, **facts}
