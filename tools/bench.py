"""Run the benchmarks and write build/bench.json.

    python -m tools.bench [SECTION ...]

Every module of tools/benchmarks is a section. The file maps section and metric to a value and its unit,
{"vm": {"exec_ms": {"value": 24.1, "unit": "ms"}}}. Sections named are measured anew, the others keep what the
file had; with none named the file is made anew.
"""

import importlib
import json
import pkgutil
from pathlib import Path
from types import ModuleType

import click
from rich.console import Console
from rich.table import Table

from tools import benchmarks

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "build" / "bench.json"


def sections() -> dict[str, ModuleType]:
    """Return the benchmark modules by the name of their section."""
    names = sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__))
    modules = [importlib.import_module(f"tools.benchmarks.{name}") for name in names]
    return {module.SECTION: module for module in modules}


def save(results: dict[str, dict[str, benchmarks.Figure]], path: Path, merge: bool) -> None:
    """Write {section: {metric: Figure}} to the JSON file at `path`; `merge` keeps its other sections."""
    known = json.loads(path.read_text()) if merge and path.exists() else {}
    for section, figures in results.items():
        known[section] = {
            name: {"value": figure.value, "unit": figure.unit} for name, figure in figures.items()
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


def table(results: dict[str, dict[str, benchmarks.Figure]]) -> Table:
    """Return the results as a table with the range over all runs."""
    grid = Table("metric", "value", "unit", "range", "runs")
    for section, figures in results.items():
        for name, figure in figures.items():
            spread = f"{figure.low:.4g} .. {figure.high:.4g}" if figure.runs > 1 else ""
            grid.add_row(f"{section}.{name}", f"{figure.value:.4g}", figure.unit, spread, str(figure.runs))
    return grid


@click.command()
@click.argument("names", metavar="[SECTION]...", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Run all benchmarks, or only the sections named."""
    known = sections()
    unknown = [name for name in names if name not in known]
    if unknown:
        click.echo(f"bench: no section {unknown[0]}; there are {', '.join(known)}", err=True)
        raise SystemExit(2)
    results = {name: known[name].run() for name in names or known}
    save(results, RESULT, merge=bool(names))
    Console().print(table(results))


if __name__ == "__main__":
    main()
