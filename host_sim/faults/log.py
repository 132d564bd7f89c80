"""What struck, when, and when it was over: for the live view while it happens, for the report afterwards."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from host_sim.faults.plan import Fault

COLUMNS = ("t_ms", "until_ms", "kind", "node", "detail")


@dataclass
class Strike:
    """A fault that struck at `at_us`; over at `until_us`, None while nobody knows. Simulated microseconds."""

    fault: Fault
    at_us: int
    until_us: int | None = None


class FaultLog:
    """Everybody who makes a fault happen says so here. `struck(t_ms, kind, node, text)` and `over(kind, node)` are told
    in turn."""

    def __init__(
        self,
        struck: Callable[[int, str, str, str], None] = lambda _t, _kind, _node, _text: None,
        over: Callable[[str, str], None] = lambda _kind, _node: None,
    ) -> None:
        self.strikes: list[Strike] = []
        self._open: list[Strike] = []
        self._struck = struck
        self._over = over

    def struck(self, fault: Fault, at_us: int, until_us: int | None = None) -> Strike:
        """It strikes now; whoever does not know until when sets `until_us` of the returned strike later."""
        strike = Strike(fault, at_us, until_us)
        self.strikes.append(strike)
        self._open.append(strike)
        self._struck(at_us // 1000, fault.kind, fault.node, str(fault))
        return strike

    def tick(self, now_us: Callable[[str], int]) -> None:
        """Called now and then; `now_us(node)`: how far the node, or for "" everybody, has come."""
        for strike in list(self._open):
            if strike.until_us is not None and strike.until_us <= now_us(strike.fault.node):
                self._open.remove(strike)
                self._over(strike.fault.kind, strike.fault.node)

    def counts(self) -> Counter[str]:
        """How often each kind has struck."""
        return Counter(strike.fault.kind for strike in self.strikes)

    def missed(self, plan: Iterable[Fault]) -> list[Fault]:
        """What of the plan never struck, such as a reset where no connection came any more."""
        struck = {id(strike.fault) for strike in self.strikes}
        return [fault for fault in plan if id(fault) not in struck]

    def write(self, path: Path, end_us: int) -> None:
        """The strikes as CSV, in order of time; what is not over ends with the run, at `end_us`."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for strike in sorted(self.strikes, key=lambda each: each.at_us):
                until = min(end_us, end_us if strike.until_us is None else strike.until_us)
                fault = strike.fault
                writer.writerow(
                    (strike.at_us // 1000, max(until, strike.at_us) // 1000, fault.kind, fault.node, str(fault))
                )
