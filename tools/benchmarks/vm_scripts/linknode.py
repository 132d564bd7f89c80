"""A node's link in the unix VM: the very firmware/node/uplink.py, session.py and lib/mqtt over rings that give records
by their number. tools/load/vm.py starts it; its working directory holds the job, `job.json`, and what a node has (`ca`,
`cert`, `pkey`, `key`).

Job: `node`, `tenant`, `cloud` [host, port], `boot`, `pool` (a file of frames, each with a u16 of its length in front),
`rows` of each, `kind` and what that wants. Says on standard output what happens, a line of JSON each.
"""

import asyncio
import json
import random
import struct
import sys
import time

from mqtt import UP, Client
from node import session, uplink


def say(**what):
    """One line."""
    print(json.dumps(what))


class Ring:
    """Records 1..next-1, `read` as `make(seq)` gives them; all are readable. `released` as the cloud has committed."""

    def __init__(self, stream, make, count=0):
        self.stream = stream
        self.released = 0
        self.next = count + 1
        self.oldest = 1
        self.heard = None  # called with each seq that is released
        self._make = make

    def range(self):
        """(oldest readable, released up to, next)."""
        return self.oldest, self.released, self.next

    def read(self, seq):
        """KeyError if it is not there."""
        if not self.oldest <= seq < self.next:
            raise KeyError("no record %d" % seq)
        return self._make(seq)

    def release(self, seq):
        """All up to `seq` are committed."""
        self.released = seq
        if self.heard:
            self.heard(seq)

    def append(self, count=1):
        """So many more."""
        self.next += count


class Events:
    """Payloads of ring A: an alarm unless something else was put."""

    def __init__(self):
        self.others = {}

    def __call__(self, seq):
        return self.others.get(seq) or wire_event(1, struct.pack("<BBbii", 1, 1, -2, seq, 0))


def wire_event(kind, body):
    """A payload of ring A."""
    return struct.pack("<BIIIB", kind, 1, 1000, 0, 0) + body


class Frames:
    """Payloads of ring F, from a pool that is taken in turn, each with a journal's numbers of its own."""

    def __init__(self, path, rows):
        self.rows = rows
        self.pool = []
        with open(path, "rb") as file:
            while True:
                size = file.read(2)
                if not size:
                    break
                self.pool.append(file.read(size[0] | size[1] << 8))

    def __call__(self, seq):
        return struct.pack("<IH", 1 + self.rows * (seq - 1), self.rows) + self.pool[seq % len(self.pool)]


class Plain:
    """Attributes."""

    def __init__(self, **given):
        for name in given:
            setattr(self, name, given[name])


class Radio:
    """There at once; `joined` is when, in ticks."""

    joined = None

    async def up(self, networks, timeout_ms):
        """At once."""
        if self.joined is None:
            self.joined = time.ticks_ms()

    def down(self):
        """At once."""


class Node:
    """What an uplink needs of a node. `urgent`: an alarm waits, so that a connection that fails is followed by
    another."""

    def __init__(self, job):
        self.events = Events()
        self.frames = Frames(job["pool"], job["rows"])
        streams = job["boot"] << 8 | 1, job["boot"] << 8 | 2
        self.store = Plain(
            alerts=Ring(streams[0], self.events),
            frames=Ring(streams[1], self.frames, job.get("frames", 0)),
            formatted=False,
            unreadable=lambda number, seq: say(unreadable=[number, seq]),
        )
        self.settings = {
            "node": job["node"], "tenant": job["tenant"], "wifi": [], "cloud": job["cloud"], "version": 1,
            "awake_cap": job.get("awake_cap", 600),
        }  # fmt: skip
        self.radio = Radio()
        power = Plain(usb=lambda: True)
        self.board = Plain(power=power, radio=lambda: self.radio, chip_id=lambda: b"\x01\x02\x03\x04\x05\x06")
        self.watch = Plain(feed=lambda: None)
        self.keeper = Plain(
            raise_clock=lambda seconds: None, wall=lambda: (0, 0), uptime_ms=lambda: time.ticks_ms() & 0xFFFFFFFF
        )
        self.urgent = False
        self.contacts = Plain(alarm_waits=lambda: self.urgent, latest=lambda: 3600, battery_mv=3900)
        self.bootlog = Plain(boot=job["boot"], last_cmd=0)
        self.retained = Plain(conn=0)
        self.reason = 1

    def set_clock(self, seconds, ms):
        """Not held."""

    def contact(self, make_client=Client):
        """A new one."""
        self.retained.conn += 1
        self.radio.joined = None
        return uplink.Uplink(self, make_client)


class Watched(Client):
    """Notes when the broker took the connection."""

    up_at = None

    def check_msg(self):
        """As the client's."""
        more = Client.check_msg(self)
        if self.state == UP and Watched.up_at is None:
            Watched.up_at = time.ticks_ms()
        return more


class StopAndWait(session.Session):
    """A session that sends a frame only when the one before it is committed."""

    def _next_frame(self, now):
        if any(self.frames.due_at(flight) > now for flight in self.frames.flying.values()):
            return None
        return session.Session._next_frame(self, now)


class Moment:
    """When `ring` releases `seq`, in ticks."""

    def __init__(self, ring, seq):
        self.at = None
        self._seq = seq
        self._event = asyncio.Event()
        ring.heard = self._heard

    def _heard(self, seq):
        if seq >= self._seq and self.at is None:
            self.at = time.ticks_ms()
            self._event.set()

    async def wait(self):
        """Until then."""
        await self._event.wait()


async def _until(task, moment):
    """Waits for the moment; False if the contact ended before."""
    waiting = asyncio.create_task(moment.wait())
    while moment.at is None and not task.done():
        await asyncio.sleep_ms(5)
    waiting.cancel()
    return moment.at is not None


async def alert(job):
    """`contacts` times: a backlog, an alarm that waits (with `fifo` it is the last of the frames). Says ms from link-up
    and from CONNACK to the ACK that releases it; with `amid` also of an alarm raised while the backlog goes."""
    node = Node(job)
    fifo = job.get("fifo")
    for _ in range(job["contacts"]):
        node.urgent = True
        Watched.up_at = None
        ring = node.store.frames if fifo else node.store.alerts
        ring.append()
        moment = Moment(ring, ring.next - 1)
        contact = node.contact(Watched)
        task = asyncio.create_task(contact.run(node.store.frames.next))
        if await _until(task, moment):
            said = {
                "linkup": time.ticks_diff(moment.at, node.radio.joined),
                "connack": time.ticks_diff(moment.at, Watched.up_at),
            }
            if job.get("amid"):
                await asyncio.sleep_ms(1500 + random.randrange(2000))
                ring.append()
                moment = Moment(ring, ring.next - 1)
                began = time.ticks_ms()
                if await _until(task, moment):
                    said["amid"] = time.ticks_diff(moment.at, began)
            say(**said)
        else:
            say(failed=True)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        await asyncio.sleep_ms(1500)
        if node.store.frames.next - node.store.frames.released < job["frames"] // 2:
            node.store.frames.append(job["frames"])


async def goodput(job):
    """`frames` over one connection; says the ms from the first ACK to the last. `window` 1 waits for each."""
    if job["window"] == 1:
        uplink.Session = StopAndWait
    node = Node(job)
    ring = node.store.frames
    first, last = Moment(node.store.alerts, 1), None
    node.store.alerts.append()
    last = Moment(ring, ring.next - 1)
    done = await node.contact().run(ring.next)
    say(done=done, ms=time.ticks_diff(last.at, first.at) if done else None)


async def contact(job):
    """One contact that leaves nothing; says whether all was committed."""
    node = Node(job)
    say(done=await node.contact().run(1))


def _gap(lo, hi):
    """Frames lo..hi were given up, the ring being full."""
    return wire_event(5, struct.pack("<BIIBI", 2, lo, hi, 1, hi - lo + 1))


async def torture(job):
    """Contact after contact until all is committed. Now and then an alarm is raised, or the oldest frames are given up
    for want of room, which an event says first. Says `released` [ring, seq], `raised` seq, `gave_up` [event, lo, hi];
    `resume` brings back what an earlier one of the same streams had said.
    """
    node = Node(job)
    alerts, frames = node.store.alerts, node.store.frames
    alerts.stream, frames.stream = job["streams"]
    state = job["resume"]
    alerts.released, frames.released = state["released"]
    alerts.next = state["raised"] + 1
    for seq, lo, hi in state["gave_up"]:
        node.events.others[seq] = _gap(lo, hi)
        frames.oldest = max(frames.oldest, hi + 1)
    alerts.heard = lambda seq: say(released=[1, seq])
    frames.heard = lambda seq: say(released=[2, seq])
    contacts = 0
    while True:
        oldest = max(frames.oldest, frames.released + 1)
        contacts += 1
        if (contacts == 1 or random.random() < 0.2) and oldest + 3 < frames.next:
            hi = oldest + random.randrange(3)
            say(gave_up=[alerts.next, oldest, hi], silently=job["silent_purge"])
            if not job["silent_purge"]:
                node.events.others[alerts.next] = _gap(oldest, hi)
                alerts.append()
            frames.oldest = hi + 1
        if random.random() < 0.5:
            say(raised=alerts.next)
            alerts.append()
        node.urgent = random.random() < 0.5
        if await node.contact().run(frames.next) and frames.released + 1 == frames.next:
            return
        await asyncio.sleep_ms(300 + random.randrange(1000))


async def main():
    """The job."""
    with open("job.json") as file:
        job = json.load(file)
    random.seed(job.get("seed", 1))
    uplink._log = lambda text: sys.stderr.write("%s\n" % text)
    await {"alert": alert, "goodput": goodput, "contact": contact, "torture": torture}[job["kind"]](job)
    say(ended=True)


asyncio.run(main())
