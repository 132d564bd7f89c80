"""Lines, for a log or a pipe: progress and faults to one stream, the ledger to the other."""

from typing import TextIO

from host_sim.ledger.book import Ledger
from host_sim.plan import Plan
from host_sim.status import Status
from host_sim.view import View, words

STEP = 5  # per cent


class PlainView(View):
    """A line for each STEP per cent of the way and for each fault that strikes."""

    def __init__(self, progress: TextIO, results: TextIO) -> None:
        self._progress = progress
        self._results = results
        self._next = STEP
        self._strikes = 0

    def _say(self, line: str) -> None:
        print(f"sim: {line}".rstrip(), file=self._progress, flush=True)

    def start(self, plan: Plan) -> None:
        names = ", ".join(f"{member.name} ({member.board.name})" for member in plan.members)
        self._say(f"{plan.days:g} days, seed {plan.seed}, faults {plan.faults}: {names}")

    def update(self, status: Status) -> None:
        for strike in status.strikes[self._strikes :]:
            text = f"{words.kind(strike.kind)}  {words.whom(strike.node)}  {strike.text}"
            self._say(f"{words.moment(strike.t_ms, seconds=True)}  {text}")
        self._strikes = len(status.strikes)
        done = int(100 * status.share + 1e-9)
        if done >= self._next:
            self._next = done - done % STEP + STEP
            sums = ", ".join(
                f"{name} {sum(getattr(node, name) for node in status.nodes)}"
                for name in ("taken", "acknowledged", "stored", "missed", "alerts")
            )
            self._say(f"{done:3}%  {words.moment(status.at_ms)}  {sums}  {words.pace(status)}")

    def finish(self, book: Ledger) -> None:
        for line in book.lines():
            print(line, file=self._results, flush=True)
