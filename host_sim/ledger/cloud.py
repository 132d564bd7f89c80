"""Rows and events of the cloud end, by its public command alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from host_sim.ledger.run import RunError

Provider = Callable[[str], list[dict[str, Any]]]
"""Takes a node's name and returns its rows or events in the order in which the cloud gives them."""

_REPOSITORY = Path(__file__).parents[2]
_TIMEOUT_S = 120


def _ask(arguments: list[str]) -> str:
    command = [sys.executable, "-m", "cloud", *arguments]
    done = subprocess.run(command, cwd=_REPOSITORY, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode:
        raise RunError(f"cloud {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _objects(text: str) -> list[dict[str, Any]]:
    """The objects of a JSON list, or of one JSON object a line."""
    text = text.strip()
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]


def command_rows(data: Path) -> Provider:
    """A provider of rows: `python -m cloud query NODE --raw --format jsonl` on the cloud's data folder."""
    where = ["--data", str(data.resolve())]
    return lambda node: _objects(_ask(["query", node, "--raw", "--format", "jsonl", *where]))


def command_events(data: Path) -> Provider:
    """A provider of events: `python -m cloud alerts NODE --json` on the cloud's data folder."""
    where = ["--data", str(data.resolve())]
    return lambda node: _objects(_ask(["alerts", node, "--json", *where]))
