"""A node's supply: fails between two requests of its VM, in the middle of a flash operation, or again and again."""

import random
from collections.abc import Iterable

from host_sim.faults import kinds
from host_sim.faults.kinds import KINDS
from host_sim.faults.log import FaultLog, Strike
from host_sim.faults.plan import Fault

REQUEST, FLASH = "request", "flash"

_OFF_US = 2_000_000  # how long the supply stays away


class Supply:
    """The faults of one node's supply, one after another, in order of time. Times are simulated microseconds."""

    def __init__(self, faults: Iterable[Fault] = (), log: FaultLog | None = None) -> None:
        own = (kinds.NODE_KILL, kinds.POWER_CUT, kinds.BROWN_OUT)
        self._waiting = sorted((fault for fault in faults if fault.kind in own), key=lambda fault: fault.at_us)
        self._log = log or FaultLog()
        self._counted = 0  # requests or flash operations since the next one came due
        self._cuts = 0  # of the series under way
        self._gap = 0  # requests from one of its cuts to the next
        self._strike: Strike | None = None
        self.off_us = _OFF_US

    def fails(self, what: str, now: int) -> bool:
        """True when the supply fails in this request or flash operation. It then stays away for `off_us`."""
        if not self._waiting or now < self._waiting[0].at_us:
            return False
        fault = self._waiting[0]
        if what != (FLASH if fault.kind == kinds.POWER_CUT else REQUEST):
            return False
        self._counted += 1
        if self._counted <= (self._gap if self._cuts else fault.count):
            return False
        self._counted = 0
        if fault.kind == kinds.BROWN_OUT:
            self._sag(fault, now)
        else:
            self._waiting.pop(0)
            self.off_us = _OFF_US
            self._log.struck(fault, now, now + self.off_us)
        return True

    def _sag(self, fault: Fault, now: int) -> None:
        """One cut of a series: the supply is back within a second or two, and gone again some steps later."""
        dice = random.Random(f"{fault.at_us} {self._cuts}")
        self._cuts += 1
        self._gap = dice.randrange(KINDS[fault.kind].reach)
        self.off_us = dice.randrange(50_000, 2_000_000)
        if self._strike is None:
            self._strike = self._log.struck(fault, now)
        if self._cuts >= fault.size:
            self._strike.until_us = now + self.off_us
            self._waiting.pop(0)
            self._cuts, self._strike = 0, None
