"""A node file: read, checked against the schema, and turned into the settings the node holds.

    python -m tools.nodefile nodes/greenhouse.toml          check
    python -m tools.nodefile nodes/greenhouse.toml --json   the compact settings

Every setting is listed in nodes/README.md, which comes from the same schema (firmware/node/schema.py).
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import click

from tools.catalogue import schema
from tools.nodecheck import Checker
from tools.toml_lines import KeyPath, dotted, line_numbers, tomllib


class NodeFileError(Exception):
    """The node file cannot be used. Its str has one line a fault: `file:line: setting: what; what to do`."""


class Channel(NamedTuple):
    """One measured quantity of a node: a reading is its integer x 10^exponent in `unit`."""

    id: int
    name: str
    unit: str
    exponent: int


@dataclass(frozen=True)
class NodeFile:
    """A checked node file. `load` makes it; it holds no fault."""

    path: Path
    board: str
    name: str
    _settings: dict[str, Any] = field(repr=False)  # with passphrases

    def settings(self, name: str | None = None, version: int = 1) -> dict[str, Any]:
        """-> the compact settings of a node, a new dict each time: integers, text and None only.

        `name` replaces the node's name; `version` is the config version, a u32. Raises NodeFileError.
        """
        fault = None if name is None else schema.check(schema.find("node.name"), name)
        if fault:
            raise NodeFileError(f"{self.path}: node.name: {fault}")
        return copy.deepcopy(self._settings) | {"version": version, "node": name or self.name}

    def channels(self) -> list[Channel]:
        """-> the channels, ids from 1, in the order of the sensors and of their drivers' channels."""
        return [Channel(*channel) for channel in self._settings["channels"]]

    def fleet(self, count: int) -> list[str]:
        """-> the names of `count` nodes made of this file: name-1, name-2, ...

        Raises NodeFileError if the longest is too long for a name.
        """
        names = [f"{self.name}-{number}" for number in range(1, count + 1)]
        if names:
            self.settings(names[-1])
        return names


def load(path: str | Path, overrides: Mapping[str, Any] | None = None) -> NodeFile:
    """Read and check a node file. Raises NodeFileError with every fault found.

    `overrides` replaces single settings, by path: {"cloud.port": 2883, "sensor[0].interval": 10}.
    """
    path = Path(path)
    source, document = _read(path)
    lines: dict[KeyPath, int | str] = {**line_numbers(source)}
    for key, value in (overrides or {}).items():
        at = _override(path, document, key, value)
        lines[at] = "override"
    checker = Checker()
    settings = checker.compact(document)
    if checker.faults:
        placed = [(_line(lines, at), at, text) for at, text in checker.faults.items()]
        placed.sort(key=lambda fault: fault[0] if isinstance(fault[0], int) else 0)
        raise NodeFileError("\n".join(f"{path}:{line}: {dotted(at)}: {text}" for line, at, text in placed))
    return NodeFile(path, document["board"], settings["node"], settings)


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """-> the file and what TOML makes of it. Raises NodeFileError."""
    try:
        source = path.read_bytes()
        return source, tomllib.loads(source.decode("utf-8"), parse_float=Decimal)
    except OSError as e:
        raise NodeFileError(f"{path}: {e.strerror or e}; give the path of a node file, as in nodes/") from e
    except UnicodeDecodeError as e:
        line = source.count(b"\n", 0, e.start) + 1
        raise NodeFileError(f"{path}:{line}: is not UTF-8; save the file as UTF-8") from e
    except tomllib.TOMLDecodeError as e:
        place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", str(e))
        line = place[1] if place and place[1] else len(source.splitlines())
        what = str(e)[: place.start()] if place else str(e)
        raise NodeFileError(f"{path}:{line}: is not TOML: {what}; correct this line or the one before") from e


def _override(path: Path, document: dict[str, Any], key: str, value: Any) -> KeyPath:
    """Put one value into a parsed document, making the tables on the way -> its path."""
    parts = tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", key))
    table: Any = document
    try:
        for part in parts[:-1]:
            table = table.setdefault(part, {}) if isinstance(part, str) else table[part]
        table[parts[-1]] = Decimal(str(value)) if isinstance(value, float) else value
    except (AttributeError, IndexError, TypeError) as e:
        raise NodeFileError(f"{path}: no place for override {key!r}; write it as sensor[0].interval") from e
    return parts


def _line(lines: Mapping[KeyPath, int | str], at: KeyPath) -> int | str:
    """The line of a path, or of the nearest table around it."""
    while at not in lines:
        at = at[:-1]
    return lines[at]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the compact settings of the node.")
def main(file: Path, as_json: bool) -> None:
    """Check a node file. Prints every fault and ends with exit code 2 if it cannot be used."""
    try:
        node = load(file)
    except NodeFileError as e:
        click.echo(str(e), err=True)
        sys.exit(2)
    if as_json:
        click.echo(json.dumps(node.settings(), separators=(",", ":")))
    else:
        names = ", ".join(channel.name for channel in node.channels())
        click.echo(f"ok: {node.settings()['tenant']}/{node.name} on {node.board}: {names}")


if __name__ == "__main__":
    main()
