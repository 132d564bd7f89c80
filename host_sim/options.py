"""The options that say what to run, shared by the commands, and the plan they make."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path

import click

from host_sim.faults import plan as fault_plan
from host_sim.faults.plan import FaultSetError
from host_sim.plan import ROOT, Plan, members
from tools import nodefile

EXAMPLES = (Path("nodes/greenhouse.toml"), Path("nodes/cellar.toml"))  # one of each chip family
MAX_DAYS = 366.0

_OPTIONS = (
    click.option("--node", "paths", type=click.Path(path_type=Path), multiple=True, default=EXAMPLES, show_default=True,
                 help="Node file; may be repeated."),
    click.option("--nodes", type=click.IntRange(1, 64), default=2, show_default=True,
                 help="How many nodes, made of the node files in turn."),
    click.option("--days", type=click.FloatRange(0.01, MAX_DAYS, max_open=True), default=2.0, show_default=True,
                 help="Simulated days."),
    click.option("--seed", type=click.IntRange(0), default=1, show_default=True,
                 help="The same seed, the same readings and the same faults."),
    click.option("--faults", "fault_set", default="default", show_default=True,
                 help=f"What goes wrong: {', '.join(fault_plan.names())}, or a file (host_sim/faults/README.md)."),
    click.option("--kills", type=click.IntRange(0), default=0, show_default=True,
                 help="Besides, kill -9 a node, ingest or the broker at so many seeded moments."),
    click.option("--folder", type=click.Path(path_type=Path), default=ROOT / "build" / "sim", show_default="build/sim",
                 help="Where the run is written; what stood there is removed."),
)  # fmt: skip


def takes_plan(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command these options, and hands it the `Plan` as its first argument. Bad input ends the program with
    status 2 and one line.
    """

    @wraps(command)
    def with_plan(
        paths: tuple[Path, ...], nodes: int, days: float, seed: int, fault_set: str, kills: int, folder: Path,
        **rest: object,
    ) -> None:  # fmt: skip
        if not days < MAX_DAYS:
            raise click.BadParameter(f"{days} is no number of days up to {MAX_DAYS}", param_hint="--days")
        try:
            fleet = members([nodefile.load(path) for path in paths], nodes)
            plan = Plan(fleet, days, seed, fault_set, kills, folder.absolute())
            plan.drawn_faults()
        except (nodefile.NodeFileError, FaultSetError) as error:
            click.echo(str(error), err=True)
            sys.exit(2)
        command(plan, **rest)

    for option in reversed(_OPTIONS):
        with_plan = option(with_plan)
    return with_plan
