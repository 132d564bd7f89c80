"""Where each key of a TOML document stands: tomllib tells values, not lines."""

from __future__ import annotations

import json
import re
import sys

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports] -- installed below 3.11 only

KeyPath = tuple[str | int, ...]
"""Keys and array indices from the root: ("sensor", 0, "limits", "temperature")."""


def line_numbers(source: bytes) -> dict[KeyPath, int]:
    """-> the line, from 1, of every table, key and array element; the root () is at line 1.

    `source` is a document that tomllib accepts. A key stands where it is first named.
    """
    lines: dict[KeyPath, int] = {(): 1}
    tables: dict[KeyPath, int] = {}  # entries so far of each array of tables

    def add(base: KeyPath, keys: list[str], node: Node) -> KeyPath:
        for key in keys:
            base += (key,)
            lines.setdefault(base, node.start_point[0] + 1)
        return base

    def value(base: KeyPath, node: Node) -> None:
        children = [child for child in node.named_children if child.type != "comment"]
        if node.type == "array":
            for index, child in enumerate(children):
                lines[(*base, index)] = child.start_point[0] + 1
                value((*base, index), child)
        elif node.type == "inline_table":
            pairs(base, children)

    def pairs(base: KeyPath, nodes: list[Node]) -> None:
        for pair in nodes:
            if pair.type == "pair":
                key, *rest = [child for child in pair.named_children if child.type != "comment"]
                value(add(base, _keys(key), pair), rest[0])

    def header(keys: list[str], node: Node) -> KeyPath:
        """The path of a header, through the last entry of every array of tables on the way."""
        base: KeyPath = ()
        for key in keys:
            base = add(base, [key], node)
            if base in tables:
                base += (tables[base] - 1,)
        return base

    root = Parser(Language(tree_sitter_toml.language())).parse(source).root_node
    pairs((), root.named_children)
    for table in root.named_children:
        if table.type not in ("table", "table_array_element"):
            continue
        key, *rest = [child for child in table.named_children if child.type != "comment"]
        keys = _keys(key)
        if table.type == "table":
            base = header(keys, table)
        else:
            array = add(header(keys[:-1], table), keys[-1:], table)
            tables[array] = tables.get(array, 0) + 1
            base = (*array, tables[array] - 1)
            lines[base] = table.start_point[0] + 1
        pairs(base, rest)
    return lines


def dotted(at: KeyPath) -> str:
    """("sensor", 0, "interval") -> "sensor[0].interval"; a key that needs quotes has them."""
    text = ""
    for part in at:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", part)
            text += ("." if text else "") + (part if bare else json.dumps(part))
    return text


def _keys(node: Node) -> list[str]:
    """The parts of a bare, quoted or dotted key, read by tomllib itself so that escapes count as there."""
    text = (node.text or b"").decode()
    keys = []
    table = tomllib.loads(text + " = 0")
    while isinstance(table, dict):
        key, table = next(iter(table.items()))
        keys.append(key)
    return keys
