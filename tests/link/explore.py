"""Every way in which a node and the cloud can meet, within bounds: breadth first over states, each seen once.

The network has two queues, up (which the broker keeps over contacts) and down (lost with the connection). What a fault
does, it does to the head of a queue; as each message comes to be the head, it can hit every message.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from linkcloud import Cloud, View, digest
from linknode import BOOT, KEYS, Node, NodeState, RingState, payload

STREAMS = (0xA1, 0xF1)
Message = tuple[str, bytes]


@dataclass(frozen=True)
class Scenario:
    """Records of ring 1 and 2, and how often what may happen. `faults`: drops, duplicates, reorderings and time-outs
    that come too early, taken together.
    """

    name: str
    alerts: int = 4
    frames: int = 4
    faults: int = 0
    cuts: int = 0  # of the node's supply, at any step
    kills: int = 0  # of a worker, wherever it stands; between commit and both answers, too
    holds: int = 0  # the database refuses a worker's batch
    lies: int = 0  # forged, replayed and impossible messages
    purges: int = 0
    restores: int = 0  # of a backup made when the first batch had been committed
    overwrites: int = 0  # the ring is full: the oldest frame is declared lost and given up
    appends: int = 0  # records made in mid-contact
    workers: int = 1
    pulls: int = 0  # a worker takes its time between pulling, committing and answering: anything may come between
    clone: str = ""  # "chip": a second chip under the name; "image": with a copy of the first one's flash
    reformats: int = 0  # ring 2 gets a new stream between contacts
    ack_first: bool = False  # a bug to be found: the ACK is sent before the commit


class Worker(NamedTuple):
    """An ingest worker: idle, or with a `batch` that it has pulled, or with the `ack` of one that it has committed.

    Workers are alike, so the order in which a world has them says nothing. `memory` is a planted bug's: what ingest
    knows from one batch to the next stands in the database.
    """

    batch: tuple[Message, ...] = ()
    ack: bytes = b""
    memory: int = 0

    def busy(self) -> bool:
        """Whether it is between a pull and the answer."""
        return bool(self.batch or self.ack)


class World(NamedTuple):
    """One state. `up` and `down` hold messages. `held`: ackno of the latest hold that no commit has followed; -1 if the
    commit that followed did not exceed it. `memory` is a planted bug's.
    """

    nodes: tuple[NodeState, ...]
    up: tuple[Message, ...]
    down: tuple[bytes, ...]
    cloud: int
    left: tuple[int, ...]
    workers: tuple[Worker, ...] = (Worker(),)
    held: int = 0
    replay: tuple[bytes, ...] = ()  # an ACK of each former contact
    backup: int = -1
    memory: tuple[Any, ...] = ()

    def busy(self) -> bool:
        """Whether a worker is."""
        return any(worker.busy() for worker in self.workers)


(FAULTS, CUTS, KILLS, HOLDS, LIES, PURGES, RESTORES, OVERWRITES, APPENDS, REFORMATS, PULLS) = range(11)


class Breach(Exception):
    """An invariant does not hold; `trace` is how it came to that."""

    def __init__(self, text: str, trace: list[str]) -> None:
        super().__init__(text + "\n  " + "\n  ".join(trace))
        self.text, self.trace = text, trace


@lru_cache(None)
def _forged(message: bytes) -> bytes:
    return message[:-1] + bytes([message[-1] ^ 1])


def first_world(scenario: Scenario) -> World:
    """Nothing said yet."""
    s = scenario
    rings = (RingState(STREAMS[0], 1, 0, s.alerts + 1), RingState(STREAMS[1], 1, 0, s.frames + 1))
    nodes = [NodeState(1, 0, rings)]
    if s.clone:
        other = rings if s.clone == "image" else tuple(ring._replace(stream=ring.stream + 1) for ring in rings)
        nodes.append(NodeState(2, 0, other))  # type: ignore[arg-type]
    left = (
        s.faults, s.cuts, s.kills, s.holds, s.lies, s.purges, s.restores, s.overwrites, s.appends, s.reformats, s.pulls,
    )  # fmt: skip
    return World(tuple(nodes), (), (), 0, left, (Worker(),) * s.workers)


class Explorer:
    """One scenario, explored by `run` or walked by `walk`."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.node = Node()
        self.cloud = Cloud()
        self.states = 0
        self.steps = 0
        self._parent: dict[World, tuple[World, str] | None] = {}
        self._sound: set[tuple[int, tuple[NodeState, ...]]] = set()
        """(cloud, nodes) of which `check` has found nothing wrong."""

    # What may happen

    def ordinary(self, world: World) -> Iterator[tuple[str, World]]:
        """Steps without any fault; the first of them, again and again, is a run in which faults have stopped."""
        for worker, batch in self._idle(world):
            yield f"commit {_said(batch)}", self._commit(world, worker, batch)
        if world.down:
            yield "node takes ACK", self._receive(world._replace(down=world.down[1:]), world.down[0])
        if world.busy():
            yield from self._paused(world)
        if not world.up and not world.down and not world.busy():
            for index in range(len(world.nodes)):
                step = self.node.step(world.nodes[index], "tick")
                if step is not None:
                    yield f"node {index}: time passes", self._stepped(world, index, step)
            if all(node.session is None for node in world.nodes):
                for index, node in enumerate(world.nodes):
                    if node.pending() or self._owed(world, index):
                        yield f"node {index}: contact", self._contact(world, index)

    def faulty(self, world: World) -> Iterator[tuple[str, World]]:
        """Steps that a fault, a crash or an enemy makes, each at the price of one of those left."""
        s, up, down = world, world.up, world.down
        if (w := self._spend(s, FAULTS)) is not None:
            if up:
                yield "drop up", w._replace(up=up[1:])
                yield "double up", w._replace(up=(*up, up[0]))
            if len(up) > 1:
                yield "reorder up", w._replace(up=(*up[1:], up[0]))
            if down:
                yield "drop down", w._replace(down=down[1:])
                yield "double down", w._replace(down=(*down, down[0]))
            if len(down) > 1:
                yield "reorder down", w._replace(down=(*down[1:], down[0]))
            if up or down:
                for index, node in enumerate(s.nodes):
                    step = self.node.step(node, "tick")
                    if step is not None:
                        yield f"node {index}: time-out too early", self._stepped(w, index, step)
        for index, node in enumerate(s.nodes):
            if (w := self._spend(s, CUTS)) is not None and (step := self.node.step(node, "cut")) is not None:
                yield f"node {index}: cut", self._stepped(w._replace(down=()), index, step)
            if (w := self._spend(s, OVERWRITES)) is not None and (
                step := self.node.step(node, "overwrite")
            ) is not None:
                yield f"node {index}: overwrite", self._stepped(w, index, step)
            if (w := self._spend(s, APPENDS)) is not None and node.session is not None:
                for ring in (1, 2):
                    step = self.node.step(node, "append", ring)
                    if step is not None:
                        yield f"node {index}: append to {ring}", self._stepped(w, index, step)
            if (
                (w := self._spend(s, REFORMATS)) is not None
                and node.session is None
                and not node.pending()
                and node.conn
            ):
                ring = RingState(node.rings[1].stream + 1, 1, 0, 3)
                yield f"node {index}: ring 2 anew", self._with(w, index, node._replace(rings=(node.rings[0], ring)))
            if len(s.nodes) > 1 and node.session is None and node.conn < 2 and any(n.session for n in s.nodes):
                yield f"node {index}: takes over", self._contact(s, index)
        for price, steps in ((PULLS, self._pulls), (KILLS, self._deaths), (HOLDS, self._refusals)):
            if (w := self._spend(s, price)) is not None:
                yield from steps(w)
        if (w := self._spend(s, PURGES)) is not None:
            cloud = self.cloud.purge(s.cloud)
            if cloud != s.cloud:
                yield "purge", w._replace(cloud=cloud)
        if (w := self._spend(s, RESTORES)) is not None and s.backup not in (-1, s.cloud):
            yield "backup restored", w._replace(cloud=self.cloud.restored(s.cloud, s.backup), up=(), held=0)
        if (w := self._spend(s, LIES)) is not None:
            yield from self._lies(w)

    def _lies(self, w: World) -> Iterator[tuple[str, World]]:
        """Messages of an enemy on the wire, and ACKs that even a cloud with the key must not be believed."""
        for index, node in enumerate(w.nodes):
            if node.session is None:
                continue
            nonce = KEYS.nonce(BOOT, node.conn, bytes(16))
            one, two = node.rings
            told: dict[str, list[Any]] = {
                "of another stream": [(2, two.stream ^ 0x80, two.next - 1, 12, [])],
                "beyond next": [(2, two.stream, two.next, 12, [])],
                "of a range beyond next": [(1, one.stream, 0, 12, [(1, one.next)])],
            }
            for name, rings in told.items():
                ack = KEYS.ack(nonce, 0, 1 << 20, 1, 0, 0, rings)
                yield f"node {index} gets an ACK {name}", self._receive(w, ack)
            honest = KEYS.ack(nonce, 0, 1 << 20, 1, 0, 0, [(2, two.stream, two.next - 1, 12, [])])
            yield f"node {index} gets a forged ACK", self._receive(w, _forged(honest))
            for message in w.replay:
                yield f"node {index} gets a former contact's ACK", self._receive(w, message)
            seq = two.next - 1
            other = KEYS.data(2, two.stream, seq, payload(2, seq, 99))
            yield "forged frame", w._replace(up=(*w.up, ("t", _forged(other))))
            birth = KEYS.birth(BOOT, node.conn + 9, [(7, 5, 5), (8, 9, 9)], nonce=bytes(8))
            yield "forged birth", w._replace(up=(*w.up, ("s", _forged(birth))))
            if node.conn > 1:
                rings = [(ring.stream, 1, ring.next) for ring in node.rings]
                former = KEYS.birth(
                    BOOT, node.conn - 1, rings, nonce=KEYS.nonce(BOOT, node.conn - 1, bytes(16)), chip=1
                )
                yield "former birth", w._replace(up=(*w.up, ("s", former)))

    # Ingest. Workers are alike: each is meant by its value.

    @staticmethod
    def _idle(world: World) -> Iterator[tuple[Worker, tuple[Message, ...]]]:
        """(worker, batch) that can be: all that waits, or its head, to an idle one."""
        for batch in sorted({world.up, world.up[:1]}, key=len, reverse=True) if world.up else ():
            for worker in sorted(set(world.workers)):
                if not worker.busy():
                    yield worker, batch

    @staticmethod
    def _became(world: World, worker: Worker, after: Worker) -> World:
        workers = list(world.workers)
        workers.remove(worker)
        return world._replace(workers=tuple(sorted((*workers, after))))

    def _take(self, world: World, worker: Worker, batch: tuple[Message, ...]) -> tuple[World, Worker, bool]:
        """A worker's transaction: world and worker after it, and whether an ACK is owed."""
        cloud, owed = self.cloud.take(world.cloud, batch)
        return self._passed(world, cloud, owed), worker, owed

    def _passed(self, world: World, cloud: int, owed: bool) -> World:
        """A commit has an ackno of its own; every hold before it must have a smaller one."""
        held = world.held
        if held and owed:
            held = 0 if self.cloud.view(cloud).ackno > held else -1
        return world._replace(cloud=cloud, held=held)

    def _hold(self, world: World, worker: Worker) -> tuple[World, bytes | None]:
        """What a worker answers that the database has refused; None before the first session."""
        return world, self.cloud.ack(world.cloud, hold=True)

    def _again(self, world: World, batch: tuple[Message, ...]) -> World:
        """The broker hands out once more what nobody has acknowledged to it."""
        return world._replace(up=(*world.up, *batch))

    def _commit(self, world: World, worker: Worker, batch: tuple[Message, ...]) -> World:
        """Pulled, committed and answered without a pause."""
        world = world._replace(up=world.up[len(batch) :])
        if self.scenario.ack_first and world.left[KILLS]:
            early = self.cloud.ack_before_commit(world.cloud, batch)  # ... and dies before the commit
            return (self._spend(world, KILLS) or world)._replace(down=(*world.down, early) if early else world.down)
        world, _, owed = self._take(world, worker, batch)
        if self.scenario.restores and world.backup < 0:
            world = world._replace(backup=world.cloud)
        ack = self.cloud.ack(world.cloud) if owed else None
        return world._replace(down=world.down if ack is None else (*world.down, ack))

    def _paused(self, world: World) -> Iterator[tuple[str, World]]:
        """The steps of workers that have pulled: commit and read the ACK, then send it."""
        for worker in sorted(set(world.workers)):
            if worker.batch:
                w, taken, owed = self._take(world, worker, worker.batch)
                ack = self.cloud.ack(w.cloud) if owed else None
                w = self._became(w, taken, taken._replace(batch=(), ack=ack or b""))
                yield f"a worker commits {_said(worker.batch)}, pulled before", w
            elif worker.ack:
                w = self._became(world, worker, worker._replace(ack=b""))
                yield "a worker sends its ACK", w._replace(down=(*w.down, worker.ack))

    def _pulls(self, w: World) -> Iterator[tuple[str, World]]:
        """A worker pulls, and anything may come before it goes on."""
        for worker, batch in self._idle(w):
            if batch == w.up[:1]:
                after = self._became(w, worker, worker._replace(batch=batch))
                yield f"a worker pulls {_said(batch)}", after._replace(up=w.up[1:])

    def _refusals(self, w: World) -> Iterator[tuple[str, World]]:
        """The database refuses: nothing is committed, the node is told to hold, and the batch comes again."""
        for worker, batch in self._idle(w):
            yield f"database refuses {_said(batch)}", self._refused(w._replace(up=w.up[len(batch) :]), worker, batch)
        for worker in sorted(set(w.workers)):
            if worker.batch:
                after = self._became(w, worker, worker._replace(batch=()))
                after = self._refused(after, worker._replace(batch=()), worker.batch)
                yield f"database refuses {_said(worker.batch)}, pulled before", after

    def _refused(self, world: World, worker: Worker, batch: tuple[Message, ...]) -> World:
        world, ack = self._hold(world, worker)
        if ack is not None:
            world = world._replace(down=(*world.down, ack), held=max(world.held, ackno_of(ack)))
        return self._again(world, batch)

    def _deaths(self, w: World) -> Iterator[tuple[str, World]]:
        """kill -9 of a worker; another starts in its place, and what the broker was not told of comes again."""
        for worker, batch in self._idle(w):
            if batch == w.up:
                after, taken, _ = self._take(w._replace(up=()), worker, batch)
                after = self._again(self._became(after, taken, Worker()), batch)
                yield f"a worker commits {_said(batch)} and dies", after
        for worker in sorted(set(w.workers)):
            if worker.batch:
                after, taken, _ = self._take(w, worker, worker.batch)
                after = self._again(self._became(after, taken, Worker()), worker.batch)
                yield f"a worker commits {_said(worker.batch)}, pulled before, and dies", after
            if worker != Worker():
                yield "a worker dies", self._again(self._became(w, worker, Worker()), worker.batch)

    def _receive(self, world: World, ack: bytes) -> World:
        for index, node in enumerate(world.nodes):
            if node.session is not None:
                step = self.node.step(node, "ack", ack)
                assert step is not None
                world = self._stepped(world, index, step)
                if step.node.session is None:
                    world = world._replace(down=())
                    if self.scenario.lies:
                        world = world._replace(replay=(*world.replay, ack)[-2:])
        return world

    def _contact(self, world: World, index: int) -> World:
        """A connection takes over from any other under the same name."""
        top = max(node.conn for node in world.nodes) if self.scenario.clone == "image" else world.nodes[index].conn
        nodes = [node._replace(session=None) for node in world.nodes]
        nodes[index] = nodes[index]._replace(conn=max(top, nodes[index].conn))
        step = self.node.step(nodes[index], "start")
        assert step is not None
        return self._stepped(world._replace(nodes=tuple(nodes), down=(), held=0), index, step)

    def _owed(self, world: World, index: int) -> bool:
        """Whether the node's next report would be needed: the cloud was set back."""
        if not self.scenario.restores or world.left[RESTORES]:
            return False
        view = self.cloud.view(world.cloud)
        node = world.nodes[index]
        return any(
            (number, ring.stream, seq) not in view.records and (number, ring.stream, seq) not in view.gaps
            for number, ring in enumerate(node.rings, 1)
            for seq in range(ring.oldest, ring.next)
        )

    def _with(self, world: World, index: int, node: NodeState) -> World:
        nodes = list(world.nodes)
        nodes[index] = node
        return world._replace(nodes=tuple(nodes))

    def _stepped(self, world: World, index: int, step: Any) -> World:
        return self._with(world, index, step.node)._replace(up=world.up + step.sent)

    def _spend(self, world: World, what: int) -> World | None:
        left = world.left
        if not left[what]:
            return None
        return world._replace(left=(*left[:what], left[what] - 1, *left[what + 1 :]))

    # What must hold

    def check(self, world: World) -> str | None:
        """What is wrong with a state, or None."""
        if world.held < 0:
            return "a hold that the commit after it does not pass"
        ends = world.cloud, world.nodes
        if ends not in self._sound:
            wrong = self._check_ends(world)
            if wrong:
                return wrong
            self._sound.add(ends)
        if not world.up and not world.down and not world.busy():
            for index, node in enumerate(world.nodes):
                if node.session is not None and self.node.step(node, "tick") is None:
                    return f"node {index}: waits for ever"
        return None

    def _check_ends(self, world: World) -> str | None:
        """What is wrong with cloud and nodes, whatever is under way between them."""
        view = self.cloud.view(world.cloud)
        if any(record in view.purged for record in view.records):
            return "a purged record was taken in again"
        given_up = self._given_up(world)
        for (ring, stream), cum in view.cum.items():
            for seq in range(1, cum + 1):
                record = (ring, stream, seq)
                there = record in view.records or record in view.purged or record in view.gaps
                if not there:
                    return f"cum {cum} of ring {ring} covers {seq}, which is not there"
        for record in view.gaps:
            if record not in given_up and not self.scenario.clone:
                return f"gap {record}, which no node has given up"
        for index, node in enumerate(world.nodes):
            wrong = self._check_node(view, node)
            if wrong:
                return f"node {index}: {wrong}"
        return None

    def _check_node(self, view: View, node: NodeState) -> str | None:
        gaps = {seq: (lo, hi) for seq, lo, hi in node.gaps}
        for number, ring in enumerate(node.rings, 1):
            for seq in range(1, min(ring.released, ring.next - 1) + 1):
                record = (number, ring.stream, seq)
                sha = view.ever.get(record)
                if sha == digest(payload(number, seq, node.chip, gaps.get(seq) if number == 1 else None)):
                    continue
                if sha is not None and view.notices & {"conflict", "two_chips"}:
                    continue  # another chip's record has this name, and somebody was told
                if number == 2 and any(lo <= seq <= hi for lo, hi in gaps.values()):
                    continue  # given up, and declared in ring 1
                return f"released {record}, which was never committed"
            if ring.released >= ring.next:
                return f"released {ring.released} of ring {number}, of which next is {ring.next}"
        if node.session is not None:
            for lane, most in zip(node.session[-2:], (4, 12), strict=True):
                if len(lane[2]) > most:
                    return f"{len(lane[2])} records under way"
        return None

    def _given_up(self, world: World) -> set[tuple[int, int, int]]:
        return {
            (2, node.rings[1].stream, seq)
            for node in world.nodes
            for _, lo, hi in node.gaps
            for seq in range(lo, hi + 1)
        }

    def _is_goal(self, world: World) -> bool:
        """Nothing is left to be done, and nothing is missing."""
        return not any(node.session or node.pending() for node in world.nodes) and not any(
            self._owed(world, index) for index in range(len(world.nodes))
        )

    # The search

    def run(self, limit: int = 1 << 40) -> int:
        """Explores; returns the number of states. Raises Breach. Beyond `limit` states it ends where it stands."""
        first = first_world(self.scenario)
        parent, queue = self._parent, [first]
        parent[first] = None
        following: dict[World, World | None] = {}
        while queue:
            deeper: list[World] = []
            for world in queue:
                calm: World | None = None
                for faulty, steps in ((False, self.ordinary(world)), (True, self.faulty(world))):
                    for name, after in steps:
                        self.steps += 1
                        if not faulty and calm is None:
                            calm = after
                        if after not in parent:
                            parent[after] = world, name
                            wrong = self.check(after)
                            if wrong:
                                raise Breach(wrong, self._trace(after))
                            deeper.append(after)
                following[world] = calm
                if len(parent) > limit:
                    self.states = len(parent)
                    return self.states
            queue = deeper
        self.states = len(parent)
        self._check_progress(following)
        return self.states

    def _check_progress(self, following: dict[World, World | None]) -> None:
        """From every state, once faults have stopped, all is committed and released in the end."""
        good: set[World] = set()
        for world in following:
            path: list[World] = []
            on_path: set[World] = set()
            at: World | None = world
            while at is not None and at not in good:
                if at in on_path:
                    raise Breach("no progress: it goes in circles", self._trace(at))
                path.append(at)
                on_path.add(at)
                if following[at] is None and not self._is_goal(at):
                    raise Breach("no progress: nothing more happens", self._trace(at))
                at = following[at]
            good.update(path)

    def _trace(self, world: World) -> list[str]:
        names: list[str] = []
        at: World | None = world
        while at is not None and (step := self._parent[at]) is not None:
            at, name = step
            names.append(name)
        return names[::-1]

    def walk(self, choose: Callable[[int], int], length: int) -> None:
        """One path of `length` steps, `choose(n)` picking one of n; then calm to the end. Raises Breach."""
        world, trace = first_world(self.scenario), []
        for moment in range(length + 400):
            steps = list(self.ordinary(world))
            if moment < length:
                steps += list(self.faulty(world))
            if not steps:
                break
            name, world = steps[choose(len(steps)) if moment < length else 0]
            trace.append(name)
            wrong = self.check(world)
            if wrong:
                raise Breach(wrong, trace)
        if not self._is_goal(world):
            raise Breach("no progress", trace)


def ackno_of(ack: bytes) -> int:
    """The field of an ACK message."""
    return struct.unpack_from("<I", ack, 2)[0]


def _said(batch: tuple[Message, ...]) -> str:
    """ "s a1 t2": lanes and seqs of a batch."""
    return " ".join(lane + ("" if lane == "s" else str(struct.unpack_from("<I", data, 6)[0])) for lane, data in batch)
