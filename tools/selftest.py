"""The self-test of a board (boards/selftest): its checks, and around them the restarts, which only a host can drive."""

from __future__ import annotations

import ast
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.boards import BoardError, load
from tools.catalogue import BOARDS
from tools.flash import FlashError
from tools.flash.link import Link

FOLDER = BOARDS / "selftest"
_CHECKS_S = 60  # the longest silence: a radio that finds nothing
_BACK_S = 10
_SLEEP_S = 4  # course.py


class SelfTest:
    """`say` gets each line as it comes: `ok` or `FAIL` or `left`, what was checked, and what was found."""

    def __init__(self, link: Link, say: Callable[[str], None], folder: Path = FOLDER) -> None:
        self._link = link
        self._say = say
        self._course = (folder / "course.py").read_text(encoding="utf-8")
        self._contract = (folder / "contract.py").read_text(encoding="utf-8")
        self._counts = {"ok": 0, "FAIL": 0, "left": 0}

    def run(self) -> bool:
        """Whether every check that could be made has passed; the last line says so. The board is restarted at the end.

        FlashError if the board is lost on the way. It then stays at its prompt until a self-test or a deploy has put
        its main.py back.
        """
        link = self._link
        link.begin_anew()
        link.run(self._course)
        begun = self._ask("begin()")
        end = f"end({begun['held']!r})"
        try:
            self._restarting(begun["board"])
        except (FlashError, BoardError):
            with contextlib.suppress(FlashError):
                link.run(end)
            raise
        link.run(end)
        link.restart()
        return self._verdict(begun["board"])

    def _restarting(self, name: str) -> None:
        board = load(name)
        self._restart("reset()", 0.5)
        self._ask("was_reset()")
        self._link.run(self._contract)
        self._ask(f"checks({board.adc[0]}, {board.free})")
        at = time.monotonic()
        slept = self._ask("before_sleep()")
        self._restart("sleep()", _SLEEP_S)
        self._ask(f"woke({slept['seconds']}, {int((time.monotonic() - at) * 1000)})")

    def _ask(self, call: str) -> dict[str, Any]:
        """Runs a call, counts and shows its lines -> what it noted."""
        note: dict[str, Any] = {}
        for line in self._link.run(call, _CHECKS_S).splitlines():
            kind, _, rest = line.partition(" ")
            if kind == "NOTE":
                note = ast.literal_eval(rest)
                continue
            if kind in self._counts:
                self._counts[kind] += 1
            self._say(line)
        return note

    def _restart(self, call: str, away_s: float) -> None:
        """Runs a call that restarts the board, and is back at its prompt when it is, `away_s` later at the soonest."""
        link = self._link
        link.restart(call)
        time.sleep(away_s)
        end = time.monotonic() + _BACK_S
        link.open(_BACK_S)
        while link.run("print('begin' in globals())").strip() == "True":  # it has not gone down yet
            link.close()
            if time.monotonic() > end:
                raise FlashError(f"{link.port}: the board does not restart by {call}; press its RESET button")
            time.sleep(0.2)
            link.open(_BACK_S)
        link.run(self._course)

    def _verdict(self, board: str) -> bool:
        passed, failed, left = self._counts.values()
        beside = f", {left} left out" if left else ""
        self._say(f"{'FAIL' if failed else 'PASS'} {board}: {passed} checks passed, {failed} failed{beside}")
        return not failed
