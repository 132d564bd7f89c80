"""`python -m host_sim.report [FOLDER]`: makes FOLDER/report.html from the files of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from host_sim.plan import ROOT
from host_sim.report import ReportError, make


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=ROOT / "build" / "sim")
@click.option("--wait", is_flag=True, hidden=True, help="ledger.json is there when standard input ends.")
def main(folder: Path, wait: bool) -> None:
    """Make FOLDER/report.html (build/sim by default) from the files of a finished run. Exit status 2 where one of them
    is wrong."""
    try:
        made = make(folder.absolute(), sys.stdin.read if wait else lambda: None)
    except (ReportError, OSError) as error:
        click.echo(f"report: {error}", err=True)
        sys.exit(2)
    for note in made.notes:
        click.echo(f"report: {note}", err=True)
    click.echo(made.path)


if __name__ == "__main__":
    main()
