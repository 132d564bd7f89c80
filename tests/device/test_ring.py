# heap: 1024K
"""The ring without power cuts (tests/powercut has those), on byte-programmed and on paged flash."""

from flashring import NoRing, Ring, RingBusy, RingError, RingFull, Window, checks
from flashring.commit import Commit
from norflash import NorFlash

UNITS = (1, 16, 32, 256)


def _payload(seq):
    return bytes((seq + i) & 0xFF for i in range(seq * 7 % 90))


class _Idling(Ring):
    """Erases when it must: what most tests here are not about."""

    def append(self, payload, reserve=False):
        """As Ring's."""
        for _ in range(2):
            try:
                return super().append(payload, reserve)
            except RingBusy:
                self.idle()
        return super().append(payload, reserve)


def _ring(unit=1, count=4):
    flash = NorFlash(count + 3, unit)
    ring = _Idling(flash, 2, count)
    ring.format(0xFEDCBA98)
    return flash, ring


def _again(flash, ring):
    """A second object on the same flash, held to give the same answers."""
    cells, hint = bytes(flash.cells), ring.hint()
    other = _Idling(flash, 2, ring._headers.count)
    other.mount(None, True)
    hinted = _Idling(flash, 2, ring._headers.count)
    hinted.mount(hint, True)
    assert flash.cells == cells, "a mount after a sleep writes nothing"
    cut = _Idling(flash, 2, ring._headers.count)
    cut.mount(hint)
    for r in (other, hinted, cut):
        assert r.range() == ring.range(), (r.range(), ring.range())
        assert (r.stream, r.dropped, r.damaged) == (ring.stream, ring.dropped, 0)
    assert other.hint() == hinted.hint()
    flash.cells[:] = cells  # where a cut may have been, a mount leaves its marks
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
            assert ring.append(_payload(seq)) == seq
        assert ring.range() == (1, 0, 6)
        _check_all(_again(flash, ring))


def test_bytes_on_flash():
    """From SPEC.md by a program of a page that shares nothing with lib/, its CRC bit by bit."""
    flash, ring = _ring()
    ring.append(b"ab")
    ring.release(1)
    ring.append(bytes(range(62)))
    ring.drop(2)
    ring.append_batch([b"xy", b"", b"z"])
    by_hand = (
        b"\x52\x01" + bytes(4) + b"\x98\xba\xdc\xfe\x01\x00\x00\x00" + bytes(8) + b"\xbf\x07\x58\x9e"
        b"\x0bab\x25\xbf"
        b"\xfb\x01\x00\x00\x00\xda\x10\x41\x27"
        b"\xf8\x3e\x00" + bytes(range(62)) + b"\xdf\xab\x9c\xbf"
        b"\xfc\x02\x00\x00\x00\x01\x00\x00\x00\x3e\x16\x8f\xe2"
        b"\xfa\x06\x20\x02xy\x00\x01z\x77\x9a\x69\x08"
    )  # fmt: skip
    at = 2 * 4096
    assert len(by_hand) == 135 and flash.cells[at : at + 160] == by_hand + b"\xff" * 25


def test_an_entry_of_an_older_lap_does_not_fit():
    flash, ring = _ring()
    while ring._head.lap < 4:
        ring.release(ring.append(_payload(ring.range()[2])))
    first, end = ring._head.first, ring.append(b"") + 1
    for lap, seen in ((4, end), (8, first)):  # the same entries below a header of each lap
        commit = Commit(64)
        commit.begin(0, checks.lap_seed(lap))
        commit.header(lap, ring.stream, first, 0, 0)
        flash.cells[2 * 4096 : 2 * 4096 + 26] = commit.data
        other = Ring(flash, 2, 4)
        other.mount()
        assert other.range()[2] == seen


def test_nothing_to_mount():
    flash = NorFlash(6)
    ring = Ring(flash, 1, 4)
    text = str(_raises(NoRing, ring.mount))
    assert "sectors 1..4" in text and "4 look erased" in text
    assert flash.programs == flash.erases == 0
    for call in (ring.range, ring.waiting, ring.idle, lambda: ring.append(b""), lambda: ring.release(0)):
        _raises(RingError, call)
    ring.format(9)
    programs = flash.programs
    flash.cells[4096 + 1] = 2
    text = str(_raises(NoRing, ring.mount))
    assert "1 of another format" in text
    assert flash.programs == programs
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
        for length in (0, 1, 60, 61, 62, 63, 245, 246, 247, 1024):
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


def test_append_never_erases():
    for unit in UNITS:
        flash, ring = _ring(unit)
        ring = Ring(flash, 2, 4)
        ring.mount()
        busy = 0
        for seq in range(1, 400):
            programs, erases = flash.programs, flash.erases
            try:
                ring.append(_payload(seq))
            except RingBusy:
                assert (flash.programs, flash.erases) == (programs, erases), "a refused append wrote"
                busy += 1
                assert ring.idle() and flash.erases <= erases + 1
                erased = flash.erases
                assert ring.idle() and flash.erases == erased, "once is enough"
                assert ring.append(_payload(seq)) == seq
                assert flash.erases == erased
            else:
                assert flash.erases == erases
            ring.release(seq)
            if seq % 50 == 0:
                _check_all(ring)
            if seq % 40 == 0:
                ring = Ring(flash, 2, 4)
                ring.mount(None, True)
        assert busy > 2


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
        if seq % 9 == 0:
            ring = _Idling(flash, 2, 4)
            ring.mount(ring.hint(), True)
    assert max(worn[2:6]) - min(worn[2:6]) <= 1 and min(worn[2:6]) > 5
    assert worn[0] == worn[1] == worn[6] == 0


def test_mount_is_cheap_wherever_the_head_is():
    count = 64
    flash, ring = _ring(256, count)
    worst = 0
    for i in range(count * 16 * 2):
        ring.release(ring.append(b"reading"), False)
        if i % 11 == 0:
            ring.idle()
            flash.reads = 0
            other = _Idling(flash, 2, count)
            other.mount(None, True)
            worst = max(worst, flash.reads)
            assert other.range()[2] == ring.range()[2]
            flash.reads = 0
            other.mount(ring.hint(), True)
            assert flash.reads <= 4
            ring = other
    assert worst <= 10, worst


def test_wrong_hints_do_no_harm():
    flash, ring = _ring()
    old = ring.hint()
    for seq in range(1, 600):
        ring.append(_payload(seq))
        ring.release(seq)
    for hint in (old, b"\xff\xff\xff", b"\x00\x00\x00", b"\x01\x00\x00", b"\x02\xff\xff", b"\x03\x20\x00"):
        for clean in (True, False):
            other = Ring(flash, 2, 4)
            other.mount(hint, clean)
            assert other.range() == ring.range()


def test_an_old_hint_beside_a_damaged_header_hides_nothing():
    flash, ring = _ring(1, 8)
    while ring._head.lap < 1:
        ring.append(_payload(ring.range()[2]))
    hint = ring.hint()
    while ring._head.lap < 4:
        ring.append(_payload(ring.range()[2]))
    for bit in range(3):
        flash.cells[(2 + 2) * 4096 + 5 + bit] ^= 1
    for given in (None, hint):
        other = Ring(flash, 2, 8)
        other.mount(given, True)
        assert other.range()[2] == ring.range()[2]


def test_a_stream_is_used_once():
    flash, ring = _ring()
    for seq in range(1, 200):
        ring.append(_payload(seq))
    ring.format(6)
    erases = flash.erases
    assert "has stood in sector" in str(_raises(ValueError, ring.format, 0xFEDCBA98))
    assert flash.erases == erases


def test_what_did_not_hold_is_no_record_after_a_sleep():
    """A stuck bit, and no room for another try in this sector: the caller was told that nothing was written."""
    flash, ring = _ring(1, 4)
    while ring.room() > 200:
        ring.append(_payload(1))
    following = ring.range()[2]
    ring = Ring(flash, 2, 4)
    ring.mount(None, True)
    stuck = 2 * 4096 + ring._head.position + 5
    program = flash.program

    def sticks(addr, mv):
        program(addr, mv)
        if addr <= stuck < addr + len(mv):
            flash.cells[stuck] |= 1

    flash.program = sticks
    _raises(RingBusy, ring.append, bytes(60))
    other = Ring(flash, 2, 4)
    other.mount(None, True)
    assert other.range()[2] == following
    flash.program = program
    other.idle()
    assert other.append(b"on") == following


def test_a_run_needs_its_measure():
    flash = NorFlash(6)
    ring = Ring(flash, 2, 4, None, lambda view, at: 3)
    ring.format(5)
    ring.append_batch([b"AAA", b"BBB"])
    stranger = Ring(flash, 2, 4)
    stranger.mount()
    assert "measure" in str(_raises(ValueError, stranger.read, 2))


def test_damage_is_refused_and_nothing_else_suffers():
    flash, ring = _ring()
    for seq in range(1, 60):
        ring.append(_payload(seq))
    for seq in (11, 8):  # of 77 bytes, whose check tells which bit it is; of 56
        flash.cells[flash.cells.find(_payload(seq))] ^= 0x10
    ring = Ring(flash, 2, 4)
    ring.mount()
    assert "damaged" in str(_raises(KeyError, ring.read, 8)) and ring.damaged == 1
    for seq in range(1, 60):
        if seq != 8:
            assert ring.read(seq) == _payload(seq)
    assert ring.mended > 0
    assert ring.append(b"on") == 60


def test_one_wiped_or_spoilt_sector_brings_back_no_old_end():
    for lost in range(8):
        for byte in (0xFF, 0x5A):
            flash, ring = _ring(256, 8)
            while ring._head.lap < 13:
                ring.release(ring.append(b"x"))
            if lost == ring._head.lap % 8:
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
            _raises((OSError, RingBusy), Ring.append, ring, bytes(40))
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
            if ring.room() < 300:
                ring.idle()
            assert ring.append(_payload(seq)) == seq
            ring.release(seq)
            assert ring.read(seq) == _payload(seq)
    for ring in rings:
        _check_all(ring)


def test_geometry_is_checked():
    _raises(ValueError, Ring, NorFlash(4), 0, 2)


def test_batches():
    for unit in UNITS:
        for measure in (None, lambda view, at: view[at] + 1):
            flash, _ = _ring(unit)
            ring = _Idling(flash, 2, 4, None, measure)
            ring.mount()
            written = {}
            for turn in range(60):
                batch = [bytes([n]) + bytes([turn] * n) for n in range(turn % 16 + 1)]
                try:
                    first = ring.append_batch(batch)
                except RingBusy:
                    ring.idle()
                    first = ring.append_batch(batch)
                for i in range(len(batch)):
                    written[first + i] = batch[i]
                written[ring.append(b"\x00")] = b"\x00"
                ring.release(ring.range()[2] - 30 if turn > 20 else 0)
            oldest, _, end = ring.range()
            again = Ring(flash, 2, 4, None, measure)
            again.mount()
            assert again.range() == ring.range()
            for seq in list(range(oldest, end)) + list(range(end - 1, oldest - 1, -7)):
                assert again.read(seq) == written[seq]
            for wrong in ([], [b""] * 17, [bytes(400)] * 3):
                _raises(ValueError, ring.append_batch, wrong)
    _raises(ValueError, _ring()[1].append_batch, [bytes(256)])


def test_a_release_that_may_wait_is_durable_with_the_next_write():
    for then in ("append", "idle"):
        flash, ring = _ring()
        for seq in range(1, 6):
            ring.append(_payload(seq))
        programs = flash.programs
        ring.release(3, False)
        assert flash.programs == programs and ring.range()[1] == 3
        lost = Ring(flash, 2, 4)
        lost.mount(None, True)
        assert lost.range()[1] == 0
        if then == "append":
            ring.append(b"x")
            assert flash.programs == programs + 1, "one program for both"
        else:
            ring.idle()
        assert _again(flash, ring).range()[1] == 3


class _Weak:
    """Once, a byte stays at FFh."""

    def __init__(self, flash):
        self.flash = flash
        self.right = flash.program

    def program(self, addr, buf):
        """As the flash's."""
        at = len(buf) // 3
        self.right(addr, bytes(buf[:at]) + b"\xff" + bytes(buf[at + 1 :]))
        self.flash.program = self.right


def test_what_was_programmed_is_read_back():
    """A cell that stays at 1 costs no record: the ring goes on elsewhere."""
    for unit in UNITS:
        flash, ring = _ring(unit)
        weak = _Weak(flash)
        for seq in range(1, 120):
            if seq % 9 == 0:
                flash.program = weak.program
            assert ring.append(_payload(seq)) == seq
            ring.release(seq - 5 if seq > 5 else 0)
        _check_all(ring)
        ring = Ring(flash, 2, 4)
        ring.mount()
        _check_all(ring)


def test_after_a_cut_nothing_is_written_where_it_may_have_been():
    for unit in UNITS:
        flash, ring = _ring(unit)
        ring.append(b"before")
        end = 2 * 4096 + ring._head.position
        ring = Ring(flash, 2, 4)
        ring.mount()
        ring.append(b"after")
        boundary = end // 256 * 256 + 768
        zeros = bytes(8)
        assert flash.cells[boundary - 512 : boundary] == 2 * (zeros + b"\xff" * 248) and flash.cells[boundary] == 0xFB
        assert flash.cells[end : boundary - 512] == zeros + b"\xff" * (boundary - end - 520)
        ring = Ring(flash, 2, 4)
        ring.mount(None, True)
        ring.append(b"at once")
        assert [ring.read(seq) for seq in (1, 2, 3)] == [b"before", b"after", b"at once"]
        assert ring._head.position <= boundary - 2 * 4096 + (2 * 256 if unit == 256 else 256)


def test_what_a_cut_may_have_erased_is_erased_again():
    """It looks blank, and nobody knows whether the erase was completed."""
    flash, ring = _ring()
    ring.append(b"1")
    ring.idle()
    erases = flash.erases
    again = Ring(flash, 2, 4)
    again.mount(None, True)
    again.idle()
    assert flash.erases == erases
    again = Ring(flash, 2, 4)
    again.mount()
    again.mount(None, True)
    again.idle()
    assert flash.erases == erases + 1


def test_copies_may_use_the_room_that_is_kept():
    for unit in UNITS:
        flash, ring = _ring(unit)
        full = _fill(ring)
        oldest, _, end = ring.range()
        assert oldest == 1
        copies = 0
        while copies < 3:
            assert ring.append(_payload(end + copies), True) == end + copies
            copies += 1
        ring = _again(flash, ring)
        ring.drop(full.seq)
        assert ring.append(_payload(end + 3)) == end + 3
        _check_all(_again(flash, ring))


def test_there_is_always_room_for_the_drop_that_frees():
    for unit in UNITS:
        flash, ring = _ring(unit)
        full = _fill(ring)
        while True:
            try:
                ring.append(b"", True)
            except RingFull:
                break
        assert ring.range()[0] == 1
        erases = flash.erases
        ring.drop(full.seq)
        assert flash.erases == erases, "by an entry, not by the header of the sector that it frees"
        assert _again(flash, ring).range()[1] == full.seq
