"""One JSON object per line, for a program: `event` is started, strike, progress, ledger or finished."""

import json
from dataclasses import asdict
from typing import Any, TextIO

from host_sim.ledger.book import Ledger
from host_sim.plan import START_MS, Plan
from host_sim.status import Status
from host_sim.view import View

EVERY_S = 1.0  # of real time, between two objects of progress


class JsonView(View):
    """
    started   folder, days, seed, faults (the set), start_ms, end_ms, nodes: [{name, board}]
    strike    t_ms, kind, node (empty: the cloud end), text
    progress  share, real_s, left_s, at_ms, nodes: [`NodeStatus` and stored]; every EVERY_S, and once with share 1
    ledger    what `ledger.json` holds
    finished  balanced, seconds (real, without the ledger)

    Times are Unix milliseconds of simulated time.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._told_s = -EVERY_S
        self._real_s = 0.0
        self._strikes = 0

    def _write(self, event: str, **fields: Any) -> None:
        self._stream.write(json.dumps({"event": event, **fields}) + "\n")
        self._stream.flush()

    def start(self, plan: Plan) -> None:
        nodes = [{"name": member.name, "board": member.board.name} for member in plan.members]
        self._write(
            "started", folder=str(plan.folder), days=plan.days, seed=plan.seed, faults=plan.faults, start_ms=START_MS,
            end_ms=plan.end_ms, nodes=nodes,
        )  # fmt: skip

    def update(self, status: Status) -> None:
        for strike in status.strikes[self._strikes :]:
            self._write("strike", **strike._asdict())
        self._strikes = len(status.strikes)
        self._real_s = status.real_s
        if status.real_s < self._told_s + EVERY_S and status.share < 1:
            return
        self._told_s = status.real_s
        nodes = [{**asdict(node), "stored": node.stored} for node in status.nodes]
        self._write(
            "progress", share=round(status.share, 4), real_s=round(status.real_s, 2),
            left_s=None if status.left_s is None else round(status.left_s, 1), at_ms=status.at_ms, nodes=nodes,
        )  # fmt: skip

    def finish(self, book: Ledger) -> None:
        self._write("ledger", **book.to_json())
        self._write("finished", balanced=book.balanced, seconds=round(self._real_s, 2))
