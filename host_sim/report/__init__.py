"""The report of a simulation: one self-contained page, `report.html`, made from the files of the run's folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from host_sim.report import page
from host_sim.report.cloud import fetch
from host_sim.report.drawings import Drawings, draw_all
from host_sim.report.run import ReportError, Run, load, load_ledger, read_json

__all__ = ["Pending", "ReportError", "begin", "write"]

NAME = "report.html"


class Pending:
    """A report in the making: all that needs no ledger, in processes of its own; `finish` waits for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1)
        self._prepared = self._thread.submit(_prepare, folder)
        self._thread.shutdown(wait=False)
        self.notes: list[str] = []

    def finish(self) -> Path:
        """Writes the page and returns its path; `ledger.json` must be there. Raises ReportError, OSError.

        `notes` then names each file that was missing, a line each; what it would have told is left out of the page,
        which says so too.
        """
        run, drawings = self._prepared.result()
        path = self._folder / NAME
        path.write_text(page.render(run, load_ledger(self._folder), drawings), encoding="utf-8")
        self.notes = run.notes
        return path


def _prepare(folder: Path) -> tuple[Run, Drawings]:
    record = read_json(folder / "run.json")
    try:
        names = [node["name"] for node in record["nodes"]]
    except (KeyError, TypeError) as error:
        raise ReportError(f"{folder / 'run.json'}: no nodes with names") from error
    fetch(folder, names)
    run = load(folder)
    return run, draw_all(run)


def begin(folder: Path) -> Pending:
    """Starts the report of a finished run: asks the cloud end for what it holds, and draws. The ledger may be computed
    meanwhile."""
    return Pending(folder.absolute())


def write(folder: Path) -> Pending:
    """The report of a run whose ledger is there, at once. Raises ReportError, OSError."""
    pending = begin(folder)
    pending.finish()
    return pending
