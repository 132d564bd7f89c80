"""When a node has no Wi-Fi."""

from collections.abc import Iterable

from host_sim.faults import kinds
from host_sim.faults.log import FaultLog
from host_sim.faults.plan import Fault


class Air:
    """The stretches of one node's time without Wi-Fi. Times are simulated microseconds."""

    def __init__(self, faults: Iterable[Fault] = (), log: FaultLog | None = None) -> None:
        self._outs = sorted((fault for fault in faults if fault.kind == kinds.WIFI_OUT), key=lambda each: each.at_us)
        self._log = log or FaultLog()
        self._told: set[int] = set()

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
