"""`python -m host_sim run`: simulate a fleet of one node file and balance its ledger."""

import json
import sys

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from host_sim import ledger
from host_sim.node import SimulationError
from host_sim.options import takes_plan
from host_sim.plan import START_MS, Plan
from host_sim.run import Run
from tools.build import BuildError

_FAULTS_SHOWN = 10


@click.group()
def main() -> None:
    """The host simulation: the files that go to a board, run against the real broker and cloud end."""


@main.command()
@takes_plan
def run(plan: Plan) -> None:
    """Simulate, then balance the ledger. Exit status 1 when it does not balance, 2 for bad input."""
    simulation, folder = Run(plan), plan.folder
    try:
        _with_progress(simulation)
    except (SimulationError, BuildError, OSError) as error:
        click.echo(f"sim: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.echo("sim: stopped", err=True)
        sys.exit(130)
    if simulation.faults:
        counts = ", ".join(f"{kind} {count}" for kind, count in sorted(simulation.log.counts().items()))
        click.echo(f"faults: {counts or 'none struck'}", err=True)
    for fault in simulation.log.missed(simulation.faults):
        click.echo(f"never struck: {fault.line(START_MS)}", err=True)
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


@main.command()
@takes_plan
def faults(plan: Plan) -> None:
    """Print what would strike in a run, and when; run nothing."""
    for fault in plan.drawn_faults():
        click.echo(fault.line(START_MS))


def _with_progress(simulation: Run) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("simulating", total=1.0)
        simulation.progress = lambda share: progress.update(task, completed=share)
        simulation.execute()


if __name__ == "__main__":
    main()
