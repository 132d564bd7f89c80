# heap: 512K
"""What runs at every wake or for every byte allocates nothing, at no value that it may be given.

Only the 31-bit VM shows all of it: on the unix port no int here would ever allocate.
"""

import gc
import random
import sys
import time
from array import array

import crc
import micropython
from bme280chip import ADDRESS, FakeBme280, calibration
from codec import Rows
from drivers import SensorError, bme280
from flashring import Ring, Window
from hmac256 import equal
from node import limits, slots
from node.retained import Retained
from norflash import NorFlash

try:
    import socket  # noqa: F401
except ImportError:
    # The 31-bit VM has none; nothing here opens a socket, but mqtt imports the module.
    sys.modules["socket"] = sys

import mqtt
from mqtt.deadline import Deadlines
from mqtt.inbox import Inbox
from mqtt.outbox import Outbox

BIGGEST = 0x3FFFFFFF  # the largest small int of a board
BLOCK = 16 if sys.maxsize == 0x7FFFFFFF else 32  # what the heap deals in: four words


class Locked:
    """`with Locked():` every allocation inside is a MemoryError."""

    def __enter__(self):
        micropython.heap_lock()

    def __exit__(self, kind, error, trace):
        micropython.heap_unlock()


def _cost(call, *args):
    """Bytes of heap that `call(*args)` takes."""
    gc.collect()  # so that none is due within the call
    before = gc.mem_alloc()
    call(*args)
    return gc.mem_alloc() - before


def test_the_lock_is_a_lock():
    try:
        with Locked():
            bytearray(1)
    except MemoryError:
        return
    raise ValueError("an allocation went through")


def test_crcs_of_every_byte_value_from_every_kind_of_state():
    singles = [bytes((value,)) for value in range(256)]
    with Locked():
        for single in singles:
            for bit in range(24):
                crc.crc24(single, 1 << bit)
                crc.crc16(single, 1 << bit & 0xFFFF)
            crc.crc24(single, 0xFFFFFF)
            crc.crc16(single, 0xFFFF)


def test_crcs_of_every_length_to_a_ring_record():
    view = memoryview(bytes(range(256)) * 5)
    parts = [view[:length] for length in range(0, 1037, 7)]
    with Locked():
        for part in parts:
            crc.crc24(part)
            crc.crc16(part)


def test_limits():
    values = (-BIGGEST, -1, 0, 1, BIGGEST)
    states = (limits.NORMAL, limits.HIGH, limits.LOW, limits.SENSOR_FAILS)
    with Locked():
        for state in states:
            for value in values:
                limits.judge(state, value, -(1 << 29), (1 << 29) - 1, 1 << 29)
                limits.judge(state, value, None, None, 5)
                limits.judge(state, value, None, BIGGEST, 0)
                limits.judge(state, value, -BIGGEST, None, 0)


def test_alarm_states_of_channels_1_to_15():
    # Channel 16 has bits 30 and 31 of the field: on a board that int is on the heap.
    states = 0
    with Locked():
        for channel in range(1, 16):
            for state in (1, 2, 3):
                states = limits.put(states, channel, state)
                limits.get(states, channel)


def test_slots_until_the_year_2054():
    moments = (0, 59, 60, 86400 * 365, BIGGEST - 64, BIGGEST)
    intervals = (1, 60, 3600, 86400)
    with Locked():
        for now in moments:
            for interval in intervals:
                slots.due(interval, 0, now)
                slots.due(interval, now, now)


class Memory:
    """A board's power port as far as Retained needs it; gives back what it was given, and copies nothing."""

    def __init__(self):
        self.kept = b""

    def retained(self):
        return self.kept

    def retain(self, data):
        self.kept = data


def test_retained_costs_the_same_whatever_it_says():
    memory = Memory()
    fields = Retained(memory)
    empty = _cost(fields.save), _cost(fields.load)
    fields.reason = 15
    fields.contact_owed = True
    fields.seconds = BIGGEST
    fields.sleep_s = fields.conn = 0xFFFF
    fields.quality = 0xFF
    fields.alarm_waits = True
    fields.failures = fields.spent = 15
    for at in range(9):
        fields.hints[at] = 0xFF
    assert (_cost(fields.save), _cost(fields.load)) == empty
    assert fields.load() and fields.seconds == BIGGEST


def test_comparing_tags():
    a, b = bytes(16), b"\xff" * 16
    with Locked():
        assert equal(a, a)
        assert not equal(a, b)


def test_rows_of_small_ints():
    rows = Rows(2, 3)
    values = [[0, None], [-BIGGEST, BIGGEST], [BIGGEST, -BIGGEST]]
    with Locked():
        for row in values:
            rows.add(BIGGEST, row)
        rows.time(2)
        rows.discard(1)
        rows.clear()


class _QuietFlash(NorFlash):
    """Takes no heap itself, so that what a ring takes shows."""

    def read_into(self, addr, mv):
        cells = self.cells
        for i in range(len(mv)):
            mv[i] = cells[addr + i]

    def program(self, addr, mv):
        cells = self.cells
        for i in range(len(mv)):
            cells[addr + i] &= mv[i]


def test_a_ring_writes_without_allocating():
    """Records of every short length and some longer ones, sectors opened on the way, moves of the cursor."""
    for unit in (1, 16, 32, 256):
        ring = Ring(_QuietFlash(4, unit), 0, 4)
        ring.format(0xFFFFFFFF)
        payload = [bytes(i & 0xFF for i in range(length)) for length in range(63)] + [bytes([255]) * 100]
        opened = 0
        seq = 0
        for _ in range(5):
            for record in payload:
                if ring.room() < 256:
                    ring.idle()  # what must be looked up is looked up here
                    opened += 1
                with Locked():
                    seq = ring.append(record)
                    if seq > 2:
                        ring.release(seq - 2)
                        ring.release(seq - 1, False)
        with Locked():
            ring.drop(seq)
        assert ring.range() == (ring.range()[0], seq, seq + 1) and seq == 5 * 64
        assert ring.read(seq) == payload[-1] and opened > 3


def test_a_ring_writes_every_length_without_allocating():
    for unit in (1, 256):
        ring = Ring(_QuietFlash(4, unit), 0, 4)
        ring.format(0xFFFFFFFF)
        for length in range(62, 1025, 31 if unit == 1 else 62):
            record = bytes(length)
            ring.idle()
            with Locked():
                seq = ring.append(record)
                ring.release(seq)
            assert ring.read(seq) == record


def test_the_first_append_after_a_boot_allocates_nothing():
    for unit in (1, 16, 256):
        for clean in (True, False):
            flash = _QuietFlash(4, unit)
            ring = Ring(flash, 0, 4)
            ring.format(0xFFFFFFFF)
            for _ in range(5):
                ring.append(b"a record")
            ring = Ring(flash, 0, 4)
            ring.mount(None, clean)
            ring.idle()
            with Locked():
                seq = ring.append(b"another")
                seq = ring.append(b"another")
            assert ring.read(seq) == b"another"


def test_a_ring_that_is_mounted_holds_512_bytes():
    """Without its window, which rings on one flash share; `mount` borrows a sector there and `free` gives it back."""
    flash = NorFlash(4)
    window = Window(flash, 64)
    rings = [Ring(flash, 0, 4, window)]  # and whatever is made once
    held = _cost(lambda: rings.append(Ring(flash, 0, 4, window)))
    assert held <= (512 if BLOCK == 16 else 1024), held
    ring = rings[1]
    ring.format(9)
    window.free()
    gc.collect()
    before = gc.mem_alloc()
    ring.mount(None, True)
    window.free()
    gc.collect()
    if BLOCK == 32:  # the 31-bit VM does not collect while Python runs
        assert gc.mem_alloc() <= before, "mounted it holds no more"
    assert window._view is None and ring._reader is None


def test_a_bme280_reading_costs_the_same_on_every_chip_at_every_temperature():
    """Its docstring says that no product is beyond a small int; one that were would add a block here."""
    out = array("i", [0] * 3)

    def costs(chip):
        driver = bme280.Driver(chip, ADDRESS)
        driver.start(0)
        return _cost(driver.collect, out, 0)

    random.seed(280)
    usual = costs(FakeBme280())
    readings = 0
    for _ in range(400):
        raw = random.randint(300000, 800000), random.randint(100000, 800000), random.randint(15000, 50000)
        chip = FakeBme280(calibration(), raw)
        try:
            cost = costs(chip)
        except SensorError:  # outside the operating range
            continue
        if out[1] in (0, 10000):  # humidity clamped: what was computed lies outside the range, and may be any size
            continue
        readings += 1
        assert cost == usual, (chip.cal, raw, out, cost)
    assert readings > 50, readings


class Silent:
    """A socket with nothing to read that takes all it is offered."""

    def readinto(self, view):
        return None

    def write(self, buf, off, size):
        return size

    def close(self):
        pass


def test_an_mqtt_client_that_is_idle_or_writes():
    client = mqtt.Client("n1")
    client.state = mqtt.UP
    client.sock = Silent()
    client.check_msg()
    client.publish(b"t", bytes(900))
    with Locked():
        client.check_msg()  # the write
        for _ in range(10):
            client.check_msg()
            client.due_ms()
    assert client.pending() == 0


def test_mqtt_deadlines_and_buffers():
    deadlines = Deadlines(("write",), (10000,), time)
    outbox, inbox, sock, topic = Outbox(600), Inbox(600), Silent(), b"t" * 500
    first = time.ticks_add(0, -1)  # the last tick before the wrap
    with Locked():
        deadlines.watch(0, True, first)
        assert deadlines.next_ms(0) == 9999
        deadlines.watch(0, True, 9998)
        assert outbox.begin(0x30, 504)
        outbox.put_field(topic)
        outbox.put_u16(0xFFFF)
        outbox.send(sock)
        inbox.packet()
        inbox.drop()
    assert len(topic) == 500
