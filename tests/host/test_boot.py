"""One boot of a simulated node, as the supervisor sees it."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

from host_sim.boot import Boot
from host_sim.hardware import chip as chips

AT = 1_780_272_000_000_000


def test_nothing_happens_after_the_cut() -> None:
    """The process is killed a little later, and not every request waits for an answer: it may ask for more then."""
    done: list[int] = []

    def answer(op: int, arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        done.append(now)
        return 0, b"", 0

    failing = iter((False, False, True))
    nothing: Any = lambda *_, **__: None  # noqa: E731
    around: Any = SimpleNamespace(
        name="n", hosts={}, end=AT + 10**9, note=nothing,
        supply=SimpleNamespace(fails=lambda kind, now: next(failing, False)),
        proxy=SimpleNamespace(drop=nothing, left=nothing), conductor=SimpleNamespace(run_free=nothing, connected=()),
        contacts=SimpleNamespace(ended=nothing, joining=nothing),
        chip=SimpleNamespace(
            watchdog=SimpleNamespace(stop=nothing, runs=False, bites_at=None), hello=lambda at: b"", answer=answer
        ),
    )  # fmt: skip

    async def run() -> Any:
        line: Any = SimpleNamespace(answer=nothing, request=None, lost=None)
        boot = Boot(around, line, os.getpid(), AT, (AT, "on", "power"))
        for later in range(1, 5):
            line.request(chips.KEEP, 0, b"", AT + later)
        return await boot.ending

    ending = asyncio.run(run())
    assert (ending.kind, ending.at) == ("cut", AT + 2)
    assert done == [AT + 1], "something was done by a node without power"
