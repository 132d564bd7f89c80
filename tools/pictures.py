"""Make the pictures of docs/pictures, by running what they show: `python -m tools.pictures`, or `make pictures`.

report-light.png, report-dark.png   the top of a run's report, by headless Chromium
live.svg                            the live view in the middle of that run

With --folder the report is that of a finished run, and live.svg stays as it is.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
from PIL import Image

from host_sim import ledger, report
from host_sim.node import SimulationError
from host_sim.plan import ROOT, Plan, members
from host_sim.run import Run
from tools import nodefile
from tools.chromium import Chromium, ChromiumError

PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1120, 1480  # CSS pixels of a report's top
SCALE = 1.5
MOST_BYTES = 250_000
SEED, NODES, DAYS = 1, 2, 2.0
_SHOWN = 0.55  # the live view once so much of the run is done

_EXAMPLES = ("nodes/greenhouse.toml", "nodes/cellar.toml")


def optimise(picture: bytes) -> bytes:
    """A PNG with at most 256 colours, none of them dithered; for text and lines that is as good. Raises ValueError
    above MOST_BYTES."""
    with Image.open(io.BytesIO(picture)) as image, io.BytesIO() as file:
        few = image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.save(file, "png", optimize=True)
        small = file.getvalue()
    if len(small) > MOST_BYTES:
        raise ValueError(f"a picture of {len(small)} bytes; at most {MOST_BYTES} are wanted")
    return small


def shoot(page: Path, folder: Path) -> list[Path]:
    """The top of a report in both themes, as files in `folder`. Raises ChromiumError, ValueError."""
    made = []
    with Chromium() as browser:
        for theme in ("light", "dark"):
            browser.view(WIDTH, HEIGHT, theme == "dark", SCALE)
            browser.open(page)
            path = folder / f"report-{theme}.png"
            path.write_bytes(optimise(browser.screenshot()))
            made.append(path)
        if browser.errors:
            raise ChromiumError(f"{page}: {browser.errors[0]}")
    return made


class Watcher:
    """Keeps how the run stood once `_SHOWN` of it was done, at a moment with a fault if there is one soon after."""

    def __init__(self) -> None:
        self.status: Any = None
        self._faulty = False

    def __call__(self, status: Any) -> None:
        faulty = any(node.faults for node in status.nodes)
        if status.share >= _SHOWN and (self.status is None or faulty and not self._faulty and status.share < 0.9):
            self.status, self._faulty = status, faulty


def _simulate(folder: Path) -> str:
    """Runs the example fleet with the default faults into `folder`, with its ledger; returns the live view as SVG."""
    from host_sim.view import live

    watcher = Watcher()
    fleet = members([nodefile.load(ROOT / path) for path in _EXAMPLES], NODES)
    plan = Plan(fleet, DAYS, SEED, faults="default", folder=folder)
    Run(plan, watcher).execute()
    (folder / "ledger.json").write_text(json.dumps(ledger.compute(folder).to_json()))
    return live.export_svg(watcher.status)


@click.command()
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="A finished run; without it one is simulated.")  # fmt: skip
@click.option("--into", type=click.Path(path_type=Path), default=PICTURES, show_default="docs/pictures")
def main(folder: Path | None, into: Path) -> None:
    """Make the pictures of the documentation anew. Exit status 2 where that fails."""
    try:
        into.mkdir(parents=True, exist_ok=True)
        made = _pictures(folder, into)
    except (ChromiumError, report.ReportError, SimulationError, ledger.RunError, OSError, ValueError) as error:
        click.echo(f"pictures: {error}", err=True)
        sys.exit(2)
    for path in made:
        click.echo(f"{path} {path.stat().st_size} bytes")


def _pictures(folder: Path | None, into: Path) -> list[Path]:
    Chromium.find()  # rather now than after the simulation
    if folder is not None:
        return shoot(report.make(folder.absolute()).path, into)
    with tempfile.TemporaryDirectory() as made:
        run = Path(made) / "run"
        live = into / "live.svg"
        live.write_text(_simulate(run), encoding="utf-8")
        return [*shoot(report.make(run).path, into), live]


if __name__ == "__main__":
    main()
