# heap: 512K
"""What a contact sends and when (lib/mqtt/PROTOCOL.md, "Sending"), against rings and a cloud that are models."""

import random

from flashring import RingFull
from node import wire
from node.session import ALERTS, BORN, FRAMES, HELD, LATE, NEW, OPEN, Session

ALARM, SENSOR, FRAME = b"\x01alarm", b"\x02sensor", b"frame"


class _Ring:
    """Records from `oldest` on; `released`. `damaged`: seqs that cannot be read."""

    stream = 9

    def __init__(self, records=(), oldest=1, released=0):
        self.records = list(records)
        self.oldest = oldest
        self.released = released
        self.damaged = set()
        self.full = 0  # a release below it raises RingFull
        self.reads = 0

    def range(self):
        return self.oldest, self.released, self.oldest + len(self.records)

    def read(self, seq):
        self.reads += 1
        if not self.oldest <= seq < self.range()[2] or seq in self.damaged:
            raise KeyError("record %d" % seq)
        return self.records[seq - self.oldest]

    def release(self, seq):
        assert self.released < seq < self.range()[2]
        if seq < self.full:
            raise RingFull(self.full)
        self.released = seq

    def forget(self, count):
        """Overwrite the oldest records."""
        del self.records[:count]
        self.oldest += count


def _ack(alerts, frames, flags=0, ackno=1):
    """An ACK; of each ring (cum, ranges) or (cum, ranges, credit)."""
    rings = []
    for number, said in ((ALERTS, alerts), (FRAMES, frames)):
        rings.append(wire.AckRing(number, 9, said[0], said[2] if len(said) > 2 else 64, list(said[1])))
    return wire.Ack(flags, ackno, 1, 0, 0, rings)


def _session(alerts, frames, fresh_from=1, lost=None):
    """A session whose birth has left. As if it had seen goodput, frames have their full window."""
    session = Session(alerts, frames, fresh_from, lost) if lost else Session(alerts, frames, fresh_from)
    session.pace._goodput = 20000
    item = session.next(0)
    assert item == ("s", None, 0, None)
    session.sent(item, 0)
    return session


def _send_all(session, now, births=False):
    """What leaves at `now`, as "a1 b7 ..."; "s" for a birth, if asked for."""
    out = []
    while True:
        item = session.next(now)
        if item is None:
            return " ".join(out)
        letter, lane, seq, payload = item
        if lane is not None:
            assert payload == lane.ring.read(seq)
            out.append(letter + str(seq))
        elif births or letter != "s":
            out.append(letter)
        session.sent(item, now)


def _born(frames, fresh_from=1, **ring):
    """A session that the cloud has answered, with frames only."""
    ring = _Ring([FRAME] * frames, **ring)
    session = _session(_Ring(), ring, fresh_from)
    session.take(_ack((0, ()), (ring.released, ())), 100)
    return session, ring


def test_alarms_then_events_two_of_each_and_frames_wait_for_the_ack():
    alerts = _Ring([SENSOR, SENSOR, SENSOR, ALARM, ALARM, ALARM])
    session = _session(alerts, _Ring([FRAME] * 3))
    assert _send_all(session, 0) == "a4 a5 e1 e2"
    assert session.due_ms(0) == 3000
    session.take(_ack((0, ((4, 1),)), (0, ())), 200)
    assert _send_all(session, 200) == "a6 t1 t2 t3"
    session.take(_ack((2, ((4, 3),)), (0, ())), 300)
    assert _send_all(session, 300) == "e3"
    alerts.records.append(ALARM)  # raised during the contact
    assert _send_all(session, 310) == "a7"
    session.take(_ack((7, ()), (3, ())), 400)
    assert session.done() and alerts.released == 7


def test_frames_wait_one_rto_at_most():
    session = _session(_Ring(), _Ring([FRAME] * 2))
    assert _send_all(session, 2999) == "" and session.due_ms(2000) == 1000
    assert _send_all(session, 3000) == "t1 t2"
    assert session.due_ms(3000) == 3000


def test_nothing_under_way_means_nothing_to_wake_for():
    """Else the uplink spins until the awake cap."""
    session = _session(_Ring(), _Ring())
    assert session.due_ms(2000) == 1000 and not session.done()
    session = _session(_Ring([SENSOR]), _Ring())
    assert _send_all(session, 0) == "e1"
    session.take(_ack((1, ()), (0, ())), 50)
    assert session.done() and session.next(9000) is None and session.due_ms(9000) is None


def test_window_credit_and_hold():
    session, frames = _born(40)
    assert _send_all(session, 100) == " ".join("t%d" % seq for seq in range(1, 13))
    session.take(_ack((0, ()), (5, ())), 200)
    assert _send_all(session, 200) == "t13 t14 t15 t16 t17"
    session.take(_ack((0, ()), (15, (), 4)), 300)
    assert _send_all(session, 300) == "t18 t19"
    session.take(_ack((0, ()), (19, (), 0)), 400)
    assert _send_all(session, 3399, True) == "" and session.due_ms(1000) == 2400
    assert _send_all(session, 3400, True) == "s"  # without credit nothing else could bring an ACK
    session.take(_ack((0, ()), (19, ()), wire.HOLD), 9000)
    assert _send_all(session, 9000) == ""
    session.take(_ack((0, ()), (19, ())), 9100)
    assert _send_all(session, 9100).startswith("t20 t21 ")
    assert frames.released == 19


def test_every_pair_of_state_and_event_is_in_the_table_or_changes_nothing():
    wanted = {
        NEW: (NEW, NEW, NEW, NEW),
        BORN: (LATE, OPEN, HELD, NEW),
        LATE: (LATE, OPEN, HELD, NEW),
        OPEN: (OPEN, OPEN, HELD, NEW),
        HELD: (HELD, OPEN, HELD, NEW),
    }
    for state, following in wanted.items():
        for event, after in zip((None, 0, wire.HOLD, wire.BIRTH_AGAIN), following):
            session = _session(_Ring(), _Ring())
            session.state = state
            if event is None:
                _send_all(session, 3000)
                if state == NEW:
                    after = BORN
            else:
                session.take(_ack((0, ()), (0, ()), event), 1000)
            assert session.state == after, (state, event)


def test_what_each_state_lets_go():
    for flags, sends in ((0, "a1 e2 t1"), (wire.HOLD, ""), (wire.BIRTH_AGAIN, "")):
        session = _session(_Ring([ALARM, SENSOR]), _Ring([FRAME]))
        session.take(_ack((0, ()), (0, ()), flags | wire.COMMANDS_WAIT), 10)
        assert _send_all(session, 10) == sends and session.commands_wait
        session.take(_ack((0, ()), (0, ()), flags), 20)
        assert not session.commands_wait


def test_a_birth_without_answer_is_written_again_ever_rarer():
    session = _session(_Ring(), _Ring([FRAME] * 2))
    times, now = [], 0
    while now < 100000:
        said = _send_all(session, now, True)
        if "s" in said.split():
            times.append(now)
        now += session.due_ms(now)
    assert times[:4] == [3000, 9000, 21000, 45000]
    srtt = session.pace._srtt
    session.take(_ack((0, ()), (2, ())), now)
    assert session.done() and session.pace._srtt == srtt  # which of the births it answers nobody knows


def test_held_the_birth_alone_asks_whether_it_is_over():
    session = _session(_Ring([ALARM]), _Ring([FRAME] * 2))
    session.take(_ack((0, ()), (0, (), 0), wire.HOLD), 100)
    assert session.due_ms(100) == 3000
    assert _send_all(session, 3099, True) == "" and _send_all(session, 3100, True) == "s"
    session.take(_ack((0, ()), (0, ())), 3200)
    assert _send_all(session, 3200) == "a1 t1 t2"


def test_birth_again_makes_a_new_session_and_not_without_end():
    session = _session(_Ring(), _Ring([FRAME] * 3))
    session.take(_ack((0, ()), (0, ())), 100)
    assert _send_all(session, 100) == "t1 t2 t3"
    session.take(_ack((0, ()), (0, ()), wire.BIRTH_AGAIN), 200)
    assert session.state == NEW and not session.acknowledged
    assert _send_all(session, 2999, True) == "" and session.due_ms(200) == 2800
    assert _send_all(session, 3000, True) == "s"
    session.take(_ack((0, ()), (3, ())), 3100)
    assert session.done()


def test_frames_under_way_are_what_one_second_brings():
    ring = _Ring([bytes(1000)] * 400)
    session = Session(_Ring(), ring, 1)
    session.sent(session.next(0), 0)
    session.take(_ack((0, ()), (0, ())), 50)
    assert _send_all(session, 50) == "t1 t2"  # nothing is measured yet
    now, cum, rate = 50, 0, []
    for _ in range(60):  # 2,500 bytes a second: a slow link that brings one after another
        now, cum = now + 400, cum + 1
        session.take(_ack((0, ()), (cum, ())), now)
        _send_all(session, now)
        rate.append(len(session.frames.flying))
        assert session.frames.bytes_of(session.frames.flying.values()) <= max(1000, session.pace.window())
    assert rate[-30:] == [2] * 30, rate
    for _ in range(15):  # the link is fast: the window opens to twelve
        now, cum = now + 20, max(session.frames.flying)
        session.take(_ack((0, ()), (cum, ())), now)
        _send_all(session, now)
    assert len(session.frames.flying) == 12
    for _ in range(60):  # and so slow that not even one frame comes in a second
        now, cum = now + 5000, cum + 1
        session.take(_ack((0, ()), (cum, ())), now)
        _send_all(session, now)
        if not session.frames.flying:
            break
    assert len(session.frames.flying) == 1


def test_log_lines_have_one_slot_in_sixteen_and_what_is_left_over():
    lines = ["line %d" % i for i in range(20)]
    ring = _Ring([FRAME] * 64)
    session = Session(_Ring(), ring, 1, line=lambda: lines.pop(0) if lines else None)
    session.pace._goodput = 20000
    session.sent(session.next(0), 0)
    assert _send_all(session, 0) == ""  # none before the cloud has answered
    order = ""
    for cum in range(65):
        session.take(_ack((0, ()), (cum, ())), 100 + cum)
        while True:
            item = session.next(100 + cum)
            if item is None or item[0] == "l" and len(session.frames.flying) == 12:
                break
            order += item[0]
            session.sent(item, 100 + cum)
            if len(session.frames.flying) == 12:
                break
    assert order.replace("l", "") == "t" * 64
    assert order[:32] == "ttttlttttttttttt" * 2, order


def test_one_slot_in_eight_is_the_backlogs():
    session, _ = _born(60, 31)
    order = ""
    now = 100
    for _ in range(60):
        said = _send_all(session, now)
        order += "".join(word[0] for word in said.split())
        flying = sorted(session.frames.flying)
        now += 10
        # Acknowledges the oldest in flight, by ranges where the backlog lies below.
        acked = sorted(session.frames.acked | {flying[0]}) if flying else []
        session.take(_ack((0, ()), (0, [(seq, 1) for seq in acked])), now)
    assert order[:32] == "tttttttb" * 4
    assert order.count("t") == 30 and order[-20:] == "b" * 20


def test_a_record_is_sent_again_after_a_doubling_rto():
    session, _ = _born(1)
    times, now = [], 100
    while now < 120000:
        if _send_all(session, now) == "t1":
            times.append(now)
        due = session.due_ms(now)
        assert due > 0
        now += due
    steps = [times[i] - times[i - 1] for i in range(1, len(times))]
    assert steps[:6] == [3000, 6000, 12000, 24000, 24000, 24000]


def test_rto_follows_the_acknowledgement_time():
    session, _ = _born(30)
    assert session.pace.rto() == 3000
    now, cum = 100, 0
    for _ in range(40):
        _send_all(session, now)
        now, cum = now + 2000, min(cum + 1, 30)
        session.take(_ack((0, ()), (cum, ())), now)
    assert 3000 < session.pace.rto() <= 30000
    session.pace.answered(10000000)
    assert session.pace.rto() == 30000


def test_an_answer_to_a_record_sent_twice_does_not_count_as_a_time():
    session, _ = _born(1)
    assert _send_all(session, 100) == "t1" and _send_all(session, 3100) == "t1"
    before = session.pace._srtt
    session.take(_ack((0, ()), (1, ())), 3110)
    assert session.pace._srtt == before


def test_a_hole_is_sent_again_after_three_seconds():
    session, _ = _born(20)
    session.pace.answered(60000)
    assert session.pace.rto() == 30000
    assert _send_all(session, 100) == " ".join("t%d" % seq for seq in range(1, 13))
    session.take(_ack((0, ()), (1, ((3, 10),))), 200)
    # What was sent together may come in any order: no hole yet.
    assert session.due_ms(200) == 100 + session.pace.rto() - 200 > 5000
    assert _send_all(session, 200).startswith("t13 ")
    session.take(_ack((0, ()), (1, ((3, 11),))), 300)  # 13 was sent after 2
    assert session.due_ms(300) == 2800
    assert "t2" not in _send_all(session, 3099).split()
    assert _send_all(session, 3100).split()[0] == "t2"


def test_ranges_suppress_and_only_cum_releases():
    session, frames = _born(10)
    session.take(_ack((0, ()), (2, ((4, 3), (8, 1)))), 100)
    assert frames.released == 2
    assert _send_all(session, 100) == "t3 t7 t9 t10"
    session.take(_ack((0, ()), (9, ())), 200)
    assert frames.released == 9 and not session.done()
    assert _send_all(session, 200) == ""
    session.take(_ack((0, ()), (10, ())), 300)
    assert session.done() and frames.released == 10


def test_a_cloud_restored_from_a_backup_is_refilled_below_the_cursor():
    alerts = _Ring([SENSOR, ALARM, ALARM], released=3)
    frames = _Ring([FRAME] * 6, oldest=5, released=9)
    session = _session(alerts, frames, 10)
    assert _send_all(session, 0) == ""
    session.take(_ack((0, ()), (2, ())), 100)
    assert _send_all(session, 100) == "a2 a3 e1 t10 b5 b6 b7 b8 b9"
    assert frames.released == 9 and alerts.released == 3
    session.take(_ack((3, ()), (10, ())), 200)
    assert session.done() and frames.released == 10


def test_what_a_restored_cloud_no_longer_has_goes_again_in_the_same_contact():
    session, _ = _born(12)
    _send_all(session, 100)
    session.take(_ack((0, ()), (0, ((2, 11),))), 200)
    assert _send_all(session, 200) == "" and sorted(session.frames.flying) == [1]
    session.take(_ack((0, ()), (0, ((3, 10),))), 300)  # 2 is gone from its database
    assert _send_all(session, 300) == "t2"
    # Sixteen ranges may not be all that it has: what they do not name is as it was.
    session.take(_ack((0, ()), (0, [(3, 1)] * 16)), 400)
    assert _send_all(session, 400) == ""


def test_a_damaged_record_is_declared_and_passed():
    alerts, frames = _Ring([ALARM, SENSOR, SENSOR]), _Ring([FRAME] * 5)
    alerts.damaged, frames.damaged = {2}, {1, 4}
    lost = []

    def declare(number, seq):
        lost.append((number, seq))
        alerts.records.append(SENSOR)

    session = _session(alerts, frames, 1, declare)
    assert _send_all(session, 0) == "a1 e3 e4"
    session.take(_ack((0, ()), (0, ())), 100)
    _send_all(session, 100)
    assert sorted(lost) == [(1, 2), (2, 1), (2, 4)]
    assert sorted(session.frames.flying) == [2, 3, 5]
    session.take(_ack((6, ()), (5, ())), 200)  # the cloud takes the gaps for what is missing
    assert session.done() and frames.released == 5 and len(lost) == 3


def test_what_is_overwritten_meanwhile_is_forgotten():
    alerts = _Ring([ALARM, ALARM, SENSOR, SENSOR])
    lost = []
    session = _session(alerts, _Ring(), 1, lambda number, seq: lost.append(seq))
    assert _send_all(session, 0) == "a1 a2 e3 e4"
    alerts.forget(3)
    alerts.records.append(ALARM)
    for now in (10, 3000, 3010, 9000):
        _send_all(session, now)
    assert sorted(session.alerts.flying) == [4, 5] and lost == []
    due = session.due_ms(9000)
    assert due is not None and due > 0


def test_a_ring_that_cannot_take_the_release_yet():
    session, frames = _born(9)
    frames.full = 6
    session.take(_ack((0, ()), (4, ())), 100)
    assert frames.released == 0 and not session.done()
    session.take(_ack((0, ()), (7, ())), 200)
    assert frames.released == 7


def test_a_large_backlog_costs_a_few_reads_for_each_record():
    alerts, frames = _Ring([SENSOR] * 700 + [ALARM]), _Ring([FRAME] * 800)
    session = _session(alerts, frames)
    assert _send_all(session, 0) == "a701 e1 e2"
    session.take(_ack((0, ()), (0, ())), 100)
    _send_all(session, 100)
    reads = alerts.reads + frames.reads
    assert reads < 701 + 50
    for cum in range(1, 50):
        session.take(_ack((cum, ()), (cum, ())), 100 + cum)
        _send_all(session, 100 + cum)
    assert alerts.reads + frames.reads < reads + 6 * 50


class _Cloud:
    """Takes what arrives, in any order; commits; answers with a snapshot."""

    def __init__(self, rings):
        self.have = {number: set() for number in rings}
        self.cum = {number: 0 for number in rings}
        self.ackno = 0

    def gap(self, number, first):
        """A birth that says oldest = `first`."""
        self.have[number].update(range(1, first))
        self._advance(number)

    def arrive(self, number, seq):
        self.have[number].add(seq)
        self._advance(number)

    def _advance(self, number):
        while self.cum[number] + 1 in self.have[number]:
            self.cum[number] += 1

    def answer(self, hold):
        self.ackno += 1
        said = []
        for number in (ALERTS, FRAMES):
            cum = self.cum[number]
            ranges = [(seq, 1) for seq in sorted(self.have[number]) if seq > cum][:16]
            said.append((cum, ranges, random.choice((0, 1, 5, 64))))
        return _ack(said[0], said[1], wire.HOLD if hold else 0, self.ackno)


def _explore(seed):
    """One node and one cloud over contacts on a network that drops, doubles and reorders."""
    random.seed(seed)
    rings = {
        ALERTS: _Ring([random.choice((ALARM, SENSOR)) for _ in range(random.randint(0, 12))]),
        FRAMES: _Ring([FRAME] * random.randint(0, 50), oldest=random.randint(1, 5)),
    }
    rings[FRAMES].released = rings[FRAMES].oldest - 1
    cloud = _Cloud(rings)
    loss = random.choice((0, 10, 40))
    for contact in range(300):
        session = _session(rings[ALERTS], rings[FRAMES], max(1, rings[FRAMES].range()[2] - 2))
        for number, ring in rings.items():
            cloud.gap(number, ring.oldest)
        if random.randint(0, 9) == 0:  # the cloud's disk was restored from a backup
            for number in rings:
                back = random.randint(rings[number].oldest - 1, max(cloud.cum[number], rings[number].oldest - 1))
                cloud.have[number] = set(range(1, back + 1))
                cloud.cum[number] = 0
                cloud._advance(number)
        now, taken = 0, 0
        wires = [(random.randint(1, 400), 0, 0, None)]  # (arrival, ring, seq, ack): here the birth
        while now < 20000 and not session.done():
            while True:
                item = session.next(now)
                if item is None:
                    break
                letter, lane, seq, payload = item
                assert letter == "s" or letter in ("ae" if lane.number == ALERTS else "tb")
                session.sent(item, now)
                for _ in range(random.choice((1, 1, 1, 2))):
                    if random.randint(1, 100) > loss:
                        wires.append((now + random.randint(1, 1500), lane.number if lane else 0, seq, None))
            # However hard the network: two alarms, two events, twelve frames under way.
            assert len(session.frames.flying) <= 12 and len(session.alerts.flying) <= 4
            due = session.due_ms(now)
            assert due is None or due > 0
            moments = [item[0] for item in wires] + ([now + due] if due is not None else [])
            if not moments:
                break
            now = min(moments)
            for item in [item for item in wires if item[0] <= now]:
                wires.remove(item)
                _, number, seq, ack = item
                if ack is None:
                    if number:
                        cloud.arrive(number, seq)
                    answer = cloud.answer(random.randint(0, 9) == 0)
                    if random.randint(1, 100) > loss:
                        wires.append((now + random.randint(1, 900), 0, 0, answer))
                elif ack.ackno > taken:
                    taken = ack.ackno
                    before = {n: ring.released for n, ring in rings.items()}
                    session.take(ack, now)
                    for said in ack.rings:
                        released = rings[said.ring].released
                        assert released in (before[said.ring], said.cum)
                    if random.randint(0, 30) == 0 and contact < 100:
                        rings[ALERTS].records.append(random.choice((ALARM, SENSOR)))
        for number, ring in rings.items():
            assert set(range(ring.oldest, cloud.cum[number] + 1)) <= cloud.have[number]
        if session.done():
            for number, ring in rings.items():
                assert cloud.cum[number] == ring.range()[2] - 1 and ring.released == cloud.cum[number]
            return contact
    raise AssertionError("seed %d: not done after 300 contacts" % seed)


def test_everything_is_committed_in_the_end_and_nothing_is_released_before():
    for seed in range(60):
        _explore(seed)
