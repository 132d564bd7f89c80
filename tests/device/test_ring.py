# heap: 1024K
"""The ring without power cuts (tests/powercut has those), on byte-programmed and on paged flash."""

from crc import crc24
from flashring import NoRing, Ring, RingError, RingFull, Window
from flashring.headers import build
from norflash import NorFlash

UNITS = (1, 16, 256)


def _payload(seq):
    return bytes((seq + i) & 0xFF for i in range(seq * 7 % 90))


def _ring(unit=1, count=4):
    flash = NorFlash(count + 3, unit)
    ring = Ring(flash, 2, count)
    ring.format(0xFEDCBA98)
    return flash, ring


def _again(flash, ring):
    """A second object on the same flash, held to give the same answers."""
    other = Ring(flash, 2, ring._count)
    other.mount()
    hinted = Ring(flash, 2, ring._count)
    hinted.mount(ring.hint())
    for r in (other, hinted):
        assert r.range() == ring.range(), (r.range(), ring.range())
        assert (r.stream, r.dropped, r.hint()) == (ring.stream, ring.dropped, ring.hint())
    return other


def _raises(kind, function, *args):
    try:
        function(*args)
    except kind as error:
        return error
    raise AssertionError("no %s" % kind)


def _check_all(ring):
    oldest, _, end = ring.range()
    for seq in range(oldest, end):
        assert ring.read(seq) == _payload(seq)
    for seq in range(end - 1, oldest - 1, -1):
        assert ring.read(seq) == _payload(seq)
    for seq in (0, oldest - 1, end):
        assert "record %d:" % seq in str(_raises(KeyError, ring.read, seq))


def _fill(ring):
    """Append until the ring is full; returns the RingFull."""
    while True:
        try:
            ring.append(_payload(ring.range()[2]))
        except RingFull as full:
            return full


def test_format_and_first_records():
    for unit in UNITS:
        flash, ring = _ring(unit)
        assert ring.range() == (1, 0, 1) and ring.stream == 0xFEDCBA98 and ring.dropped == 0
        _again(flash, ring)
        for seq in range(1, 6):
            assert ring.append(_payload(seq), seq % 2 == 0) == seq
        ring.sync()
        assert ring.range() == (1, 0, 6)
        _check_all(_again(flash, ring))


def test_bytes_on_flash():
    flash, ring = _ring()
    ring.append(b"ab")
    ring.release(1)
    ring.append(b"c")
    ring.drop(2)
    ring.rewind(2)
    at = 2 * 4096
    head = "464e5200 00000000 98badcfe 01000000 00000000 00000000 00"
    assert bytes(flash.cells[at : at + 25]) == bytes.fromhex(head.replace(" ", ""))
    body = bytes(flash.cells[at + 28 : at + 90])
    assert body[:9] == b"\x02\x00\x01\x01\x00\x00\x00ab"
    assert body[12:19] == b"\x00\x00\x02\x01\x00\x00\x00"
    assert body[22:30] == b"\x01\x00\x01\x02\x00\x00\x00c"
    assert body[33:44] == b"\x04\x00\x03\x02\x00\x00\x00\x01\x00\x00\x00"
    assert body[47:54] == b"\x00\x00\x04\x01\x00\x00\x00"
    assert body[57:] == b"\xff" * 5
    for start, end in ((0, 9), (12, 19), (22, 30), (33, 44), (47, 54)):
        crc = crc24(body[start:end], crc24(bytes(4)))  # the lap is 0
        assert body[end : end + 3] == bytes((crc & 255, crc >> 8 & 255, crc >> 16))


def test_an_entry_of_an_older_lap_does_not_fit():
    flash, ring = _ring()
    while ring._lap < 4:
        ring.release(ring.append(_payload(ring.range()[2])))
    first, end = ring._first, ring.append(b"") + 1
    for lap, seen in ((4, end), (8, first)):  # the same entries below a header of each lap
        build(memoryview(flash.cells)[2 * 4096 :], lap, ring.stream, first, 0, 0)
        other = Ring(flash, 2, 4)
        other.mount()
        assert other.range()[2] == seen


def test_nothing_to_mount():
    flash = NorFlash(6)
    ring = Ring(flash, 1, 4)
    text = str(_raises(NoRing, ring.mount))
    assert "sectors 1..4" in text and "4 look erased" in text
    assert flash.programs == flash.erases == 0
    for call in (ring.range, ring.sync, ring.idle, lambda: ring.append(b""), lambda: ring.release(0)):
        _raises(RingError, call)
    ring.format(9)
    flash.cells[4096 + 3] = 1
    text = str(_raises(NoRing, ring.mount))
    assert "1 of another format" in text
    assert flash.programs == 1
    _raises(RingError, ring.append, b"")


def test_many_laps_of_appends_and_releases():
    for unit in UNITS:
        flash, ring = _ring(unit)
        for seq in range(1, 500):
            assert ring.append(_payload(seq)) == seq
            if seq % 9 == 0:
                ring.release(seq - 4)
            if seq % 31 == 0:
                ring.idle()
                ring = _again(flash, ring)
        _check_all(_again(flash, ring))
        assert ring.range()[1:] == (491, 500)
        # The neighbours are another's.
        for sector in (0, 1, 6):
            assert flash.cells[sector * 4096 : sector * 4096 + 4096] == b"\xff" * 4096


def test_released_records_stay_readable():
    flash, ring = _ring()
    for seq in range(1, 40):
        ring.append(_payload(seq))
    ring.release(39)
    assert ring.range() == (1, 39, 40)
    _check_all(_again(flash, ring))


def test_full_ring_takes_nothing_until_told():
    for unit in UNITS:
        for verb in ("release", "drop"):
            flash, ring = _ring(unit)
            full = _fill(ring)
            end = ring.range()[2]
            assert ring.range()[:2] == (1, 0) and 0 < full.seq < end - 1
            before = bytes(flash.cells)
            assert _raises(RingFull, ring.append, b"x" * 80).seq == full.seq
            assert flash.cells == before
            ring = _again(flash, ring)
            # One at a time: each needs its own place in flash.
            for seq in range(1, full.seq):
                getattr(ring, verb)(seq)
                assert ring.range()[1] == seq
                if seq % 5 == 0:
                    ring = _again(flash, ring)
            _raises(RingFull, ring.append, b"x" * 80)
            getattr(ring, verb)(full.seq)
            assert ring.append(_payload(end)) == end
            assert ring.dropped == (full.seq if verb == "drop" else 0)
            assert ring.range()[0] <= full.seq + 1
            _check_all(_again(flash, ring))


def test_drop_counts_only_what_was_unreleased():
    flash, ring = _ring()
    for seq in range(1, 21):
        ring.append(_payload(seq))
    ring.release(5)
    ring.drop(5)
    ring.drop(8)
    ring.release(7)
    ring.drop(10)
    assert ring.dropped == 5 and ring.range() == (1, 10, 21)
    ring = _again(flash, ring)
    for seq in range(21, 900):
        ring.append(_payload(seq))
        ring.release(seq)
    assert ring.dropped == 5 and _again(flash, ring).dropped == 5


def test_rewind_lowers_the_cursor_for_good():
    for unit in UNITS:
        flash, ring = _ring(unit)
        for seq in range(1, 31):
            ring.append(_payload(seq))
        ring.release(30)
        ring.rewind(12)
        assert ring.range()[1] == 11 and _again(flash, ring).range()[1] == 11
        ring.rewind(20)
        assert ring.range()[1] == 11
        ring.release(25)
        ring.rewind(25)
        assert ring.range()[1] == 24 and _again(flash, ring).range()[1] == 24
        for seq in (0, 31, 99):
            _raises(ValueError, ring.rewind, seq)
        # What was made unreleased again is kept.
        _fill(ring)
        assert ring.range()[0] <= 25
        _check_all(_again(flash, ring))


def test_rewind_of_overwritten_is_refused():
    flash, ring = _ring()
    for seq in range(1, 700):
        ring.append(_payload(seq))
        ring.release(seq)
    oldest = ring.range()[0]
    assert oldest > 1
    _raises(ValueError, ring.rewind, oldest - 1)
    ring.rewind(oldest)
    assert _again(flash, ring).range() == (oldest, oldest - 1, 700)
    ring.idle()
    _check_all(_again(flash, ring))


def test_the_future_is_refused():
    _, ring = _ring()
    ring.append(b"1")
    before = ring.range()
    for call in (ring.release, ring.drop):
        _raises(ValueError, call, 2)
    assert ring.range() == before and ring.dropped == 0


def test_payload_lengths():
    for unit in UNITS:
        flash, ring = _ring(unit)
        for length in (0, 1, 245, 246, 247, 1024):
            payload = bytes(i & 0xFF for i in range(length))
            assert ring.read(ring.append(memoryview(payload))) == payload
        _raises(ValueError, ring.append, bytes(1025))
        _again(flash, ring)


def test_format_over_a_ring():
    flash, ring = _ring()
    for seq in range(1, 400):
        ring.append(_payload(seq))
        ring.release(seq)
    _raises(ValueError, ring.format, ring.stream)
    _raises(ValueError, ring.format, 0)
    _raises(ValueError, ring.format, 1 << 32)
    ring.format(5)
    assert ring.range() == (1, 0, 1) and ring.stream == 5
    for seq in range(1, 300):
        ring = _again(flash, ring)
        assert ring.append(_payload(seq)) == seq
        ring.release(seq)
    _check_all(ring)


def test_idle_keeps_erases_out_of_append():
    for unit in UNITS:
        flash, ring = _ring(unit)
        for seq in range(1, 400):
            erases = flash.erases
            ring.append(_payload(seq))
            ring.release(seq)
            assert flash.erases == erases
            ring = _again(flash, ring)
            ring.idle()
            ring.idle()
            assert flash.erases <= erases + 1
            if seq % 50 == 0:
                _check_all(ring)


def test_wear_is_even():
    flash, ring = _ring()
    worn = [0] * 7
    erase = flash.erase

    def count(sector):
        worn[sector] += 1
        erase(sector)

    flash.erase = count
    for seq in range(1, 3000):
        ring.append(_payload(seq))
        ring.release(seq)
        ring.idle()
    assert max(worn[2:6]) - min(worn[2:6]) <= 1 and min(worn[2:6]) > 5
    assert worn[0] == worn[1] == worn[6] == 0


def test_mount_is_cheap_wherever_the_head_is():
    flash, ring = _ring(256, 64)
    worst = 0
    for i in range(64 * 15 * 2):
        ring.release(ring.append(b"reading"))
        if i % 5 == 0:
            ring.idle()
            flash.reads = 0
            other = Ring(flash, 2, 64)
            other.mount()
            worst = max(worst, flash.reads)
            assert other._next == ring._next
            flash.reads = 0
            other.mount(ring.hint())
            assert flash.reads <= 4
            other.append(b"")
            assert flash.reads <= 12
            ring = other
            ring.release(ring._next - 1)
    assert worst <= 10, worst


def test_wrong_hints_do_no_harm():
    flash, ring = _ring()
    old = ring.hint()
    for seq in range(1, 600):
        ring.append(_payload(seq))
        ring.release(seq)
    for hint in (old, b"\xff\xff\xff", b"\x00\x00\x00", b"\x01\x00\x00", b"\x02\xff\xff", b"\x03\x20\x00"):
        other = Ring(flash, 2, 4)
        other.mount(hint)
        assert other.range() == ring.range()


def test_damage_is_refused_and_nothing_else_suffers():
    flash, ring = _ring()
    for seq in range(1, 60):
        ring.append(_payload(seq))
    start = flash.cells.find(_payload(11))
    flash.cells[start] ^= 0x10
    ring = Ring(flash, 2, 4)
    ring.mount()
    assert "damaged" in str(_raises(KeyError, ring.read, 11))
    for seq in range(1, 60):
        if seq != 11:
            assert ring.read(seq) == _payload(seq)
    assert ring.append(b"on") == 60


def test_one_wiped_or_spoilt_sector_brings_back_no_old_end():
    for lost in range(8):
        for byte in (0xFF, 0x5A):
            flash, ring = _ring(256, 8)
            while ring._lap < 13:
                ring.release(ring.append(b"x"))
            if lost == ring._lap % 8:
                continue
            start = (2 + lost) * 4096
            flash.cells[start : start + 4096] = bytes([byte]) * 4096
            other = Ring(flash, 2, 8)
            other.mount()
            assert other.range()[1:] == ring.range()[1:]


def test_a_failing_port_loses_nothing():
    flash, ring = _ring()
    program = flash.program
    for seq in range(1, 200):
        if seq % 10 == 0:

            def fail(addr, mv):
                program(addr, mv[: len(mv) // 2])
                raise OSError("flash")

            flash.program = fail
            _raises(OSError, ring.append, bytes(40))
            flash.program = program
        assert ring.append(_payload(seq)) == seq
        ring.release(seq)
        assert ring.read(seq) == _payload(seq)
    _check_all(_again(flash, ring))


def test_rings_sharing_a_window():
    flash = NorFlash(8)
    window = Window(flash)
    rings = Ring(flash, 0, 4, window), Ring(flash, 4, 4, window)
    for i in range(2):
        rings[i].format(i + 1)
    for seq in range(1, 300):
        for ring in rings:
            assert ring.append(_payload(seq)) == seq
            ring.release(seq)
            assert ring.read(seq) == _payload(seq)
    for ring in rings:
        _check_all(ring)


def test_geometry_is_checked():
    _raises(ValueError, Ring, NorFlash(4), 0, 2)
