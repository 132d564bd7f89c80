# heap: 1536K
# vm31: no, it waits in asyncio and wants littlefs
"""Commands on the node: what is taken, what is refused, and that none is done twice, wherever the supply is cut."""

import asyncio
import struct

from hmac256 import hmac256
from node import app, commands, operations, settings, wire
from node.control import Control
from nodekit import Adc, Board, Cut, FakeUplink, Slept, fresh_disk, remount, without_network
from nodekit import settings as made_settings

KEY = bytes(range(32))
OTHER_KEY = bytes(range(32, 64))
NONCE = b"nonce123"
WALL = 199999200
TEST_OP = 200
BEGUN, DONE, FAILED, REFUSED, EXPIRED, UNKNOWN = range(1, 7)


def _identity():
    return wire.Identity(KEY, "acme", "n-1")


def _seal(body, nonce=NONCE, name="acme/n-1", key=KEY, label=b"fn1 ctrl"):
    """A CMD's bytes: PROTOCOL.md's tag made here, from its own words."""
    return body + hmac256(hmac256(key, label), b"v1/" + name.encode() + b"\x00" + nonce + body)[:16]


def _cmd(number, op=TEST_OP, ttl_s=60, args=b"", **seal):
    return _seal(struct.pack("<BIHB", 0x13, number, ttl_s, op) + args, **seal)


class _Log:
    """A boot log that notes what was saved."""

    def __init__(self):
        self.last_cmd = self.command = 0
        self.saved = []

    def save_command(self, last_cmd, command):
        self.last_cmd, self.command = last_cmd, command
        self.saved.append((last_cmd, command))


class _Node:
    """As much of a node as a command sees; `acted`: the arguments of acts performed, `when`: what the log said then."""

    def __init__(self):
        self.bootlog, self.store, self.watch = _Log(), self, self
        self.results, self.acted, self.when = [], [], []
        self.raises = None

    def result(self, number, op, status, detail):
        self.results.append((number, op, status, detail))

    def expect(self, task, ms):
        """The watchdog's."""

    async def act(self, args):
        self.acted.append(args)
        self.when.append(list(self.bootlog.saved))
        if self.raises:
            raise self.raises
        return "well"


async def act(node, args):
    """The operation of these tests."""
    if isinstance(node, _Node):
        return await node.act(args)
    node.board.acted += 1


operations.register(TEST_OP, __name__, "act")


def _control(last_cmd=0):
    control = Control(_identity(), last_cmd)
    control.begin(NONCE)
    return control


def _perform(node, taken):
    asyncio.new_event_loop()
    asyncio.run(commands.perform(node, taken))


def _refuses(control, message, reason, age_ms=0):
    """It is counted, and nothing is taken."""
    before, taken = control.counts.get(reason, 0), control.taken
    control.received(message, age_ms)
    assert control.counts.get(reason) == before + 1 and control.taken is taken, (reason, control.counts)


def _takes(control, message, age_ms=0):
    control.received(message, age_ms)
    return control.taken


def test_a_command_is_durable_before_its_act_and_told_after_it():
    node = _Node()
    taken = _takes(_control(6), _cmd(7, args=b"xy"), 60000)
    assert taken == (7, TEST_OP, b"xy", False)
    _perform(node, taken)
    assert node.acted == [b"xy"] and node.results == [(7, TEST_OP, DONE, "well")]
    assert node.when == [[(7, TEST_OP)]] and node.bootlog.saved == [(7, TEST_OP), (7, 0)]


def test_what_an_act_raises_is_its_result():
    for error, status, detail in (
        (operations.Refused("no light"), REFUSED, "no light"),
        (OSError(5), FAILED, "OSError: [Errno 5] EIO"),
        (MemoryError("9 bytes"), FAILED, "MemoryError: 9 bytes"),
    ):
        node = _Node()
        node.raises = error
        _perform(node, (1, TEST_OP, b"", False))
        assert node.results == [(1, TEST_OP, status, detail)] and node.bootlog.command == 0


def test_an_act_that_does_not_end_has_failed():
    class Slow(_Node):
        async def act(self, args):
            await asyncio.sleep_ms(600000)

    longest, commands._LONGEST_MS = commands._LONGEST_MS, 5
    node = Slow()
    _perform(node, (1, TEST_OP, b"", False))
    commands._LONGEST_MS = longest
    assert node.results[0][:3] == (1, TEST_OP, FAILED) and node.results[0][3].startswith("TimeoutError")


def test_forged_commands():
    """Any bit changed; another's key, session, node, tenant; the key that ingest holds; tags of any length."""
    control = _control()
    good = _cmd(1, args=b"!")
    for at in range(1, len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x20
        _refuses(control, bad, "tag")
    for seal in (
        {"nonce": b"nonce124"}, {"nonce": b""}, {"name": "acme/n-2"}, {"name": "acmf/n-1"}, {"key": OTHER_KEY},
        {"label": b"fn1 data"},
    ):  # fmt: skip
        _refuses(control, _cmd(1, **seal), "tag")
    for size in range(8, len(good)):
        _refuses(control, good[:size], "malformed" if size < 24 else "tag")
    _refuses(control, good + b"\x00", "tag")
    _refuses(control, b"", "malformed")
    _refuses(control, _seal(b"\x12" + good[1:-16]), "malformed")
    _refuses(control, _cmd(1, args=bytes(65)), "malformed")
    _refuses(control, _cmd(0), "malformed")
    _refuses(control, _cmd(1, op=0), "malformed")
    assert _takes(control, good) == (1, TEST_OP, b"!", False), "after all this the true one is taken"


def test_replayed_and_older_commands():
    control = _control(6)
    for number in (1, 6):
        _refuses(control, _cmd(number), "old")
    recorded = _cmd(7)
    control.begin(b"nonce124")
    _refuses(control, recorded, "tag")
    assert _takes(control, _cmd(7, nonce=b"nonce124"))
    _refuses(_control(7), recorded, "old")


def test_two_at_once_and_a_flood():
    control = _control()
    first = _takes(control, _cmd(1))
    for number in range(1, 300):
        _refuses(control, _cmd(number), "busy")
    for _ in range(300):
        _refuses(control, _cmd(3, key=OTHER_KEY), "tag")
    assert control.taken is first
    node = _Node()
    commands.report(node, control.counts)
    assert node.results == [(0, 0, REFUSED, "busy 299, tag 300")]


def test_nothing_is_reported_where_nothing_was_forged():
    control, node = _control(5), _Node()
    _refuses(control, _cmd(5), "old")
    commands.report(node, control.counts)
    assert not node.results


def test_expired_and_unknown_operations_are_told_and_not_done():
    for command, age_ms, status, detail in (
        (_cmd(1, ttl_s=60), 60001, EXPIRED, ""),
        (_cmd(1, ttl_s=0), 1, EXPIRED, ""),
        (_cmd(1, ttl_s=65535), 65535000, DONE, "well"),
        (_cmd(1, op=77), 0, REFUSED, "this firmware has no operation 77"),
    ):
        node = _Node()
        _perform(node, _takes(_control(), command, age_ms))
        assert [said[2:] for said in node.results] == [(status, detail)] and len(node.acted) == (status == DONE)
        assert node.bootlog.last_cmd == 1 and node.bootlog.command == 0


def test_a_detail_is_cut_to_what_fits():
    buf = bytearray(100)
    assert wire.pack_result(buf, 1, 2, 3, 0, 9, 4, DONE, b"x" * 64) == 84 and wire.result_of(buf) == (9, 4, DONE)
    try:
        wire.pack_result(buf, 1, 2, 3, 0, 9, 4, DONE, b"x" * 65)
    except ValueError:
        return
    raise AssertionError("65 bytes taken")


def test_a_contact_stays_open_for_a_bounded_time_and_one_command():
    control = _control()
    assert not control.wants(0)
    control.announced(4, 1000)
    assert control.wants(5999) and not control.wants(6000)
    control.announced(0, 1500)
    assert not control.wants(1501)
    control.announced(4, 2000)
    _refuses(control, _cmd(1, key=OTHER_KEY), "tag")
    assert control.wants(2001) and _takes(control, _cmd(1)) and not control.wants(2001)


def test_operations_are_registered_once():
    for op in (operations.READ, TEST_OP):
        try:
            operations.register(op, __name__, "act")
        except ValueError:
            continue
        raise AssertionError("an operation was taken over")
    for op in range(1, 7):
        assert operations.find(op)


# Whole nodes


class _World:
    """A node with two sensors, and a cloud that offers command `op` with id 7 in every contact until it is taken."""

    def __init__(self, op=TEST_OP, args=b""):
        self.disk = fresh_disk()
        self.board = Board({34: Adc(1234), 35: Adc(-5)})
        self.settings = made_settings(((34, 60), (35, 600)))
        settings.load = lambda: self.settings
        without_network(self.contact)
        self.op, self.args = op, args
        self.sessions = 0
        self.offers = True
        self.node = None
        self.board.acted = 0

    @property
    def acted(self):
        return self.board.acted

    def contact(self, node):
        self.sessions += 1
        node.set_clock(max(WALL, self.board.clock.now), 0)
        nonce = b"nonce%03d" % self.sessions
        FakeUplink.control = control = Control(_identity(), node.bootlog.last_cmd)
        control.begin(nonce)
        if self.offers:
            control.received(_cmd(7, self.op, args=self.args, nonce=nonce), 0)
        return True

    def stored(self):
        """What outlives a power cut: bytes of both memories, and how many sessions there were."""
        return bytes(self.board.flash.cells), self.disk.content(), self.sessions

    def restore(self, stored):
        """Stand where another world stood when it was `stored`."""
        self.board.flash.cells[:], content, self.sessions = stored
        self.disk = remount(self.disk, content)

    def wake(self):
        asyncio.new_event_loop()
        self.node = node = app.Node(self.board)
        try:
            node.begin()
            asyncio.run(node.live())
        except (Slept, Cut):
            pass
        return node

    def sleep_through(self):
        self.board.clock.now += (self.board.power.slept or 0) // 1000

    def power_on(self):
        self.disk = remount(self.disk)
        self.board.clock.now, self.board.clock.known = -600000000, False
        self.board.power.cause, self.board.power.memory = 1, b""

    def results(self):
        """(id, op, status, detail) of each in ring A."""
        found = []
        for event in self.node.store.events():
            if event[0] == wire.RESULT:
                found.append(wire.result_of(event) + (bytes(event[20:]).decode(),))
        return found


def test_a_command_is_done_in_the_contact_that_brings_it():
    world = _World()
    world.wake()
    assert world.acted == 1 and world.results() == [(7, TEST_OP, DONE, "")]
    for _ in range(3):
        world.sleep_through()
        world.board.power.memory = b""  # a boot, and so a contact
        world.wake()
    assert world.acted == 1 and world.sessions == 4 and len(world.results()) == 1


def test_read_takes_a_row_of_every_sensor_and_no_slot():
    world = _World(operations.READ)
    world.wake()
    world.sleep_through()
    (said,) = world.results()
    assert said == (7, operations.READ, DONE, "row 2: 1.234 -0.005"), said
    rows = world.node.store.journal.range()[2] - 1
    assert rows == 2 and world.board.adcs[35].reads == 2
    world.wake()  # the contact that tells
    assert world.node.store.journal.range()[2] - 1 == 2
    world.sleep_through()
    world.wake()  # the next slot is taken as ever
    assert world.node.store.journal.range()[2] - 1 == 3 and world.board.adcs[35].reads == 2


def test_a_reading_on_command_waits_for_the_one_under_way():
    world = _World(operations.READ)
    world.offers = False
    world.wake()
    node = world.node
    order = []

    async def slow(due):
        order.append("in")
        await asyncio.sleep_ms(20)
        order.append("out")

    async def both():
        node.sampler.sample = slow
        node._last -= 3600
        await asyncio.gather(node._measure_due(), node.read_now())

    asyncio.new_event_loop()
    asyncio.run(both())
    assert order == ["in", "out"] * 2


def test_every_command_is_followed_by_a_contact_that_tells():
    for op in (TEST_OP, operations.REPORT, operations.RADIO, 77):
        world = _World(op)
        world.wake()
        assert world.sessions == 1 and world.board.power.slept == 2000, op
        rows = world.node.store.journal.range()[2]
        world.sleep_through()
        world.wake()
        assert world.sessions == 2 and world.node.retained.conn == 2, op
        assert world.board.power.slept > 2000 and world.node.store.journal.range()[2] == rows
        assert [result[:3] for result in world.results()] == [(7, op, REFUSED if op == 77 else DONE)]
        assert world.board.the_radio.downs == (op == operations.RADIO)
        assert not world.node.retained.contact_owed


def test_between_the_command_and_its_waking_nobody_begins_a_contact():
    world = _World()
    world.wake()
    node = world.node
    assert node.retained.at_once and node.contacts.busy() and not node.contacts.due(True)


def test_a_node_that_somebody_keeps_awake_tells_without_sleeping():
    world = _World()
    world.settings["service"] = [0, 5]
    world.board.low = (5,)
    contact = world.contact

    def counted(node):
        if world.sessions == 1:
            world.board.low = ()  # whoever held the pin goes
        return contact(node)

    without_network(counted)
    world.wake()
    assert world.sessions == 2 and len(world.results()) == 1 and not world.node.retained.at_once
    assert world.board.power.slept > 2000


def test_what_a_session_was_told_of_commands_is_forgotten_in_the_next():
    control = _control()
    control.announced(4, 20000)
    control.begin(b"nonce456")
    assert not control.wants(0)


def test_what_was_forged_is_told_at_the_next_contact():
    world = _World()
    world.offers = False
    quiet = world.contact

    def attacked(node):
        done = quiet(node)
        for _ in range(3):
            FakeUplink.control.received(_cmd(7, key=OTHER_KEY), 0)
        return done

    without_network(attacked)
    world.wake()
    assert world.results() == [(0, 0, REFUSED, "tag 3")] and world.sessions == 1
    assert world.node.bootlog.last_cmd == 0


def test_restart_is_told_by_the_boot_that_follows():
    world = _World(operations.RESTART)
    world.wake()
    assert world.board.power.resets == 1 and world.results() == [] and world.node.bootlog.command
    node = world.wake()
    assert node.reason == 4 and world.board.power.resets == 1 and node.bootlog.boot == 2
    assert [result[2] for result in world.results()] == [DONE]


def test_a_boot_for_another_cause_does_not_pass_for_the_restart():
    world = _World(operations.RESTART)
    world.wake()
    world.power_on()
    world.wake()
    assert [result[2] for result in world.results()] == [UNKNOWN] and world.board.power.resets == 1


def test_erase_takes_what_is_released_only():
    world = _World(operations.ERASE)
    world.offers = False
    node = world.wake()
    store = node.store
    for number in range(600):
        store.append_row(2, 1, WALL + number, 3, 0, node.sampler.values)
    _, _, end = store.journal.range()
    store.journal.release(end - 3)
    world.offers = True
    world.power_on()
    world.wake()
    (said,) = world.results()
    assert said[2] == DONE and said[3] != "0 sectors", said
    journal = world.node.store.journal
    oldest, _, following = journal.range()
    assert oldest > 100 and following > end - 2
    for seq in range(max(oldest, end - 2), following):
        journal.read(seq)


def test_identify_blinks_and_refuses_what_makes_no_sense():
    cases = ((b"\x01", DONE, 2), (b"\x00", REFUSED, 0), (b"\x15", REFUSED, 0), (b"ab", REFUSED, 0))
    for args, status, blinks in cases:
        world = _World(operations.IDENTIFY, args)
        world.wake()
        assert (world.results()[0][2], world.board.light.blinks) == (status, blinks), args
        assert not world.board.light.lit
    world = _World(operations.READ, b"x")
    world.wake()
    assert world.results()[0][2:] == (REFUSED, "it takes no arguments")
    world = _World(operations.IDENTIFY)
    world.board.light = None
    world.wake()
    assert world.results()[0][2] == REFUSED


def _waiting(op):
    """What is stored where 300 rows and the next contact's command are ahead of a node."""
    world = _World(op)
    world.offers = False
    world.wake()
    store = world.node.store
    for number in range(300):
        store.append_row(2, 1, WALL + number, 3, 0, world.node.sampler.values)
    store.journal.release(store.journal.range()[2] - 1)
    return world.stored()


def _cut_everywhere(op, check, in_turn=False):
    """Cuts the supply at each flash operation of the waking that brings the command, of rings and littlefs alike, and
    once more in the boot that follows. Each tears in three ways; `in_turn`: in one, another at the next operation.
    """
    stored = _waiting(op)
    operations, cut = 0, True
    while cut:
        operations += 1
        for part in (0, 3, 8)[operations % 3 :][:1] if in_turn else (0, 3, 8):
            world = _World(op)
            world.restore(stored)
            resets = world.board.power.resets
            world.power_on()
            world.disk.supply = flash = world.board.flash
            flash.left, flash.part = operations, part
            world.wake()
            cut, flash.left = flash.left == 0, None
            if cut:
                world.power_on()
                world.disk.supply, flash.left = flash, 1 + (7 * operations + part) % 9
                world.wake()
                again, flash.left = flash.left == 0, None
                if again:
                    world.power_on()
            for _ in range(3):
                world.sleep_through()
                world.wake()
                world.board.power.memory = b""
            final = world.results()
            assert len(final) == 1 and final[0][:2] == (7, op), (operations, part, world.results())
            assert world.node.bootlog.last_cmd == 7 and world.node.bootlog.command == 0
            check(world, final[0][2], world.board.power.resets - resets)
    return operations


def test_a_cut_anywhere_never_does_it_twice_and_always_tells():
    seen = set()

    def check(world, status, resets):
        seen.add((world.acted, status))
        assert world.acted == 1 and status in (DONE, UNKNOWN) or (world.acted, status) == (0, UNKNOWN)

    count = _cut_everywhere(TEST_OP, check)
    assert count > 6, count
    assert seen == {(0, UNKNOWN), (1, UNKNOWN), (1, DONE)}, seen


def test_a_cut_anywhere_in_a_restart():
    def check(world, status, resets):
        assert resets <= 1 and (resets == 1 or status == UNKNOWN) and status in (DONE, UNKNOWN)

    count = _cut_everywhere(operations.RESTART, check)
    assert count > 6, count


def test_a_cut_anywhere_in_an_erasure():
    def check(world, status, resets):
        journal = world.node.store.journal
        oldest, released, following = journal.range()
        assert released >= 300 and following > released
        for seq in range(max(oldest, released + 1), following):
            journal.read(seq)

    assert _cut_everywhere(operations.ERASE, check, in_turn=True) > 20
