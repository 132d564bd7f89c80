# heap: 1024K
# beside: 3
# vm31: no, it waits in asyncio and wants littlefs
"""Whole wakes of a node on a board of fakes: what is measured, told and owed, and how each wake ends."""

import asyncio
import struct
import sys
import time

from node import app, settings, wire
from node.journal import Row
from nodekit import Adc, Board, Cut, FakeUplink, Slept, fresh_disk, without_network
from nodekit import settings as made_settings

WALL = 199999200  # a multiple of 600, 20 minutes past a full hour


class World:
    """A board and its settings over many boots; by default each contact sets the clock and is a success."""

    def __init__(self, sensors=((34, 60),), limits=(), report=3600, mv=1000):
        fresh_disk()
        self.adcs = {pin: Adc(mv) for pin, _ in sensors}
        self.board = Board(self.adcs)
        self.settings = made_settings(sensors, limits, report)
        settings.load = lambda: self.settings
        without_network(lambda node: node.set_clock(self.true, 0) or self.committed(node))
        self.true = WALL + 7
        self.boot_at(self.true)
        self.node = None

    @staticmethod
    def committed(node):
        for ring in (node.store.alerts, node.store.frames):
            ring.release(ring.range()[2] - 1)
        return True

    def boot_at(self, true):
        """Time passes up to `true`."""
        self.board.clock.now += true - self.true
        self.true = true

    def power_on(self):
        self.board.clock.now, self.board.clock.known = -600000000, False
        self.board.power.cause, self.board.power.memory = 1, b""

    def wake(self):
        """One waking, which is to end in deep sleep or a reset."""
        asyncio.new_event_loop()
        self.node = node = app.Node(self.board)
        try:
            node.begin()
            asyncio.run(node.live())
        except Slept:
            return node
        raise AssertionError("the waking ended otherwise")

    def sleep_through(self):
        slept = self.board.power.slept
        self.boot_at(self.true + slept // 1000)

    def wakes(self, count):
        for _ in range(count):
            self.sleep_through()
            self.wake()

    def rows(self):
        journal = self.node.store.journal
        oldest, _, following = journal.range()
        return [Row(journal.read(seq)) for seq in range(oldest, following)]

    def events(self):
        """(kind, channel or sensor, state) of each."""
        return [wire.event_state(event) for event in self.node.store.events()]


def test_the_first_wake_from_boot_to_deep_sleep():
    world = World(sensors=((34, 60), (35, 600)))
    node = world.wake()
    assert node.reason == 1 and node.bootlog.boot == 1 and FakeUplink.contacts == 1
    (row,) = world.rows()
    assert (row.quality, row.boot, row.time, row.present, row.values) == (0, 1, 0, 3, (1000, 1000))
    assert node.store.frames.range() == (1, 1, 2) and node.store.waiting_rows() == 0
    # The clock was set to 7 s past the slot: that slot had gone by unknown and was read at once, and so it is told.
    assert world.board.power.slept == 53000
    kept = node.retained
    assert (kept.seconds, kept.sleep_s, kept.quality, kept.conn) == (WALL + 7, 53, 2, 1)
    world.sleep_through()
    node = world.wake()
    assert node.reason == 3 and node.bootlog.boot == 1 and FakeUplink.contacts == 1
    row = world.rows()[-1]
    assert (row.quality, row.time, row.present) == (2, WALL + 60, 1) and world.board.power.slept == 60000


def test_each_slot_is_taken_once_through_days_of_sleep():
    world = World(sensors=((34, 60), (35, 300)))
    world.wake()
    world.wakes(90)
    times = [row.time for row in world.rows()[1:]]
    assert times == list(range(WALL + 60, WALL + 60 + 60 * 90, 60))
    slow = [row.time for row in world.rows()[1:] if row.present & 2]
    assert slow == [time for time in times if time % 300 == 0]
    assert FakeUplink.contacts == 2  # the boot, and the one full hour in it, moved by the node's offset
    assert world.adcs[35].reads == len(slow) + 1


def test_reports_are_an_hour_apart_whatever_the_interval():
    world = World(report=600)
    world.wake()
    moments = []
    script = FakeUplink.script
    FakeUplink.script = lambda node: moments.append(world.true) or script(node)
    world.wakes(60)
    assert len(moments) == 6 and all(b - a == 600 for a, b in zip(moments, moments[1:]))


def test_an_alarm_is_raised_once_and_contacts_at_once():
    world = World(limits=((1, 500, 2000, 100),), report=86400)
    world.wake()
    for mv, kind in ((2001, 1), (2500, None), (1950, None), (1900, 0), (499, 2), (600, 0), (1000, None)):
        world.adcs[34].mv = mv
        before, contacts = len(world.events()), FakeUplink.contacts
        world.wakes(1)
        new = world.events()[before:]
        assert new == ([] if kind is None else [(wire.ALARM, 1, kind)]), mv
        assert FakeUplink.contacts == contacts + (kind is not None)
    events = list(world.node.store.events())
    assert [struct.unpack_from("<bii", event, 16) for event in events] == [
        (-3, 2001, 2000), (-3, 1900, 2000), (-3, 499, 500), (-3, 600, 500),
    ]  # fmt: skip


def test_an_alarm_survives_a_failed_contact_and_is_not_raised_again():
    world = World(limits=((1, None, 2000, 100),), report=86400)
    world.wake()
    world.adcs[34].mv = 3000
    done = FakeUplink.script
    FakeUplink.script = lambda node: False
    before = FakeUplink.contacts
    world.wakes(4)
    assert before + 1 <= FakeUplink.contacts <= before + 3  # at once, then rarer
    assert not world.node.alarms.raised
    assert world.events() == [(wire.ALARM, 1, 1)] and world.node.retained.contact_owed
    FakeUplink.script = done
    world.wakes(64)
    assert not world.node.retained.contact_owed and world.events() == [(wire.ALARM, 1, 1)]


def test_a_cut_anywhere_in_an_alarms_wake_neither_loses_nor_repeats_it():
    operations, cut = 0, True
    while cut:
        operations += 1
        for part in (0, 8):
            world = World(limits=((1, None, 2000, 100),))
            world.wake()
            world.adcs[34].mv = 3000
            world.sleep_through()
            world.board.flash.left, world.board.flash.part = operations, part
            asyncio.new_event_loop()
            node = app.Node(world.board)
            try:
                node.begin()
                asyncio.run(node.live())
            except (Cut, Slept):
                pass
            cut, world.board.flash.left = world.board.flash.left == 0, None
            if cut:
                world.power_on()
            world.sleep_through()
            world.wake()
            world.wakes(2)
            assert world.events() == [(wire.ALARM, 1, 1)], (operations, part)
            framed = []
            frames = world.node.store.frames
            for seq in range(1, frames.range()[2]):
                first, count = struct.unpack_from("<IH", frames.read(seq))
                framed += range(first, first + count)
            assert framed == list(range(1, len(framed) + 1)), (operations, part)
    assert operations > 4


def test_a_sensor_that_fails_is_reported_once_and_its_recovery_once():
    world = World(sensors=((34, 60), (35, 60)))
    world.wake()
    for fault, state in ((OSError(5), 1), (ValueError("no"), 2), (ZeroDivisionError("a bug"), 2)):
        before = len(world.events())
        world.adcs[34].mv = fault
        world.wakes(3)
        assert world.events()[before:] == [(wire.SENSOR, 0, state)]
        assert [(row.present, row.values) for row in world.rows()[-3:]] == [(2, (1000,))] * 3
        world.adcs[34].mv = 1000
        world.wakes(3)
        assert world.events()[before:] == [(wire.SENSOR, 0, state), (wire.SENSOR, 0, 0)]
        assert [row.present for row in world.rows()[-3:]] == [3] * 3


def test_a_sensor_without_a_driver_costs_no_other_sensor():
    world = World(sensors=((34, 60), (35, 60)))
    world.settings["sensors"][0]["driver"] = "nosuch"
    world.wake()
    world.wakes(2)
    assert [row.present for row in world.rows()] == [2] * 3 and world.events() == [(wire.SENSOR, 0, 2)]


def test_an_alarm_that_stood_when_its_sensor_failed_ends_once():
    world = World(limits=((1, None, 2000, 100),))
    world.wake()
    for mv in (3000, OSError(5), OSError(5), 3000, 3000, OSError(5), 1000, 1000):
        world.adcs[34].mv = mv
        world.wakes(1)
    assert world.events() == [
        (wire.ALARM, 1, 1), (wire.SENSOR, 0, 1), (wire.SENSOR, 0, 0),
        (wire.SENSOR, 0, 1), (wire.SENSOR, 0, 0), (wire.ALARM, 1, 0),
    ]  # fmt: skip


def test_a_limit_that_new_settings_took_away_ends_its_alarm():
    world = World(limits=((1, 500, 2000, 100),))
    world.wake()
    world.adcs[34].mv = 3000
    world.wakes(1)
    world.settings["limits"] = ((1, 500, None, 100),)
    world.wakes(2)
    assert world.events() == [(wire.ALARM, 1, 1), (wire.ALARM, 1, 0)]


def test_after_failed_contacts_tries_grow_rarer_and_success_ends_that():
    world = World(report=86400)
    done = FakeUplink.script
    FakeUplink.script = lambda node: node.set_clock(world.true, 0)
    world.wake()
    tries = []
    for wake in range(300):
        before = FakeUplink.contacts
        world.wakes(1)
        if FakeUplink.contacts > before:
            tries.append(wake)
    # One try in each window of 2, 4, 8 ... minutes, anywhere in it.
    assert 6 <= len(tries) <= 10 and tries[3] < 32 and tries[-1] - tries[-2] > 16, tries
    FakeUplink.script = done
    before = FakeUplink.contacts
    while FakeUplink.contacts == before:
        world.wakes(1)
    before = FakeUplink.contacts
    world.wakes(100)
    assert FakeUplink.contacts == before and world.node.retained.failures == 0


def test_a_report_has_a_moment_of_its_own_where_no_measurement_is_near():
    world = World(sensors=((34, 3600),))
    world.wake()
    moments = []
    script = FakeUplink.script
    FakeUplink.script = lambda node: moments.append(world.true) or script(node)
    for _ in range(12):
        world.wakes(1)
    assert len(moments) == 6 and all(b - a == 3600 for a, b in zip(moments, moments[1:]))
    assert (moments[0] % 3600) % 60 and len(world.rows()) == 7  # not at a slot, which would be everybody's


def test_alarms_beyond_the_budget_wait_for_it():
    world = World(limits=((1, None, 2000, 0),), report=86400)
    world.settings["alarm_contacts"] = 24  # one an hour
    world.wake()
    before = FakeUplink.contacts
    tries = []
    for wake in range(200):
        world.adcs[34].mv = 3000 if wake % 2 else 1000  # an alarm at each measurement
        contacts = FakeUplink.contacts
        world.wakes(1)
        if FakeUplink.contacts > contacts:
            tries.append(wake)
    assert tries[:14] == list(range(1, 15))
    assert 17 <= FakeUplink.contacts - before <= 21, tries
    assert len(world.events()) == 199
    assert world.node.store.alerts.range()[1] >= 100  # and they did go when it let them


def test_a_contact_before_its_time_by_size_and_by_age():
    for size, age, row in ((2, None, 200), (1000, 3000, 50), (1000, 7200, 100)):
        world = World(report=86400 * 30)
        world.settings["size"], world.settings["age"] = size, age
        world.wake()
        before = FakeUplink.contacts
        while FakeUplink.contacts == before:
            world.wakes(1)
        assert abs(len(world.rows()) - row) < 3, (size, len(world.rows()))


def test_an_alarm_is_tried_again_in_the_same_waking_and_a_report_is_not():
    for limits, tries in (((), 1), (((1, None, 2000, 0),), 3)):
        world = World(limits=limits)
        world.settings["awake_cap"] = 4
        world.adcs[34].mv = 3000
        del sys.modules["node.uplink"]
        ups = []

        async def refused(networks, timeout_ms, ups=ups):
            ups.append(time.ticks_ms())
            raise OSError("radio: no network of 1 joined")

        world.board.the_radio.up = refused
        world.wake()
        assert len(ups) >= tries and (limits or len(ups) == 1), ups
        gaps = [time.ticks_diff(b, a) for a, b in zip(ups, ups[1:])]
        assert all(gap >= 1100 for gap in gaps), gaps
        world.sleep_through()


def test_a_backlog_that_shrinks_is_no_failure():
    world = World(report=86400)
    world.wake()

    def one_at_a_time(node):
        node.store.append_frame(b"\x00" * 40)
        node.store.frames.release(node.store.frames.range()[1] + 1)
        return False

    FakeUplink.script = one_at_a_time
    world.node.retained.contact_owed = True
    world.node.retained.save()
    before = FakeUplink.contacts
    world.wakes(5)
    assert FakeUplink.contacts == before + 5 and world.node.retained.failures == 0


def test_whatever_goes_wrong_in_a_contact_the_node_sleeps_and_measures_on():
    world = World()

    def fail(node):
        raise KeyError("record 7: damaged")

    FakeUplink.script = fail
    world.wake()
    assert world.node.retained.failures == 1 and world.node.retained.contact_owed
    world.wakes(5)
    assert len(world.rows()) == 6 and world.node.bootlog.boot == 1


def test_a_contact_ends_at_the_awake_cap_whatever_the_radio_does():
    world = World()
    world.settings["awake_cap"] = 1
    radio = world.board.the_radio

    async def never(networks, timeout_ms):
        await asyncio.sleep_ms(60000)

    async def refused(networks, timeout_ms):
        raise OSError("radio: no network of 1 joined")

    async def broken(networks, timeout_ms):
        raise TypeError("a bug")

    for wake, up in enumerate((never, refused, broken)):
        del sys.modules["node.uplink"]
        radio.up = up
        began = time.ticks_ms()
        world.power_on()
        world.wake()
        took = time.ticks_diff(time.ticks_ms(), began)
        assert took < 1500 and (up is not never or took >= 1000), took
        assert radio.downs == wake + 1
        assert world.board.power.slept == 60000 and world.node.retained.failures == 1


def test_a_crash_sleeps_boots_from_nothing_and_says_so():
    world = World()
    world.wake()
    world.sleep_through()
    append = app.Store.append_row

    def fail(*args):
        raise OSError("flash: EIO")

    app.Store.append_row = fail
    for boot in (2, 3):
        asyncio.new_event_loop()
        try:
            app.run(world.board)
        except Slept:
            pass
        assert world.board.power.slept == 60000
        app.Store.append_row = append
        world.sleep_through()
        assert world.wake().reason == 6 and world.node.bootlog.boot == boot
        app.Store.append_row = fail
        world.sleep_through()
    app.Store.append_row = append
    assert world.wake().reason == 3


def test_damage_in_flash_does_not_keep_a_node_from_booting():
    world = World(limits=((1, None, 2000, 100),))
    world.wake()
    world.adcs[34].mv = 3000
    world.wakes(2)
    for sector in range(10):
        cells = world.board.flash.cells
        start = sector * 4096 + 28
        cells[start + 9] &= 0x5A  # inside the first record
        cells[start + 50] &= 0x5A
    world.wakes(3)
    world.power_on()
    world.wake()
    world.wakes(3)
    assert world.board.power.slept == 60000 or world.board.power.slept == 53000


def test_contacts_of_one_boot_run_out_in_a_restart():
    world = World()
    world.wake()
    world.node.retained.conn = 0xFFFE
    world.node.retained.contact_owed = True
    world.node.retained.save()
    world.wakes(1)
    assert world.board.power.resets == 1
    node = world.wake()
    assert (node.reason, node.bootlog.boot, node.retained.conn) == (4, 2, 1)


def test_a_corrected_clock_neither_repeats_nor_loses_a_slot():
    for step in (-59, -20, -1, 1, 20):
        world = World(report=60)
        world.wake()
        FakeUplink.script = lambda node: True
        world.wakes(3)
        FakeUplink.script = lambda node, step=step: node.set_clock(node.board.clock.now + step, 0) or True
        world.wakes(1)
        FakeUplink.script = lambda node: True
        world.wakes(5)
        slots = [row.time // 60 for row in world.rows()[1:]]
        assert slots == list(range(slots[0], slots[0] + len(slots))), (step, slots)


def test_a_clock_set_back_by_hours_does_not_silence_the_node():
    world = World()
    world.wake()
    world.wakes(2)
    FakeUplink.script = lambda node: node.set_clock(node.board.clock.now - 7200, 0) or True
    world.node.retained.contact_owed = True
    world.node.retained.save()
    world.wakes(1)
    before, true = len(world.rows()), world.true
    world.wakes(10)
    assert len(world.rows()) >= before + 9 and world.true <= true + 660


def test_a_contact_meanwhile_does_not_keep_the_node_from_measuring():
    world = World(sensors=((34, 1),), report=86400)
    clock = world.board.clock

    async def slow(node):
        for _ in range(4):
            await asyncio.sleep_ms(230)
            clock.now += 1
        await asyncio.sleep_ms(230)
        node.intervals[0] = 60  # so that the waking ends
        return True

    run = FakeUplink.run
    FakeUplink.run = lambda self, fresh_from: slow(self._node)
    try:
        world.wake()
    finally:
        FakeUplink.run = run
    assert [row.time for row in world.rows()] == [0, 1, 2, 3, 4]


def test_a_row_is_of_the_moment_it_was_begun():
    world = World(report=86400)
    world.wake()
    read, clock = world.adcs[34].read_uv, world.board.clock

    def slow():
        clock.now += 55
        world.adcs[34].read_uv = read
        world.adcs[34].mv = OSError(5)
        return 1000000

    world.adcs[34].read_uv = slow
    world.sleep_through()
    clock.now += 30
    world.wake()
    assert [(row.time, row.present) for row in world.rows()[1:]] == [(WALL + 90, 1), (WALL + 145, 0)]


def test_rows_become_frames_without_waiting_for_the_report():
    world = World(report=86400)
    world.wake()
    world.wakes(150)
    world.node.store.mount_rest()
    assert FakeUplink.contacts == 1 and world.node.store.frames.range()[2] == 3
    assert world.node.store.waiting_rows() == 50


def test_a_long_outage_keeps_every_row_in_frames():
    world = World(report=86400)
    FakeUplink.script = lambda node: node.set_clock(world.true, 0)
    world.wake()
    world.wakes(400)
    store = world.node.store
    store.mount_rest()
    framed = 0
    for seq in range(1, store.frames.range()[2]):
        first, count = struct.unpack_from("<IH", store.frames.read(seq))
        assert first == framed + 1
        framed += count
    assert framed + store.waiting_rows() == store.journal.range()[2] - 1 >= 401
    assert store.waiting_rows() < 130 and world.events() == []


def test_the_longest_sleep_fits_the_retained_table():
    world = World(sensors=((34, 86400),), report=86400 * 30)
    world.wake()
    for _ in range(4):
        assert world.board.power.slept <= 65535000
        world.wakes(1)
    assert len(world.rows()) == 3
