"""Views of a run: live in a terminal, lines where there is none, JSON for a program."""

import os
import sys
from abc import ABC, abstractmethod
from types import TracebackType

from host_sim.ledger.book import Ledger
from host_sim.plan import Plan
from host_sim.status import Status


class View(ABC):
    """Shows a run: `start`, then `update` again and again, then `finish`. As a context manager it leaves the terminal
    as it found it, however the run ends.
    """

    @abstractmethod
    def start(self, plan: Plan) -> None:
        """The run is about to be prepared."""

    @abstractmethod
    def update(self, status: Status) -> None:
        """So it stands now; a few times a second."""

    @abstractmethod
    def finish(self, book: Ledger) -> None:
        """The ledger is made up: the last word."""

    def stop(self) -> None:  # noqa: B027 -- most views have nothing to put back
        """Nothing more is shown; may be called twice."""

    def __enter__(self) -> "View":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def choose(as_json: bool, plain: bool) -> View:
    """The view asked for; else the live one, if standard error is a terminal that can move its cursor."""
    if as_json:
        from host_sim.view.jsonl import JsonView

        return JsonView(sys.stdout)
    if plain or not sys.stderr.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        from host_sim.view.plain import PlainView

        return PlainView(sys.stderr, sys.stdout)
    from host_sim.view.live import LiveView

    return LiveView()
