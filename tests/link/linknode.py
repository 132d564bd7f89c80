"""The node's end for the exploration: the very firmware/node/session.py and wire.py, run by CPython, as a function from
state and event to state and messages. A state is a tuple of plain values; times in it are relative to its own now.
"""

from __future__ import annotations

import sys
import types
from functools import lru_cache
from typing import Any, NamedTuple

import cloudkit as kit

sys.modules.setdefault("micropython", types.SimpleNamespace(const=lambda value: value))  # type: ignore[arg-type]
# What a session says of damaged records is for the console, and node.log wants MicroPython's clock.
sys.modules.setdefault("node.log", types.SimpleNamespace(warning=lambda text: None))  # type: ignore[arg-type]

from node import session as machine  # noqa: E402
from node import wire  # noqa: E402

TENANT, NAME, KEY = "acme", "n1", bytes(range(32))
IDENTITY = wire.Identity(KEY, TENANT, NAME)
KEYS = kit.NodeKeys(KEY, TENANT, NAME)
BOOT = 1
RTO_MS = 3000


class RingState(NamedTuple):
    """What a cut leaves of a ring: readable are oldest..next-1."""

    stream: int
    oldest: int
    released: int
    next: int


class NodeState(NamedTuple):
    """A node. `gaps`: gap events, by their seq in ring 1: (lo, hi) of ring 2. `session` is None between contacts."""

    chip: int
    conn: int
    rings: tuple[RingState, RingState]
    gaps: tuple[tuple[int, int, int], ...] = ()
    session: tuple[Any, ...] | None = None

    def pending(self) -> bool:
        """Whether anything is not yet released."""
        return any(ring.released < ring.next - 1 for ring in self.rings)


class _Pace:
    """A pace that measures nothing, so that states do not differ by times alone; device tests have the real one."""

    delivered = 0

    def rto(self, doublings: int = 0) -> int:
        return RTO_MS << doublings

    def window(self) -> int:
        return 1 << 20

    def ran_out(self, doublings: int) -> None:
        pass

    def answered(self, ms: int) -> None:
        pass

    def arrived(self, ms: int, delivered: int) -> None:
        pass


@lru_cache(None)
def payload(ring: int, seq: int, chip: int, gap: tuple[int, int] | None = None) -> bytes:
    """The record of a node: of ring 1 alarms and other events in turn, of ring 2 frames."""
    if ring == 2:
        return kit.frame_payload(seq, 1, kit.codec_frame([(1, -2)], [(200_000_000 + 60 * seq, [chip])]))
    if gap:
        return kit.event_payload(5, kit.gap_body(2, *gap, 1, 1), BOOT)
    if seq % 2:
        return kit.event_payload(1, kit.alarm_body(1, 1, -2, chip, seq), BOOT)
    return kit.event_payload(2, bytes((chip & 255, seq)), BOOT)


class _Ring:
    def __init__(self, number: int, state: RingState, chip: int, gaps: dict[int, tuple[int, int]]) -> None:
        self.number, self.chip, self.gaps = number, chip, gaps
        self.stream, self.oldest, self.released, self.next = state

    def range(self) -> tuple[int, int, int]:
        return self.oldest, self.released, self.next

    def read(self, seq: int) -> bytes:
        """KeyError if it was overwritten."""
        if not self.oldest <= seq < self.next:
            raise KeyError(seq)
        return payload(self.number, seq, self.chip, self.gaps.get(seq))

    def release(self, seq: int) -> None:
        self.released = seq

    def state(self) -> RingState:
        return RingState(self.stream, self.oldest, self.released, self.next)


_LANE = ("cum", "acked", "flying", "last_acked_sent")


class _Waking:
    """A node thawed for one event."""

    def __init__(self, state: NodeState) -> None:
        self.chip, self.conn = state.chip, state.conn
        self.gaps = {seq: (lo, hi) for seq, lo, hi in state.gaps}
        self.rings = [_Ring(number, ring, state.chip, self.gaps) for number, ring in enumerate(state.rings, 1)]
        self.session: Any = None
        self.now = 0
        self.out: list[tuple[str, bytes]] = []
        if state.session is not None:
            self._thaw(state.session)

    def start(self) -> None:
        self._new()
        self._reader()

    def _new(self) -> None:
        alerts, frames = self.rings
        self.session = machine.Session(alerts, frames, 1, pace=_Pace())

    def _reader(self) -> None:
        self.nonce = IDENTITY.nonce(BOOT, self.conn, bytes(16))
        self.reader = wire.AckReader(IDENTITY, self.nonce)

    def _thaw(self, frozen: tuple[Any, ...]) -> None:
        self._new()
        self._reader()
        s = self.session
        ackno, s.state, s._credit, s._born, s._asked, s._repeats, s._sorted, alarms, *lanes = frozen
        self.reader._ackno = ackno
        s._alarms = set(alarms)
        for lane, (cum, acked, flying, last) in zip((s.alerts, s.frames), lanes, strict=True):
            lane.cum, lane.acked, lane.last_acked_sent = cum, set(acked), last
            lane.flying = {seq: (at, at, doublings, 1, 0) for seq, at, doublings in flying}

    def _freeze(self) -> tuple[Any, ...] | None:
        s, now = self.session, self.now
        if s is None:
            return None
        lanes = []
        for lane in (s.alerts, s.frames):
            flying = tuple((seq, flight[1] - now, flight[2]) for seq, flight in sorted(lane.flying.items()))
            last = lane.last_acked_sent - now if flying else -1 << 20
            lanes.append((lane.cum, tuple(sorted(lane.acked)), flying, max(last, -1 << 20)))
        waits = s.state in (machine.NEW, machine.BORN)
        asks = s._birth_due() is not None
        return (
            self.reader._ackno, s.state, s._credit, s._born - now if waits else 0,
            s._asked - now if asks else 0, s._repeats if asks else 0, s._sorted, tuple(sorted(s._alarms)), *lanes,
        )  # fmt: skip

    def state(self) -> NodeState:
        gaps = tuple((seq, lo, hi) for seq, (lo, hi) in sorted(self.gaps.items()))
        return NodeState(self.chip, self.conn, (self.rings[0].state(), self.rings[1].state()), gaps, self._freeze())

    def send(self) -> None:
        """All that the session lets go, as Uplink._send does it."""
        s = self.session
        while (item := s.next(self.now)) is not None:
            letter, lane, seq, data = item
            if letter == "s":
                if s.state == machine.NEW:
                    self.conn += 1
                    self._reader()
                rings = [(ring.stream, ring.oldest, ring.next) for ring in self.rings]
                message = KEYS.birth(BOOT, self.conn, rings, nonce=self.nonce, chip=self.chip)
            else:
                message = KEYS.data(lane.number, lane.ring.stream, seq, data)
            self.out.append((letter, message))
            s.sent(item, self.now)
        if s.done():
            self.session = None


class Step(NamedTuple):
    """What an event made of a node, and what it sent."""

    node: NodeState
    sent: tuple[tuple[str, bytes], ...]


class Node:
    """The node's transitions, each computed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], Step | None] = {}

    def step(self, node: NodeState, event: str, *args: Any) -> Step | None:
        """`start`, `ack` message, `tick`, `cut`, `append` ring, `overwrite`; None if it cannot happen now."""
        key = (node, event, *args)
        if key not in self._known:
            self._known[key] = getattr(self, "_" + event)(node, *args)
        return self._known[key]

    @staticmethod
    def _done(waking: _Waking) -> Step:
        waking.send()
        return Step(waking.state(), tuple(waking.out))

    def _start(self, node: NodeState) -> Step | None:
        if node.session is not None:
            return None
        waking = _Waking(node)
        waking.start()
        return self._done(waking)

    def _ack(self, node: NodeState, message: bytes) -> Step | None:
        if node.session is None:
            return None
        waking = _Waking(node)
        ack = waking.reader.read(message, waking.session.rings())
        if ack is not None:
            waking.session.take(ack, waking.now)
        return self._done(waking)

    def _tick(self, node: NodeState) -> Step | None:
        """Time passes until the session would do something by itself; after 3 + 6 + 12 s of silence, the awake cap."""
        if node.session is None:
            return None
        waking = _Waking(node)
        session = waking.session
        due = session.due_ms(0)
        if due is None:
            return None
        doublings = [flight[2] for lane in (session.alerts, session.frames) for flight in lane.flying.values()]
        if max(doublings, default=0) >= 3 or session._repeats >= 3:
            return Step(node._replace(session=None), ())
        waking.now = due
        return self._done(waking)

    def _cut(self, node: NodeState) -> Step | None:
        return None if node.session is None else Step(node._replace(session=None), ())

    def _append(self, node: NodeState, number: int) -> Step:
        """A record more, in mid-contact or between."""
        waking = _Waking(node)
        waking.rings[number - 1].next += 1
        return Step(waking.state(), ()) if waking.session is None else self._done(waking)

    def _overwrite(self, node: NodeState) -> Step | None:
        """The oldest frame that is not released is given up: declared first, as `Store._give_up` does."""
        waking = _Waking(node)
        alerts, frames = waking.rings
        seq = max(frames.oldest, frames.released + 1)
        if seq >= frames.next:
            return None
        waking.gaps[alerts.next] = (seq, seq)
        alerts.next += 1
        frames.oldest = seq + 1
        frames.released = max(frames.released, seq)
        return Step(waking.state(), ()) if waking.session is None else self._done(waking)
