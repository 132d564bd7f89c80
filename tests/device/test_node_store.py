# heap: 1024K
# vm31: no, it wants littlefs
"""The rings' policies, frames out of rows, and what a cut at any flash operation leaves of both."""

import gc
import struct
from array import array

from crc import crc24
from flashring import RingBusy, RingError
from node import framing, store, wire
from node.bootlog import BootLog
from node.framing import Framer
from node.journal import Row
from node.store import Store
from nodekit import Cut, CutFlash, fresh_disk

CHANNELS = [(1, -2), (2, 0), (3, -3)]
PLACES = {"journal": (0, 3), "alerts": (3, 3), "frames": (6, 4)}


class _Keeper:
    def wall(self):
        return 0, 0

    def uptime_ms(self):
        return 77


class _BootLog:
    boot = 3


def _store(flash):
    made = Store(flash, PLACES, len(CHANNELS), _Keeper(), _BootLog())
    made.mount(True)
    return made


def _row(made, number, quality=2, boot=3):
    """Row `number`: its values and which of them are present follow from it."""
    values = array("i", [number * 7 - 50, -number, number << 12])
    return made.append_row(quality, boot, 1000 + 60 * number, number % 7 + 1, 0, values)


def _readings(numbers):
    return sum((1, 1, 2, 1, 2, 2, 3)[number % 7] for number in numbers)


def _frames(made):
    """(first, rows) of every frame."""
    oldest, _, following = made.frames.range()
    return [struct.unpack_from("<IH", made.frames.read(seq)) for seq in range(oldest, following)]


def _framed(made):
    """Every row that frames hold, in order, each as often as it is there."""
    return [row for first, count in _frames(made) for row in range(first, first + count)]


def _waiting(made):
    oldest, released, following = made.journal.range()
    return list(range(max(oldest, released + 1), following))


def _gaps(made):
    return [struct.unpack_from("<BIIBI", event, 14) for event in made.events() if event[0] == wire.GAP]


def _damage(flash, sectors, needle):
    """Flips a bit of the one place where `needle` stands."""
    start, end = sectors[0] * 4096, (sectors[0] + sectors[1]) * 4096
    at = bytes(flash.cells[start:end]).find(needle)
    assert at >= 0
    flash.cells[start + at] ^= 1


# Frames


def test_rows_become_frames_once():
    made = _store(CutFlash(10))
    framer = Framer(made, CHANNELS)
    assert framer.run() == 0
    for number in range(1, 131):
        assert _row(made, number) == number
    assert made.waiting_rows() == 130
    assert framer.run() == 2 and framer.run() == 0
    assert _frames(made) == [(1, 128), (129, 2)] or _framed(made) == list(range(1, 131))
    assert made.waiting_rows() == 0
    assert sum(framing.readings(made.frames.read(seq)) for seq in (1, 2)) == _readings(range(1, 131))


def test_a_frame_holds_one_boot_and_one_quality():
    made = _store(CutFlash(10))
    for number, quality, boot in ((1, 0, 3), (2, 0, 3), (3, 2, 3), (4, 2, 4), (5, 0, 4)):
        _row(made, number, quality, boot)
    assert Framer(made, CHANNELS).run() == 4
    assert _frames(made) == [(1, 2), (3, 1), (4, 1), (5, 1)]


def test_what_does_not_fit_goes_into_the_next_frame():
    made = Store(CutFlash(10), PLACES, 32, _Keeper(), _BootLog())
    made.mount(True)
    for number in range(20):
        values = array("i", [(number * 99991 + i) * 54321 % 2000000000 for i in range(32)])
        made.append_row(2, 3, number, 0xFFFFFFFF, 0, values)
    assert Framer(made, [(i + 1, 0) for i in range(32)]).run() > 1
    assert _framed(made) == list(range(1, 21))
    assert all(len(made.frames.read(seq)) <= 1006 for seq in range(1, made.frames.range()[2]))
    total = sum(framing.readings(made.frames.read(seq)) for seq in range(1, made.frames.range()[2]))
    assert total == 640


def _life(made):
    framer = Framer(made, CHANNELS)
    for number in range(141, 146):
        _row(made, number)
        if number % 2:
            framer.run()
    made.alarm(1, 1, -2, 5, 4)


def test_a_cut_at_any_operation_neither_doubles_nor_loses_a_row():
    prepared = CutFlash(10)
    made = _store(prepared)
    for number in range(1, 141):  # the journal's first sector is nearly full: it turns while cuts come
        _row(made, number)
        if number in (60, 120):
            Framer(made, CHANNELS).run()
    picture = bytes(prepared.cells)
    operations = 0
    while True:
        operations += 1
        for part in (0, 3, 8):
            flash = CutFlash(10)
            flash.cells[:] = picture
            life = _store(flash)
            flash.left, flash.part = operations, part
            try:
                _life(life)
            except Cut:
                pass
            cut, flash.left = flash.left == 0, None
            after = _store(flash)
            framer = Framer(after, CHANNELS)
            framer.settle()
            end = after.journal.range()[2]
            assert end > 140
            assert _framed(after) + _waiting(after) == list(range(1, end)), (operations, part)
            framer.run()
            assert _framed(after) == list(range(1, end)) and not _waiting(after), (operations, part)
            assert _gaps(after) == []
        if not cut:
            break
    assert operations > 10


def test_a_release_that_was_lost_does_not_double_rows():
    """Not only at a boot: a contact that dies between the two steps is followed by another in the same waking."""
    made = _store(CutFlash(10))
    for number in range(1, 11):
        _row(made, number)
    framer = Framer(made, CHANNELS)
    release = framer._release
    framer._release = lambda seq: None
    assert framer.run() == 1 and made.waiting_rows() == 10
    framer._release = release
    _row(made, 11)
    assert framer.run() == 1
    assert _framed(made) == list(range(1, 12))


def test_a_damaged_row_is_declared_and_the_rest_goes_on():
    flash = CutFlash(10)
    made = _store(flash)
    for number in range(1, 21):
        _row(made, number)
    for number in (1, 9, 10, 20):
        _damage(flash, PLACES["journal"], struct.pack("<I", 1000 + 60 * number))
    flash.cells[4096 - 1] &= 0xFE  # the head ends here: the newest damaged row is no torn one
    made = _store(flash)
    assert made.rows.last() is None or made.rows.last().time == 1000 + 60 * 19
    framer = Framer(made, CHANNELS)
    framer.run()
    lost = [gap[1] for gap in _gaps(made)]
    assert all(gap[0] == 0 and gap[1] == gap[2] and gap[3:] == (2, 0) for gap in _gaps(made))
    assert lost[:3] == [1, 9, 10]
    assert sorted(_framed(made) + lost) == list(range(1, made.journal.range()[2]))
    assert made.waiting_rows() == 0 and framer.run() == 0
    assert [gap[1] for gap in _gaps(made)] == lost


def test_a_damaged_newest_frame_keeps_the_node_going():
    flash = CutFlash(10)
    made = _store(flash)
    _row(made, 1)
    Framer(made, CHANNELS).run()
    made.frames.release(1)  # so that what is damaged is not torn
    _damage(flash, PLACES["frames"], made.frames.read(1))
    made = _store(flash)
    _row(made, 2)
    framer = Framer(made, CHANNELS)
    framer.settle()
    assert framer.run() == 1


def test_a_journal_made_anew_is_not_taken_for_what_old_frames_hold():
    for rows in (1, 5, 40):
        flash = CutFlash(10)
        made = _store(flash)
        for number in range(1, 31):
            _row(made, number)
        Framer(made, CHANNELS).run()
        for sector in range(3):
            flash.erase(sector)
        made = _store(flash)
        assert made.formatted
        Framer(made, CHANNELS).settle()
        for number in range(101, 101 + rows):
            _row(made, number)
        made = _store(flash)
        framer = Framer(made, CHANNELS)
        framer.settle()
        assert made.waiting_rows() == rows
        framer.run()
        assert _framed(made) == list(range(1, 31)) + list(range(1, rows + 1))


# Older formats


def _plain_sector(flash, sector, stream, records, released):
    """A ring of format 0 whose first sector holds `records`, as SPEC.md has it."""
    header = b"FNR\x00" + struct.pack("<IIIIIB", 0, stream, 1, 0, 0, 0)
    data = bytearray(header + crc24(header).to_bytes(3, "little"))
    entries = [(1, seq, payload) for seq, payload in enumerate(records, 1)] + [(2, released, b"")]
    for kind, seq, payload in entries:
        entry = struct.pack("<HBI", len(payload), kind, seq) + payload
        data += entry + crc24(entry, crc24(bytes(4))).to_bytes(3, "little")
    flash.cells[sector * 4096 : sector * 4096 + len(data)] = data


def test_rings_of_format_0_are_taken_over_with_what_is_unsent():
    new = _store(CutFlash(10))
    for number in range(1, 61):
        _row(new, number)
        if number == 40:
            Framer(new, CHANNELS).run()
    new.alarm(1, 1, 0, 7, 5)
    rows = [new.journal.read(seq) for seq in range(1, 61)]
    flash = CutFlash(10)
    _plain_sector(flash, PLACES["journal"][0], 11, rows, 40)
    _plain_sector(flash, PLACES["alerts"][0], 12, [new.alerts.read(1)], 0)
    _plain_sector(flash, PLACES["frames"][0], 13, [new.frames.read(1)], 0)
    made = _store(flash)
    assert not made.formatted
    assert [ring.stream for ring in (made.journal, made.alerts, made.frames)] == [11, 12, 13]
    framer = Framer(made, CHANNELS)
    framer.settle()
    assert _framed(made) + _waiting(made) == list(range(1, 61))
    assert made.rows.last().time == 1000 + 60 * 60
    _row(made, 61)
    framer.run()
    made.sensor(0, 1)
    made = _store(flash)
    assert _framed(made) == list(range(1, 62)) and not _waiting(made)
    assert [event[0] for event in made.events()] == [wire.ALARM, wire.SENSOR]
    assert _gaps(made) == [] and not made.formatted


# Full rings


def test_a_full_journal_gives_up_the_oldest_rows_declared():
    made = _store(CutFlash(10))
    for number in range(1, 500):
        assert _row(made, number) == number
    gaps = _gaps(made)
    assert gaps and gaps[0][1] == 1
    last = 0
    for ring, lo, hi, reason, readings in gaps:
        assert (ring, lo, reason) == (0, last + 1, 1)
        assert readings == _readings(range(lo, hi + 1))
        last = hi
    assert _waiting(made) == list(range(last + 1, 500))
    assert made.journal.dropped == last
    assert Row(made.journal.read(499)).time == 1000 + 60 * 499


def test_full_frames_give_up_the_oldest_declared():
    made = _store(CutFlash(10))
    framer = Framer(made, CHANNELS)
    held = {}
    for number in range(1, 3000):
        _row(made, number)
        if number % 40 == 0:
            seq = made.frames.range()[2]
            assert framer.run() == 1
            held[seq] = _readings(range(number - 39, number + 1))
    gaps = _gaps(made)
    assert gaps
    last = 0
    for ring, lo, hi, reason, readings in gaps:
        assert (ring, lo, reason) == (2, last + 1, 1)
        assert readings == sum(held[seq] for seq in range(lo, hi + 1))
        last = hi
    assert made.frames.range()[1] == last


def _kinds(made, kind):
    return [event for event in made.events() if event[0] == kind]


def test_full_alerts_keep_alarms_and_give_up_lesser_events_declared():
    made = _store(CutFlash(10))
    for number in range(1, 3000):
        made.sensor(0, number % 2)
        if number % 30 == 0:
            made.alarm(1, 1, 0, number, 5)
    seen = [struct.unpack_from("<i", event, 17)[0] for event in _kinds(made, wire.ALARM)]
    assert set(seen) == set(range(30, 3000, 30)), "an alarm was evicted while lesser events were there"
    _, released, _ = made.alerts.range()
    assert released == made.alerts.dropped > 2000
    told = set()
    for ring, lo, hi, reason, readings in _gaps(made):
        assert (ring, reason, readings) == (1, 1, 0)
        told.update(range(lo, hi + 1))
    assert told == set(range(1, released + 1)), "every number that was given up is declared"


def test_full_of_alarms_gives_up_the_oldest_declared():
    made = _store(CutFlash(10))
    for number in range(900):
        made.alarm(1, number % 2, 0, number, 5)
    values = [struct.unpack_from("<i", event, 17)[0] for event in _kinds(made, wire.ALARM)]
    assert values == list(range(values[0], 900)) and 0 < values[0] < 900
    assert made.alerts.range()[1] == made.alerts.dropped > 0
    assert _gaps(made)


def test_a_large_ring_of_alarms_is_evicted_in_little_memory():
    made = Store(CutFlash(22), {"journal": (0, 3), "alerts": (3, 16), "frames": (19, 3)}, 3, _Keeper(), _BootLog())
    made.mount(True)
    number = 0
    while made.alerts._head.lap < 14:
        made.alarm(1, number % 2, 0, number, 5)
        number += 1
    gc.collect()
    ballast = []
    while gc.mem_free() > 80 * 1024:  # the alarms of all sectors at once would take twice that
        ballast.append(bytearray(64))
        if len(ballast) % 64 == 0:
            gc.collect()
    while not made.alerts.dropped:
        made.alarm(1, number % 2, 0, number, 5)
        number += 1
    ballast.clear()
    newest = 0
    for event in made.events():
        if event[0] == wire.ALARM:
            value = struct.unpack_from("<i", event, 17)[0]
            assert value == newest + 1 or not newest
            newest = value
    assert newest == number - 1 > 1800


def test_a_large_ring_of_gaps_is_evicted_in_little_memory():
    made = Store(CutFlash(22), {"journal": (0, 3), "alerts": (3, 16), "frames": (19, 3)}, 3, _Keeper(), _BootLog())
    made.mount(True)
    number = 0
    while made.alerts._head.lap < 14:
        number += 1
        made._declare(0, number, number, 1, 1)
    gc.collect()
    ballast = []
    while gc.mem_free() > 80 * 1024:
        ballast.append(bytearray(64))
        if len(ballast) % 64 == 0:
            gc.collect()
    while not made.alerts.dropped:
        number += 1
        made._declare(0, number, number, 1, 1)
    ballast.clear()
    told, before = 0, -1
    while told != before:
        before = told
        for event in made.events():
            if event[0] == wire.GAP:
                ring, lo, hi, _, readings = struct.unpack_from("<BIIBI", event, 14)
                if ring == 0 and lo <= told + 1:
                    assert readings == hi - lo + 1
                    told = max(told, hi)
    assert told == number > 1500


def test_a_cut_while_alarms_are_copied_forward_loses_none():
    prepared = CutFlash(10)
    made = _store(prepared)
    number = 0
    while not made.alerts.dropped:
        number += 1
        picture = bytes(prepared.cells)
        if number % 25 == 0:
            made.alarm(1, 1, 0, number, 5)
        else:
            made.sensor(0, number % 2)
    operations, cut = 0, True
    while cut:
        operations += 1
        flash = CutFlash(10)
        flash.cells[:] = picture
        life = _store(flash)
        flash.left, flash.part = operations, operations % 3 * 4
        try:
            life.sensor(0, 1)
        except Cut:
            pass
        cut, flash.left = flash.left == 0, None
        after = _store(flash)
        while not after.alerts.dropped:
            after.sensor(0, 1)
        seen = {struct.unpack_from("<i", event, 17)[0] for event in _kinds(after, wire.ALARM)}
        assert seen == set(range(25, number, 25)), operations
        told = set()
        for gap in _gaps(after):
            told.update(range(gap[1], gap[2] + 1))
        assert told == set(range(1, after.alerts.range()[1] + 1)), operations
    assert operations >= 4  # two commits of copies, drop, the event


def test_a_ring_of_nearly_nothing_but_alarms_gives_up_the_few_others_first():
    for unit in (1, 256):
        flash = CutFlash(10, unit)
        made = _store(flash)
        lesser = number = 0
        while not made.alerts.dropped:
            number += 1
            made.alarm(1, 1, 0, number, 5)
            if made.alerts.room() < 1000 and not lesser:
                made.alarm(1, 1, 0, -1, 5)
                made.sensor(0, 1)
                lesser = 1
        values = [struct.unpack_from("<i", event, 17)[0] for event in _kinds(made, wire.ALARM)]
        assert sorted(set(values)) == [-1] + list(range(1, number + 1)), (unit, number, len(values))


def test_a_ring_full_of_gaps_takes_events_still():
    """A node that nobody hears for months: what declares the loss of rows, and lesser events without end."""
    for unit, gaps, events in ((1, 420, 500), (256, 60, 120)):
        flash = CutFlash(10, unit)
        made = _store(flash)
        for number in range(gaps):
            made._declare(0, 2 * number + 1, 2 * number + 1, 1, 0)
        erases = flash.erases
        for number in range(events):
            made.sensor(0, number % 2)
        assert flash.erases - erases < events // 3, (unit, flash.erases - erases)
        end = 1
        for lo, hi in sorted([(lo, hi) for ring, lo, hi, _, _ in _gaps(made) if ring == 1]):
            assert lo <= end, "every number that was given up is declared still"
            end = max(end, hi + 1)
        assert end == made.alerts.range()[1] + 1


def test_a_cut_between_gap_and_drop_declares_it_once():
    prepared = CutFlash(10)
    made = _store(prepared)
    number = 0
    while not _gaps(made):
        number += 1
        picture = bytes(prepared.cells)
        _row(made, number)
    expected = _gaps(made)
    operations, cut = 0, True
    while cut:
        operations += 1
        flash = CutFlash(10)
        flash.cells[:] = picture
        life = _store(flash)
        flash.left, flash.part = operations, operations % 2 * 8
        try:
            _row(life, number)
        except Cut:
            pass
        cut, flash.left = flash.left == 0, None
        after = _store(flash)
        after.sensor(0, 1)  # what a boot may have to say first
        if after.journal.range()[2] == number:
            _row(after, number)
        assert _gaps(after) == expected, operations
        assert after.journal.range()[2] == number + 1
    assert operations >= 4  # gap, drop, erase, header, row


def test_a_full_journal_with_a_damaged_row_takes_rows_still():
    flash = CutFlash(10)
    made = _store(flash)
    for number in range(1, 200):
        _row(made, number)
    _damage(flash, PLACES["journal"], struct.pack("<I", 1000 + 60 * 3))
    made = _store(flash)
    for number in range(200, 320):
        _row(made, number)
    ring, lo, hi, reason, readings = _gaps(made)[0]
    assert (ring, lo, reason) == (0, 1, 1)
    assert readings == _readings(range(lo, hi + 1)) - _readings((3,))


def test_events_to_the_byte_and_damaged_ones_left_out():
    flash = CutFlash(10)
    made = _store(flash)
    made.alarm(2, 1, -2, 3600, 3500)
    made.sensor(1, 2)
    made.unreadable(2, 9)
    head = "03000000 4d000000 00000000 00".replace(" ", "")
    assert [bytes(event) for event in made.events()] == [
        bytes.fromhex("01" + head + "0201fe100e0000ac0d0000"),
        bytes.fromhex("02" + head + "0102"),
        bytes.fromhex("05" + head + "0209000000090000000200000000"),
    ]
    made.unreadable(2, 9)
    assert len(_gaps(made)) == 1
    _damage(flash, PLACES["alerts"], bytes.fromhex("0201fe100e"))
    made = _store(flash)
    assert [event[0] for event in made.events()] == [2, 5]


# bootlog


def test_bootlog_counts_boots_and_refuses_what_is_not_its_own():
    fresh_disk()
    log = BootLog()
    log.load()
    assert (log.boot, log.began, log.last_cmd) == (0, 0, 0)
    for boot in range(1, 4):
        log = BootLog()
        log.load()
        log.begin(-600000000 + boot)
        log.last_cmd = 0xFFFFFFFF
        log.save(log.began, 5, boot == 3)
    log = BootLog()
    log.load()
    assert (log.boot, log.began, log.last_cmd) == (3, -599999997, 0xFFFFFFFF)
    assert (log.good, log.raised) == (5, True)
    with open("bootlog", "rb") as file:
        right = file.read()
    assert right[1:13] == struct.pack("<IiI", 3, -599999997, 0xFFFFFFFF) and right[0] == 3 and len(right) == 19
    for wrong in (b"", right[:-1], right + b"\x00", b"\x63" + right[1:]):
        with open("bootlog", "wb") as file:
            file.write(wrong)
        try:
            BootLog().load()
        except ValueError as error:
            assert str(error).startswith("bootlog: ")
            continue
        raise AssertionError(wrong)
    assert store._RECENT >= 16 + 16 + 1  # what one boot may report before it comes to the loss it was cut in


def test_bootlogs_of_earlier_versions_are_taken_over():
    """A node that was cut off in the midst of an update goes on counting, and has no command under way."""
    head = struct.pack("<IiI", 7, -600000000, 41)
    for version, tail, kept in ((1, b"", (0, False)), (2, struct.pack("<IB", 5, 1), (5, True))):
        fresh_disk()
        with open("bootlog", "wb") as file:
            file.write(bytes((version,)) + head + tail)
        for _ in range(2):
            log = BootLog()
            log.load()
            assert (log.boot, log.began, log.last_cmd, log.command) == (7, -600000000, 41, 0)
            assert (log.good, log.raised) == kept
            log.save(log.began, log.good, log.raised)
        log.save_command(42, 3)
        log.begin(1)
        log = BootLog()
        log.load()
        assert (log.boot, log.last_cmd, log.command) == (8, 42, 3)


def _spoil_header(flash, first, ring):
    """Two flipped bits in the header of the sector after the head."""
    at = (first + (ring._head.lap + 1) % ring._headers.count) * 4096
    flash.cells[at + 3] &= 0xEF if flash.cells[at + 3] & 0x10 else 0xFE
    flash.cells[at + 14] ^= 1
    flash.cells[at + 22] ^= 1


def test_rows_behind_a_damaged_header_are_declared_once():
    flash = CutFlash(10)
    made = _store(flash)
    while made.journal._head.lap < 2 or made.journal._tail.is_free():
        try:
            made.journal.append(bytes(40), True)
        except RingBusy:
            made.journal.idle()
    _, released, _ = made.journal.range()
    _spoil_header(flash, PLACES["journal"][0], made.journal)
    for _ in range(2):
        after = _store(flash)
        oldest, now, _ = after.journal.range()
        assert now == oldest - 1 > released and after.journal.dropped == now - released
        assert _gaps(after) == [(0, released + 1, now, 2, 0)]


def test_a_journal_whose_sector_is_stuck_ends_in_an_error():
    flash = CutFlash(10)
    made = _store(flash)
    erase, program = flash.erase, flash.program

    def stuck():
        flash.cells[4096 + 2] &= 0xFE  # lap 1 in sector 1 of the journal

    def erase_stuck(sector):
        erase(sector)
        stuck()

    def program_stuck(addr, mv):
        program(addr, bytes(flash.cells[addr + i] & mv[i] for i in range(len(mv))))
        stuck()

    stuck()
    flash.erase, flash.program = erase_stuck, program_stuck
    try:
        for number in range(1000):
            _row(made, number)
    except RingError:
        assert number > 20 and flash.erases < 12, (number, flash.erases)
        return
    raise AssertionError("nobody noticed")
