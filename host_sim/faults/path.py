"""The way between one node and the broker, as bad as the plan has it: what happens to each piece of data on it."""

from collections.abc import Iterable
from dataclasses import dataclass

from host_sim.faults import kinds
from host_sim.faults.air import Air
from host_sim.faults.log import FaultLog
from host_sim.faults.plan import Fault
from host_sim.faults.stage import HANDSHAKE, RECORD, Stages


@dataclass(frozen=True)
class Pace:
    """A way that lets `piece` bytes through at a time, `bytes_s` a second and direction, each `delay_us` late."""

    piece: int
    bytes_s: int
    delay_us: int = 0


PACES = {kinds.SLOW: Pace(536, 2500, 250_000), kinds.DRIP: Pace(40, 40)}


class Ended(Exception):
    """The connection ends here, orderly; `passed` bytes of the piece have still come through."""

    def __init__(self, passed: int) -> None:
        super().__init__(f"{type(self).__name__} after {passed} bytes")
        self.passed = passed


class Reset(Ended):
    """It is reset."""


class Passage:
    """One connection over a path. `lost`: what is sent over it goes nowhere."""

    def __init__(self) -> None:
        self.stages = Stages()
        self.lost = False


class Path:
    """One node's network faults, one after another. A fault begins with the first piece of data after its moment (or
    `count` pieces later, or the first of its stage) and lasts from there: one that found no connection would show
    nothing. Times are simulated microseconds.
    """

    def __init__(self, faults: Iterable[Fault] = (), air: Air | None = None, log: FaultLog | None = None) -> None:
        own = (kinds.CONN_RESET, kinds.CONN_CLOSE, kinds.HALF_OPEN, kinds.STALL, kinds.DRIP, kinds.SLOW)
        faults = sorted(faults, key=lambda fault: fault.at_us)
        self._waiting = [fault for fault in faults if fault.kind in own]
        self._refusing = [fault for fault in faults if fault.kind == kinds.REFUSED]
        self._refused_until = 0
        self._air = air or Air()
        self._log = log or FaultLog()
        self._counted = 0
        self._current: Fault | None = None
        self._until = 0
        self._through = False  # the next piece still comes through
        self._free_at = [0, 0]  # when each direction, down and up, has passed on what it was given

    def refuses(self, now: int) -> bool:
        """Whether a connection that is made now is reset at once."""
        if self._refusing and now >= self._refusing[0].at_us:
            fault = self._refusing.pop(0)
            self._refused_until = now + fault.lasts_us
            self._log.struck(fault, now, self._refused_until)
        return now < self._refused_until

    def parts(self, data: bytes, up: bool, passage: Passage, now: int) -> list[tuple[str, bytes]]:
        """`data` cut where a stage ends, each part with its stage; in one part if no fault asks for a stage."""
        parts = list(passage.stages.parts(data, up))
        if self._waiting and self._waiting[0].stage and now >= self._waiting[0].at_us:
            return parts
        return [("", data)]

    def pieces(self, data: bytes, now: int, stage: str = "", passage: Passage | None = None) -> list[bytes]:
        """`data`, all of one `stage`, as the way takes it; nothing of it if it is lost. Raises Ended."""
        passage = passage or Passage()
        self._advance(now, len(data), stage, passage)
        if passage.lost:
            return []
        if self._through:
            return [data[: len(data) // 2], data[len(data) // 2 :]]
        pace = self._pace(now)
        if pace is None:
            return [data]
        return [data[at : at + pace.piece] for at in range(0, len(data), pace.piece)]

    def delivered_at(self, size: int, up: bool, now: int) -> int:
        """When a piece of `size` bytes that is there at `now` comes out at the far end."""
        at = now
        out = self._air.out_until(now)
        if out is not None:
            at = out
        elif self._current is not None and now < self._until:
            pace = PACES.get(self._current.kind)
            if self._through:
                self._through = False
            elif pace is None:
                at = self._until
            else:
                at = max(now, self._free_at[up]) + size * 1_000_000 // pace.bytes_s
                self._free_at[up] = at
                at += pace.delay_us
        return at

    def disturbed(self, now: int) -> bool:
        """Whether a fault is at work."""
        return self._air.out_until(now) is not None or (self._current is not None and now < self._until)

    def _pace(self, now: int) -> Pace | None:
        if self._current is None or now >= self._until:
            return None
        return PACES.get(self._current.kind)

    def _advance(self, now: int, size: int, stage: str, passage: Passage) -> None:
        """One more piece of data: the current fault ends, the next one begins."""
        if self._current is not None and now >= self._until:
            self._current = None
        if self._current is not None or not self._waiting or now < self._waiting[0].at_us:
            return
        wanted = self._waiting[0].stage
        inside = wanted == RECORD and size > 1 and stage not in ("", HANDSHAKE)
        if wanted and not inside and wanted not in stage.split():
            return
        self._counted += 1
        if self._counted <= self._waiting[0].count and not wanted:
            return
        self._counted = 0
        fault = self._waiting.pop(0)
        self._log.struck(fault, now, now + fault.lasts_us)
        if fault.kind in (kinds.CONN_RESET, kinds.CONN_CLOSE):
            raise (Reset if fault.kind == kinds.CONN_RESET else Ended)(size // 2)
        if fault.kind == kinds.HALF_OPEN:
            passage.lost = True
            return
        self._through = wanted == RECORD and fault.kind == kinds.STALL
        self._current, self._until = fault, now + fault.lasts_us
        self._free_at = [now, now]
