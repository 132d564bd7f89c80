"""Which lines of the device's code the tests in tests/device reach.

    python -m tools.coverage [--json]

The VM cannot trace. So the tests run, in the unix port alone, on copies of firmware and lib in build/coverage that
count for themselves: before each statement stands, on the same line, a mark that sets one byte of a table. Line
numbers stay, and with them tracebacks. A line counts if a statement begins in it; docstrings, `def`, `class`, `else`
and the like are no statements that could be missed on their own.

Coverage tells what no test has run; it proves nothing of what one has. Exits with 1 if a test failed.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "coverage"
ROOMS = ("firmware", "lib")
# The counting copies are larger; how much heap the code needs is not asked here.
HEAP = "4096K"

# Imported by each copy. A call that returns None stands where a statement has no room before it, as in `if`.
_COUNTER = '''
import os
import sys
from binascii import hexlify

_tables = {}


class Lines:
    def __init__(self, count):
        self.seen = bytearray(count + 1)

    def hit(self, line):
        self.seen[line] = 1


def lines(name, count):
    _tables[name] = Lines(count)
    return _tables[name]


def _save():
    with open("%s/%s" % (os.getenv("COVERAGE_HITS"), hexlify(os.urandom(8)).decode()), "w") as file:
        for name, table in _tables.items():
            for line, seen in enumerate(table.seen):
                if seen:
                    file.write("%s %d\\n" % (name, line))


sys.atexit(_save)
'''

_Simple = (
    ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.Return, ast.Raise, ast.Pass, ast.Break, ast.Continue,
    ast.Import, ast.ImportFrom, ast.Delete, ast.Assert,
)  # fmt: skip


@dataclass(frozen=True)
class Covered:
    """What the tests reached of one file: its path from the root, and line numbers, ascending."""

    name: str
    lines: list[int]
    missing: list[int]

    @property
    def percent(self) -> float:
        """Share of the lines that were reached, 0..100; 100 for a file without any."""
        return 100.0 * (1 - len(self.missing) / len(self.lines)) if self.lines else 100.0


def instrument(source: str, name: str) -> tuple[str, list[int]]:
    """Return the copy of `source` that counts under `name`, and the numbers of the lines that count.

    The first line of `source` is a docstring, a comment or a simple statement.
    """
    tree = ast.parse(source)
    docstrings = {
        node.body[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and isinstance(node.body[0] if node.body else None, ast.Expr)
        and ast.get_docstring(node, clean=False) is not None
    }
    # (line, column in bytes) -> what goes in there.
    marks: dict[tuple[int, int], str] = {}
    counted = set()
    for node in ast.walk(tree):
        if isinstance(node, _Simple) and node not in docstrings:
            marks[node.lineno, node.col_offset] = f"_seen[{node.lineno}]=1;"
            counted.add(node.lineno)
            continue
        head = _head(node)
        if head is None or head.end_lineno is None or head.end_col_offset is None:
            continue
        counted.add(head.lineno)
        marks[head.lineno, head.col_offset] = f"_hit({head.lineno})or("
        end = head.end_lineno, head.end_col_offset
        marks[end] = ")" + marks.get(end, "")
    opening = f"import _coverage;_lines=_coverage.lines({name!r},{source.count(chr(10)) + 1});"
    marks[1, 0] = opening + "_seen=_lines.seen;_hit=_lines.hit;" + marks.get((1, 0), "")
    lines = [line.encode() for line in source.splitlines(keepends=True)] or [b""]
    for (line, column), mark in sorted(marks.items(), reverse=True):
        lines[line - 1] = lines[line - 1][:column] + mark.encode() + lines[line - 1][column:]
    return b"".join(lines).decode(), sorted(counted)


def _head(node: ast.AST) -> ast.expr | None:
    """Return the expression that a compound statement evaluates first, to carry the mark; None for another node.

    In a loop over `range` it is that call's first argument: the VM knows the call, and loops without an object.
    """
    if isinstance(node, ast.If | ast.While):
        return node.test
    if isinstance(node, ast.With | ast.AsyncWith):
        return node.items[0].context_expr
    if isinstance(node, ast.For | ast.AsyncFor):
        call = node.iter
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range":
            return call.args[0]
        return call
    return None


def copies(root: Path, out: Path) -> dict[str, list[int]]:
    """Write the counting copies of all rooms below `root` to `out`; return each file's countable lines."""
    shutil.rmtree(out, ignore_errors=True)
    found = {}
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            text, found[name] = instrument(path.read_text(), name)
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text)
    (out / "lib" / "_coverage.py").write_text(_COUNTER)
    (out / "hits").mkdir()
    return found


def run(out: Path = OUT) -> tuple[list[Covered], bool]:
    """Run the tests on the copies; return what they reached, and whether all of them passed."""
    found = copies(ROOT, out)
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/device", "-k", "not 31-bit"]
    options = ["-o", f"device_code={out}", "-o", f"device_heap={HEAP}"]
    environment = os.environ | {"COVERAGE_HITS": str(out / "hits")}
    done = subprocess.run([*pytest, *options], cwd=ROOT, env=environment, stdout=sys.stderr)
    return covered(found, out / "hits"), done.returncode == 0


def covered(found: dict[str, list[int]], hits: Path) -> list[Covered]:
    """Return what the VMs reached that wrote into the folder `hits`, of the files and lines in `found`."""
    reached: dict[str, set[int]] = {name: set() for name in found}
    for path in hits.iterdir():
        for line in path.read_text().splitlines():
            name, _, number = line.rpartition(" ")
            reached[name].add(int(number))
    return [Covered(name, lines, sorted(set(lines) - reached[name])) for name, lines in found.items()]


def ranges(numbers: list[int], counted: list[int]) -> str:
    """Return `numbers` in words: neighbours among the `counted` lines become one range, as in "3, 7-12"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and counted.index(number) == counted.index(parts[-1][-1]) + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout instead of the table")
def main(as_json: bool) -> None:
    """Run the device tests and show which lines of firmware and lib they reach."""
    files, passed = run()
    if as_json:
        print(json.dumps({file.name: {"lines": file.lines, "missing": file.missing} for file in files}))
    else:
        grid = Table("file", "lines", "missed", "%", "missing")
        for file in files:
            if file.lines:
                missing = ranges(file.missing, file.lines)
                grid.add_row(file.name, str(len(file.lines)), str(len(file.missing)), f"{file.percent:.0f}", missing)
        lines, missed = sum(len(file.lines) for file in files), sum(len(file.missing) for file in files)
        grid.add_row("all", str(lines), str(missed), f"{100 - 100 * missed / lines:.0f}", "", style="bold")
        Console(width=None if sys.stdout.isatty() else 140).print(grid)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
