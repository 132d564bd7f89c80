"""Seeded `kill -9`: of a node's VM between two of its requests or in the middle of a flash operation, of ingest, of
the broker.
"""

import random
from dataclasses import dataclass

REQUEST, FLASH, INGEST, BROKER = "request", "flash", "ingest", "broker"


@dataclass(frozen=True)
class Kill:
    """Not before `at_us` (simulated microseconds), after `count` more requests, flash operations or proxied chunks."""

    at_us: int
    what: str
    node: str
    count: int


def plan(seed: int, count: int, nodes: list[str], start_us: int, end_us: int) -> list[Kill]:
    """`count` kills in order of time; two in three hit a node, and half of those a flash operation."""
    dice = random.Random(f"{seed} kills")
    kills = []
    for at in sorted(dice.randrange(start_us, end_us) for _ in range(count)):
        what = dice.choice((REQUEST, FLASH, REQUEST, FLASH, INGEST, BROKER))
        # A store-only wake makes about 10 requests and 1 flash operation; a contact a few more, and some 10 chunks.
        reach = {REQUEST: 40, FLASH: 8, INGEST: 12, BROKER: 12}[what]
        kills.append(Kill(at, what, dice.choice(nodes), dice.randrange(reach)))
    return kills


class KillPlan:
    """The kills of one node, in order of time; `done` counts those that have struck."""

    def __init__(self) -> None:
        self.waiting: list[Kill] = []
        self.done = 0
        self._counted = 0  # requests or flash operations since the next one came due

    def due(self, what: str, now: int) -> bool:
        """True when the next kill strikes in this request or flash operation."""
        if not self.waiting or self.waiting[0].what != what or now < self.waiting[0].at_us:
            return False
        self._counted += 1
        if self._counted <= self.waiting[0].count:
            return False
        self.waiting.pop(0)
        self._counted = 0
        self.done += 1
        return True
