"""`python -m host_sim.ledger FOLDER`: recomputes the ledger of a run, prints it and writes
FOLDER/ledger.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from host_sim.ledger import RunError, compute

_SHOWN_FAULTS = 20


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=Path("build/sim"))
def main(folder: Path) -> None:
    """Recompute the ledger of the run in FOLDER. Exit status 1 if it does not balance, 2 if an input is
    missing."""
    try:
        ledger = compute(folder)
    except (RunError, ValueError) as error:
        click.echo(f"ledger: {error}", err=True)
        sys.exit(2)
    (folder / "ledger.json").write_text(json.dumps(ledger.to_json(), indent=2) + "\n")
    for node in ledger.nodes:
        for fault in node.faults[:_SHOWN_FAULTS]:
            click.echo(f"{node.name}: {fault}", err=True)
        if len(node.faults) > _SHOWN_FAULTS:
            click.echo(f"{node.name}: {len(node.faults) - _SHOWN_FAULTS} more in ledger.json", err=True)
    for line in ledger.lines():
        click.echo(line)
    sys.exit(0 if ledger.balanced else 1)


if __name__ == "__main__":
    main()
