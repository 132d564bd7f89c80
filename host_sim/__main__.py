"""`python -m host_sim run`: simulate a fleet of one node file and balance its ledger."""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from host_sim import ledger
from host_sim.node import SimulationError
from host_sim.plan import ROOT, Plan, members
from host_sim.run import Run
from tools import nodefile
from tools.build import BuildError

EXAMPLES = (Path("nodes/greenhouse.toml"), Path("nodes/cellar.toml"))  # one of each chip family
MAX_DAYS = 366.0
_FAULTS_SHOWN = 10


@click.group()
def main() -> None:
    """The host simulation: the files that go to a board, run against the real broker and cloud end."""


@main.command()
@click.option("--node", "paths", type=click.Path(path_type=Path), multiple=True, default=EXAMPLES, show_default=True,
              help="Node file; may be repeated.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(1, 64), default=2, show_default=True,
              help="How many nodes, made of the node files in turn.")  # fmt: skip
@click.option("--days", type=click.FloatRange(0.01, MAX_DAYS, max_open=True), default=2.0, show_default=True,
              help="Simulated days.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same readings.")
@click.option("--kills", type=click.IntRange(0), default=0, show_default=True,
              help="kill -9 a node, ingest or the broker at so many seeded moments.")  # fmt: skip
@click.option("--folder", type=click.Path(path_type=Path), default=ROOT / "build" / "sim", show_default="build/sim",
              help="Where the run is written; what stood there is removed.")  # fmt: skip
def run(paths: tuple[Path, ...], nodes: int, days: float, seed: int, kills: int, folder: Path) -> None:
    """Simulate, then balance the ledger. Exit status 1 when it does not balance, 2 for bad input."""
    if not days < MAX_DAYS:
        raise click.BadParameter(f"{days} is no number of days up to {MAX_DAYS}", param_hint="--days")
    try:
        fleet = members([nodefile.load(path) for path in paths], nodes)
    except nodefile.NodeFileError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    simulation = Run(Plan(fleet, days, seed, kills, folder.absolute()))
    try:
        _with_progress(simulation)
    except (SimulationError, BuildError, OSError) as error:
        click.echo(f"sim: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("sim: stopped", err=True)
        sys.exit(130)
    if kills:
        counts = ", ".join(f"{what} {count}" for what, count in sorted(simulation.killed.items()))
        click.echo(f"killed {counts} times", err=True)
    book = ledger.compute(folder)
    (folder / "ledger.json").write_text(json.dumps(book.to_json(), indent=2) + "\n")
    for node in book.nodes:
        for fault in node.faults[:_FAULTS_SHOWN]:
            click.echo(f"{node.name}: {fault}", err=True)
    for line in book.lines():
        click.echo(line)
    click.echo(f"{simulation.seconds:.1f} s; ledger in {folder / 'ledger.json'}; one day's temperatures:")
    click.echo(f"  .venv/bin/{simulation.example_query()}")
    sys.exit(0 if book.balanced else 1)


def _with_progress(simulation: Run) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("simulating", total=1.0)
        simulation.progress = lambda share: progress.update(task, completed=share)
        simulation.execute()


if __name__ == "__main__":
    main()
