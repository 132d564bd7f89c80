"""`backup` and `restore`."""

from __future__ import annotations

from pathlib import Path

import click

from cloud.commands.options import DATA


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@DATA
def backup(file: Path, data: Path) -> None:
    """Write database, keys and certificates to FILE, while the cloud runs or not. FILE holds every secret there is."""
    from cloud.backup import backup as write

    size = write(data, file)
    click.echo(f"{file}: {size} bytes, readable by you alone; whoever has it can speak for the cloud")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@DATA
def restore(file: Path, data: Path) -> None:
    """Make the folder --data of the backup FILE. It must not exist yet, or be empty.

    What the nodes sent since they send again, as far as they still have it.
    """
    from cloud.backup import restore as read

    made = read(file, data)
    click.echo(f"{data}: as it was at {made}; nodes added since then must be added again, with the same keys")
