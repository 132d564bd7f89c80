"""`python -m host_sim`: simulate a fleet and balance its ledger, print what would go wrong, sweep over seeds; or power
one simulated board at a serial port."""

import json
import sys
from pathlib import Path
from typing import NoReturn


def _stopped() -> NoReturn:
    """Ctrl-C, at whatever time."""
    sys.stderr.write("sim: stopped\n")
    sys.exit(130)


try:
    import click

    from host_sim import ledger, report, sweep, view
    from host_sim.node import SimulationError
    from host_sim.options import takes_plan
    from host_sim.plan import ROOT, START_MS, Plan
    from host_sim.run import Run
    from tools import nodefile
    from tools.build import BuildError
except KeyboardInterrupt:  # reading all of this takes a third of a second
    _stopped()

_FAULTS_SHOWN = 10


class _Group(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _stopped()


@click.group(cls=_Group)
def main() -> None:
    """The host simulation: the files that go to a board, run against the real broker and cloud end."""


@main.command()
@takes_plan
@click.option("--json", "as_json", is_flag=True, help="Write an object per event to standard output, and nothing else.")
@click.option("--strict", is_flag=True, help="Exit status 1, too, when a fault of the plan never struck.")
@click.option("--plain", is_flag=True, help="Write lines, as where standard error is no terminal.")
def run(plan: Plan, as_json: bool, strict: bool, plain: bool) -> None:
    """Simulate, then balance the ledger. Exit status 1 when it does not balance, 2 for bad input."""
    try:
        with view.choose(as_json, plain) as shown:
            simulation = Run(plan, shown.update)
            shown.start(plan)
            simulation.execute()
            book, page = _settle(plan.folder)
            shown.finish(book)
        _say_more(simulation, book, page, as_json)
    except BrokenPipeError:
        raise  # nobody reads any longer; click ends without a word
    except (SimulationError, BuildError, ledger.RunError, OSError) as error:
        click.echo(f"sim: {error}", err=True)
        sys.exit(1)
    hollow = strict and simulation.log.missed(simulation.faults)
    sys.exit(0 if book.balanced and not hollow else 1)


def _settle(folder: Path) -> tuple[ledger.Ledger, str]:
    """The ledger, and where the report is, or why there is none. They are made at the same time."""
    with report.begin(folder) as pending:
        book = ledger.compute(folder)
        (folder / "ledger.json").write_text(json.dumps(book.to_json(), indent=2) + "\n")
        try:
            return book, str(pending.finish().path)
        except report.ReportError as error:
            return book, f"none: {error}"


def _say_more(simulation: Run, book: ledger.Ledger, page: str, as_json: bool) -> None:
    """What struck and what the ledger found, and, for a person, what to look at next."""
    if simulation.faults:
        counts = ", ".join(f"{kind} {count}" for kind, count in sorted(simulation.log.counts().items()))
        click.echo(f"faults: {counts or 'none struck'}", err=True)
    for fault in simulation.log.missed(simulation.faults):
        click.echo(f"never struck: {fault.line(START_MS)}", err=True)
    for node in book.nodes:
        for fault in node.faults[:_FAULTS_SHOWN]:
            click.echo(f"{node.name}: {fault}", err=True)
    if not as_json:
        click.echo(f"{simulation.seconds:.1f} s; ledger in {simulation.plan.folder / 'ledger.json'}")
        click.echo(f"report: {page}")
        click.echo("one day's temperatures:")
        click.echo(f"  .venv/bin/{simulation.example_query()}")


@main.command()
@takes_plan
def faults(plan: Plan) -> None:
    """Print what would strike in a run, and when; run nothing."""
    for fault in plan.drawn_faults():
        click.echo(fault.line(START_MS))


@main.command("sweep")
@click.option("--seeds", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, from 1 on.")
@click.option("--days", type=click.FloatRange(0.01, 366), default=2.0, show_default=True, help="Of each run.")
@click.option("--faults", "fault_set", default="all", show_default=True, help="As of `run`.")
def sweep_seeds(seeds: int, days: float, fault_set: str) -> None:
    """Run under one seed after another, and print each one's ledger. Exit status 1 if any does not balance."""
    failed = 0
    for line, balanced in sweep.runs(seeds, days, fault_set):
        click.echo(line)
        failed += not balanced
    click.echo(f"{seeds - failed} of {seeds} balanced")
    sys.exit(1 if failed else 0)


@main.command()
@click.option("--node", "path", type=click.Path(path_type=Path), required=True, help="Node file: board and sensors.")
@click.option("--port-link", "link", type=click.Path(path_type=Path), help="Where the serial port shall be found.")
@click.option("--folder", type=click.Path(path_type=Path), default=ROOT / "build" / "board", show_default="build/board",
              help="The board's flash, kept from run to run; its console.")  # fmt: skip
@click.option("--blank", is_flag=True, help="Begin with an erased flash.")
@click.option("--sleep-speed", type=click.IntRange(1, 100_000), default=1, show_default=True,
              help="How many times faster deep sleep passes; the clock then runs ahead of yours.")  # fmt: skip
def board(path: Path, link: Path | None, folder: Path, blank: bool, sleep_speed: int) -> None:
    """Power a simulated board at a serial port, for mpremote and the other tools that talk to real ones.

    It boots what is in its flash, and reaches whatever cloud end its settings name.
    """
    from host_sim.bench import BenchBoard, command

    try:
        node_file = nodefile.load(path)
        folder = folder.absolute()
        made = BenchBoard(
            node_file, folder, (link or command.default_link(folder)).absolute(), blank, sleep_speed,
            changed=lambda state: click.echo(state),
        )  # fmt: skip
    except (nodefile.NodeFileError, ValueError, OSError) as error:
        click.echo(f"board: {error}", err=True)
        sys.exit(2)
    sys.exit(command.run(made))


if __name__ == "__main__":
    main()
