"""When a node has no Wi-Fi, or no name server."""

from collections.abc import Iterable

from host_sim.faults import kinds
from host_sim.faults.log import FaultLog
from host_sim.faults.plan import Fault


class Air:
    """The stretches of one node's time without Wi-Fi, or without names. Times are simulated microseconds."""

    def __init__(self, faults: Iterable[Fault] = (), log: FaultLog | None = None) -> None:
        faults = sorted(faults, key=lambda each: each.at_us)
        self._outs = [fault for fault in faults if fault.kind == kinds.WIFI_OUT]
        self._nameless = [fault for fault in faults if fault.kind == kinds.DNS_OUT]
        self._log = log or FaultLog()
        self._told: set[int] = set()
        self._nameless_until = 0

    def out_until(self, now: int) -> int | None:
        """Until when there is no Wi-Fi at `now`; None while there is. An outage that nobody asks for goes unnoticed, in
        the log too.
        """
        until = None
        for number, fault in enumerate(self._outs):
            end = fault.at_us + fault.lasts_us
            if fault.at_us <= now < end:
                until = max(until or 0, end)
                if number not in self._told:
                    self._told.add(number)
                    self._log.struck(fault, fault.at_us, end)
        return until

    def resolves(self, now: int) -> bool:
        """Whether a name server answers at `now`, to somebody who asks."""
        if self._nameless and now >= self._nameless[0].at_us:
            fault = self._nameless[0]
            end = self._nameless_until or now + fault.lasts_us
            if not self._nameless_until:
                self._nameless_until = end
                self._log.struck(fault, now, end)
            if now < end:
                return False
            self._nameless.pop(0)
            self._nameless_until = 0
        return True
