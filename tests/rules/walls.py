"""The project's walls as checks over its source: `RULES` names each with the function that finds breaches.

A check takes a `Tree` and yields one line `file:line: what is wrong` for each breach. Everything is read with
`ast`; nothing is imported.
"""

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

MAX_LINES = 300

CHIP_MODULES = {"machine", "network", "esp32", "esp", "rp2", "board"}
HOST_CLOCK_MODULES = {"utime", "uselect", "usocket"}  # they reach past the simulation

# What each room of the device's code may import of the others; boot and main are the room `main`.
BELOW = {
    "main": {"board", "node", "lib"},
    "node": {"node", "lib"},
    "board": {"board", "lib"},
    "lib": {"lib"},
}


@dataclass(frozen=True)
class Import:
    """One imported name: its line, the module, and the attribute for `from module import attribute`."""

    line: int
    module: str
    attribute: str | None = None


class Source:
    """One Python file: its path from the root, its text and tree, and the room it lies in."""

    def __init__(self, root: Path, path: Path) -> None:
        self.path = path.relative_to(root)
        self.text = path.read_text()
        self.tree = ast.parse(self.text, str(self.path))
        self.room = self._room()

    def _room(self) -> str:
        parts = self.path.parts
        if parts[0] == "firmware":
            return "node" if parts[1] == "node" else "main"
        if parts[0] == "boards":
            return "board"
        if parts[:2] == ("host_sim", "chip"):
            return "chip"
        return parts[0]

    @property
    def module(self) -> str:
        """The dotted name under which its room imports it."""
        depth = {"main": 1, "node": 1, "lib": 1, "board": 2, "chip": 3}.get(self.room, 0)
        parts = self.path.with_suffix("").parts[depth:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def imports(self) -> list[Import]:
        """Every import, wherever in the file it stands; `__import__("literal")` too."""
        package = self.module.split(".")
        if self.path.name != "__init__.py":
            package = package[:-1]
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [Import(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                module = ".".join([*above, *([node.module] if node.module else [])])
                found += [Import(node.lineno, module, alias.name) for alias in node.names]
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "__import__"
            ):
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.append(Import(node.lineno, first.value))
        return found

    def at(self, line: int, text: str) -> str:
        """Return `text` with the place in front."""
        return f"{self.path}:{line}: {text}"


class Tree:
    """All Python source of a checkout at `root`, tests left out, and the freeze manifests, which no path holds."""

    ROOMS = ("firmware", "lib", "boards", "host_sim", "cloud", "tools")

    def __init__(self, root: Path) -> None:
        paths = [path for room in self.ROOMS for path in sorted((root / room).rglob("*.py"))]
        self.sources = [Source(root, path) for path in paths if path.name != "manifest.py"]

    def rooms(self, *names: str) -> list[Source]:
        """Return the sources in the rooms named: main, node, lib, board, chip, host_sim, cloud or tools."""
        return [source for source in self.sources if source.room in names]

    @property
    def boards(self) -> list[str]:
        """The names of the boards, or one empty name if there are none."""
        return sorted({source.path.parts[1] for source in self.rooms("board")}) or [""]

    def device(self, board: str) -> dict[str, Source]:
        """Return what the device's path holds on `board`, by module name."""
        here = [source for source in self.rooms("board") if source.path.parts[1] == board]
        return {source.module: source for source in [*self.rooms("main", "node", "lib"), *here]}


def chip_modules(tree: Tree) -> Iterator[str]:
    """The chip's modules come in through the board package only, and nobody reaches the host's clock."""
    for source in tree.rooms("main", "node", "lib", "board"):
        banned = HOST_CLOCK_MODULES | (CHIP_MODULES if source.room in ("node", "lib") else set())
        for imported in source.imports:
            name = imported.module.split(".")[0]
            if name in banned:
                yield source.at(
                    imported.line, f"imports {name}; take what it gives from a port of board.build()"
                )


def host_walls(tree: Tree) -> Iterator[str]:
    """The cloud's decoders are written from the specs, and the simulation starts the cloud by its command."""
    device = {source.module.split(".")[0] for source in tree.rooms("main", "node", "lib", "board")}
    banned = {
        "cloud": device | {"firmware", "lib", "boards", "host_sim"},
        "host_sim": {"cloud"},
    }
    for source in tree.rooms("cloud", "host_sim"):
        for imported in source.imports:
            name = imported.module.split(".")[0]
            if name in banned[source.room]:
                yield source.at(
                    imported.line, f"{source.room}/ imports {imported.module}, which lies behind a wall"
                )


def cycles(tree: Tree) -> Iterator[str]:
    """No module of the device's code imports itself through others, not even lazily."""
    seen = set()
    for board in tree.boards:
        modules = tree.device(board)
        graph = {name: sorted(set(_targets(source, modules)) - {name}) for name, source in modules.items()}
        for name in graph:
            cycle = _path_back(graph, name)
            if cycle and frozenset(cycle) not in seen:
                seen.add(frozenset(cycle))
                yield modules[name].at(1, f"import cycle: {' -> '.join([*cycle, name])}")


def _targets(source: Source, modules: dict[str, Source]) -> Iterator[str]:
    for imported in source.imports:
        for name in (f"{imported.module}.{imported.attribute}", imported.module):
            if name in modules:
                yield name
                break


def _path_back(graph: dict[str, list[str]], start: str) -> list[str]:
    """Return the shortest way from `start` back to it, without its end; empty if there is none."""
    ways = [[start]]
    seen = set()
    while ways:
        way = ways.pop(0)
        for name in graph[way[-1]]:
            if name == start:
                return way
            if name not in seen:
                seen.add(name)
                ways.append([*way, name])
    return []


def size(tree: Tree) -> Iterator[str]:
    """A device module fits in the head: blank lines, comments and docstrings are not counted."""
    for source in tree.rooms("main", "node", "lib", "board"):
        lines = _code_lines(source)
        if lines > MAX_LINES:
            yield source.at(1, f"{lines} lines of code; split it at {MAX_LINES}")


def _code_lines(source: Source) -> int:
    documentation = set()
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            documentation |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    numbered = enumerate(source.text.splitlines(), 1)
    return sum(
        1
        for number, line in numbered
        if number not in documentation and line.strip() and line.strip()[0] != "#"
    )


def downwards(tree: Tree) -> Iterator[str]:
    """Imports point down: boot, main -> board; main -> node -> lib; another lib package by its name only."""
    for board in tree.boards:
        modules = tree.device(board)
        for source in modules.values():
            for imported in source.imports:
                top = imported.module.split(".")[0]
                room = next((to.room for name, to in modules.items() if name.split(".")[0] == top), None)
                if room is None:
                    continue
                if room not in BELOW[source.room]:
                    yield source.at(
                        imported.line, f"{source.room} imports {imported.module} of {room}, above it"
                    )
                elif source.room == "lib" and _inside_another(source, imported, modules):
                    yield source.at(imported.line, f"reaches inside the package {top}")


def _inside_another(source: Source, imported: Import, modules: dict[str, Source]) -> bool:
    if imported.module.split(".")[0] == source.module.split(".")[0]:
        return False
    private = (imported.attribute or "").startswith("_")
    return "." in imported.module or private or f"{imported.module}.{imported.attribute}" in modules


def statements(tree: Tree) -> Iterator[str]:
    """No bare except, no assert outside tests, no print in lib."""
    for source in tree.sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                yield source.at(node.lineno, "bare except; name what is expected")
            elif isinstance(node, ast.Assert):
                yield source.at(node.lineno, "assert outside tests; raise an error that says what and where")
            elif (
                source.room == "lib"
                and isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "print"
            ):
                yield source.at(node.lineno, "print in lib; raise, return or take a writer")


def docstrings(tree: Tree) -> Iterator[str]:
    """Every module and every public class, function and method says what it is.

    A method of a class with a base keeps the base's contract, and the simulated chip imitates names that
    MicroPython documents: neither needs words of its own.
    """
    for source in tree.sources:
        if ast.get_docstring(source.tree) is None and source.text.strip():
            yield source.at(1, "the module has no docstring")
        for node in _public(source.tree) if source.room != "chip" else ():
            if ast.get_docstring(node) is None:
                yield source.at(node.lineno, f"{node.name} has no docstring")


def _public(
    parent: ast.Module | ast.ClassDef,
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in parent.body:
        if not isinstance(
            node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        ) or node.name.startswith("_"):
            continue
        # A property's setter is documented by its getter.
        if any(isinstance(mark, ast.Attribute) and mark.attr == "setter" for mark in node.decorator_list):
            continue
        yield node
        if isinstance(node, ast.ClassDef) and not node.bases:
            yield from _public(node)


RULES: dict[str, Callable[[Tree], Iterator[str]]] = {
    rule.__name__: rule
    for rule in (chip_modules, host_walls, cycles, size, downwards, statements, docstrings)
}
