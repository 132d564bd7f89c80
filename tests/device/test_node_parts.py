# heap: 256K
"""The node's modules that only compute: retained, slots, limits, timekeeper, journal."""

import random
import struct
from array import array

from crc import crc16
from node import limits, slots
from node.journal import Journal, Row
from node.retained import Retained
from node.timekeeper import Timekeeper
from nodekit import Clock, Power


def _filled():
    power = Power()
    retained = Retained(power)
    retained.reason = 6
    retained.contact_owed = True
    retained.at_once = True
    retained.seconds = -5
    retained.sleep_s = 0xABCD
    retained.hints[:] = b"123456789"
    retained.conn = 0xFFFE
    retained.quality = 2
    retained.failures = 7
    retained.alarm_waits = True
    retained.spent = 9
    retained.save()
    return power, retained


def _fields(r):
    return (
        r.reason, r.contact_owed, r.seconds, r.sleep_s, bytes(r.hints), r.conn, r.quality, r.failures,
        r.alarm_waits, r.spent, r.at_once,
    )  # fmt: skip


FRESH = (0, False, 0, 0, bytes(9), 0, 0, 0, False, 0, False)


def test_retained_to_the_byte():
    power, _ = _filled()
    body = bytes.fromhex("96 00 00 0000 80 fbffffff cdab 00".replace(" ", "")) + b"123456789"
    body += bytes.fromhex("feff0297")
    assert len(power.memory) == 28
    assert power.memory[2:] == body
    assert power.memory[:2] == struct.pack("<H", crc16(body))


def test_retained_comes_back():
    power, retained = _filled()
    other = Retained(power)
    assert other.load()
    assert _fields(other) == _fields(retained)
    other.clear()
    assert _fields(other) == FRESH


def test_retained_refuses_each_flipped_bit():
    power, _ = _filled()
    right = power.memory
    for bit in range(28 * 8):
        noise = bytearray(right)
        noise[bit >> 3] ^= 1 << (bit & 7)
        power.memory = bytes(noise)
        retained = Retained(power)
        assert not retained.load(), bit
        assert _fields(retained) == FRESH


def test_retained_refuses_noise_of_every_length_and_what_is_half_written():
    power, _ = _filled()
    right = power.memory
    random.seed(1)
    for length in range(64):
        power.memory = bytes(random.getrandbits(8) for _ in range(length))
        assert not Retained(power).load()
        power.memory = bytes(length)
        assert not Retained(power).load()
    for done in range(1, 28):
        power.memory = right[:done] + bytes(28 - done)
        assert power.memory == right or not Retained(power).load(), done
        power.memory = right[:done]
        assert not Retained(power).load()


def test_retained_keeps_nothing_of_what_it_refused():
    power, retained = _filled()
    power.memory = power.memory[:-1] + b"\x08"
    assert not retained.load()
    assert _fields(retained) == FRESH


# slots


def test_a_slot_is_due_once():
    for interval in (1, 7, 60, 3600):
        for base in (-660000000, 0, 200000000):
            last = base // interval * interval
            assert not slots.due(interval, last, last + interval - 1)
            assert slots.due(interval, last, last + interval)
            assert not slots.due(interval, last + interval, last + interval)
            assert slots.next_slot([interval], last) == last + interval
            assert slots.next_slot([interval], last + interval - 1) == last + interval
    assert slots.next_slot([60, 25, 3600], 100) == 120
    assert slots.next_slot([60, 25, 3600], 120) == 125


def test_a_node_that_wakes_in_time_takes_each_slot_once():
    random.seed(2)
    for _ in range(60):
        intervals = [random.choice((1, 5, 60, 600)) for _ in range(random.randint(1, 3))]
        now = random.randint(0, 100000)
        last = now - max(intervals)
        taken = [[] for _ in intervals]
        first = now
        for _ in range(150):
            for i in range(len(intervals)):
                if slots.due(intervals[i], last, now):
                    taken[i].append(now // intervals[i])
            last = now
            following = slots.next_slot(intervals, last)
            assert following > now
            now = following + random.randint(0, min(intervals) - 1)  # late, but before the next one
        for i in range(len(intervals)):
            assert taken[i] == list(range(first // intervals[i], last // intervals[i] + 1))


def test_a_set_clock_neither_repeats_nor_skips_a_slot():
    random.seed(3)
    for _ in range(60):
        interval = random.choice((10, 60, 600))
        now = 50000000
        last = now - interval
        taken = []
        for _ in range(100):
            if slots.due(interval, last, now):
                taken.append(now // interval)
                last = now
            if random.randint(0, 4) == 0:
                now += random.randint(-interval, interval // 2 - 1)
                last = slots.kept(last, now, interval)
                if slots.due(interval, last, now):
                    taken.append(now // interval)
                    last = now
            now = slots.next_slot([interval], max(last, now)) + random.randint(0, interval // 2)
        for i in range(1, len(taken)):
            assert taken[i] == taken[i - 1] + 1, taken[i - 1 : i + 1]


def test_a_clock_set_far_back_does_not_stop_the_node():
    assert slots.kept(5000, 4000, 60) == 4000
    assert slots.kept(5000, 4939, 60) == 4939
    assert slots.kept(5000, 4940, 60) == 5000
    assert slots.kept(5000, 5001, 60) == 5000


# limits


def _walk(values, low, high, hysteresis):
    state, crossings = limits.NORMAL, []
    for value in values:
        after = limits.judge(state, value, low, high, hysteresis)
        if after != state:
            crossings.append((value, after))
        state = after
    return crossings


def test_limits_with_hysteresis():
    assert _walk((100, 101, 100, 99, 98, 97, 101), 0, 100, 3) == [(101, 1), (97, 0), (101, 1)]
    assert _walk((0, -1, 0, 1, 2, 3, -1), 0, 100, 3) == [(-1, 2), (3, 0), (-1, 2)]
    assert _walk((101, -1, 101, 50), 0, 100, 3) == [(101, 1), (-1, 2), (101, 1), (50, 0)]
    assert _walk((101, 100, 101), None, 100, 0) == [(101, 1), (100, 0), (101, 1)]
    assert _walk((101, 2000000000, -2000000000), None, 100, 5) == [(101, 1), (-2000000000, 0)]
    assert _walk((-2000000000, 2000000000), 0, None, 5) == [(-2000000000, 2), (2000000000, 0)]
    assert _walk((-9, 9, 5), None, None, 5) == []
    # A limit taken away by new settings ends what it had begun; a sensor that works again is judged anew.
    assert limits.judge(limits.HIGH, 50, 0, None, 9) == limits.NORMAL
    assert limits.judge(limits.LOW, 50, None, 100, 9) == limits.NORMAL
    assert limits.judge(limits.SENSOR_FAILS, 99, 0, 100, 9) == limits.NORMAL


def test_limit_states_do_not_touch_each_other():
    random.seed(4)
    states, mirror = 0, [0] * 17
    for _ in range(500):
        channel, state = random.randint(1, 16), random.randint(0, 3)
        states = limits.put(states, channel, state)
        mirror[channel] = state
        assert 0 <= states <= 0xFFFFFFFF
        assert [limits.get(states, c) for c in range(1, 17)] == mirror[1:]


# timekeeper


class _BootLog:
    began = 0
    good = 0
    raised = False
    saves = 0

    def save(self, began, good, raised):
        self.began, self.good, self.raised = began, good, raised
        self.saves += 1


def test_uptime_does_not_jump_with_the_clock():
    clock, bootlog = Clock(-600000000), _BootLog()
    bootlog.began = clock.now
    keeper = Timekeeper(clock, bootlog)
    clock.now += 90
    assert keeper.stamp() == (90, 0) and keeper.wall() == (0, 0) and keeper.uptime_ms() == 90000
    moved = keeper.set(200000000, 0, 2)
    assert moved == 200000000 + 600000000 - 90 and bootlog.saves == 1
    assert keeper.stamp() == keeper.wall() == (200000000, 2) and keeper.uptime_s() == 90
    saves = bootlog.saves
    keeper.set(200000003, 500, 2)
    assert keeper.uptime_s() == 90 and bootlog.saves == saves  # drift is not worth a flash write
    clock.now += 5000000
    assert keeper.uptime_ms() == 5000090000 & 0xFFFFFFFF


# journal


class _Ring:
    def __init__(self, records):
        self.records = records

    def range(self):
        return 1, 0, len(self.records) + 1

    def read(self, seq):
        record = self.records[seq - 1]
        if record is None:
            raise KeyError("record %d: damaged" % seq)
        return record


def test_journal_row_to_the_byte():
    journal = Journal(_Ring([]), 4)
    values = array("i", [-2, 70000, 0x12345678, -2147483648])
    row = bytes(journal.pack(2, 0xFFFFFFFE, 0x0BEBC200, 0b1101, 0x80000001, values))
    head = "01 02 feffffff 00c2eb0b 0d000000 01000080".replace(" ", "")
    assert row == bytes.fromhex(head + "feffffff7856341200000080")
    read = Row(row)
    assert (read.quality, read.boot, read.time) == (2, 0xFFFFFFFE, 0x0BEBC200)
    assert (read.present, read.state) == (13, 0x80000001)
    assert read.values == (-2, 0x12345678, -2147483648)
    assert read.spread([(1, 0), (2, 0), (3, 0), (4, 0)]) == [-2, None, 0x12345678, -2147483648]
    assert read.spread([(4, 0), (9, 0), (1, 0)]) == [-2147483648, None, -2]
    assert len(journal.pack(0, 1, 0, 0, 0, values)) == 18
    for wrong in (b"", row[:17], row[:-1], b"\x02" + row[1:]):
        try:
            Row(wrong)
        except ValueError:
            continue
        raise AssertionError(wrong)


def test_journal_last():
    row = bytes(Journal(None, 1).pack(0, 7, 60, 1, 0, array("i", [5])))
    assert Journal(_Ring([]), 1).last() is None
    assert Journal(_Ring([b"", row]), 1).last().boot == 7
    assert Journal(_Ring([row, None]), 1).last() is None
    assert Journal(_Ring([row, b"\x09" + row]), 1).last() is None
