"""The report of a simulation: one self-contained page, `report.html`, made from the files of the run's folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from host_sim.report.run import ReportError, load, load_ledger, read_json

__all__ = ["Made", "Pending", "ReportError", "begin", "make"]

NAME = "report.html"

_REPOSITORY = Path(__file__).parents[2]


class Made(NamedTuple):
    """Where the page is, and each file that was missing, a line each: what it would have told is left out of the page,
    which says so too."""

    path: Path
    notes: list[str]


def make(folder: Path, wait_for_ledger: Callable[[], object] = lambda: None) -> Made:
    """Writes the report of a finished run. `wait_for_ledger` is called before `ledger.json` is read, when all the rest
    is done. Raises ReportError, OSError.
    """
    from host_sim.report.cloud import Fetching

    record = read_json(folder / "run.json")
    try:
        names = [node["name"] for node in record["nodes"]]
    except (KeyError, TypeError) as error:
        raise ReportError(f"{folder / 'run.json'}: no nodes with names") from error
    with Fetching(folder, names):
        # The drawing library takes its time, and so does the cloud's answer.
        from host_sim.report import drawings, page
    run = load(folder)
    drawn = drawings.draw_all(run)
    wait_for_ledger()
    path = folder / NAME
    path.write_text(page.render(run, load_ledger(folder), drawn), encoding="utf-8")
    return Made(path, run.notes)


class Pending:
    """A report in the making, in a process of its own. As a context manager it leaves none behind, however the block
    ends."""

    def __init__(self, folder: Path) -> None:
        # A session of its own: Ctrl-C is for whoever waits here.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "host_sim.report", "--wait", str(folder.absolute())], cwd=_REPOSITORY, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def finish(self) -> Made:
        """The finished report; `ledger.json` must be there. Raises ReportError."""
        said, notes = self._process.communicate()
        lines = [line.removeprefix("report: ") for line in notes.splitlines()]
        if self._process.returncode:
            raise ReportError(lines[-1] if lines else f"the report ended with status {self._process.returncode}")
        return Made(Path(said.strip()), lines)

    def close(self) -> None:
        """Ends the process if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()

    def __enter__(self) -> Pending:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def begin(folder: Path) -> Pending:
    """Starts the report of a run whose files are there but for its ledger, which may be computed meanwhile."""
    return Pending(folder)
