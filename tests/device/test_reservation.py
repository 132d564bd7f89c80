# heap: 2048K
# vm31: no, its VM has no littlefs

"""Reservation files on littlefs itself: found, used raw, never moved, and refused when they are not ours."""

import os
import random

import reservation
from lfskit import BLOCK, Nor, RingPort, digest, formatted, mounted
from reservation import ReservationError

COUNT = 20
NONCE = b"12345678"


def refused(what):
    try:
        what()
    except ReservationError as error:
        return str(error)
    raise AssertionError("taken")


def test_blocks_are_found_and_the_map_is_kept():
    device = formatted()
    assert reservation.load("ring", COUNT) is None
    blocks = reservation.reserve(device, "ring", COUNT, NONCE)
    assert len(set(blocks)) == COUNT
    for index in range(COUNT):
        start = blocks[index] * BLOCK
        assert device.cells[start : start + 16] == b"FNV\x00" + bytes((index, 0, 0, 0)) + NONCE
        assert device.cells[start + 16 : start + BLOCK] == b"\xff" * (BLOCK - 16)
    mounted(device)
    assert reservation.load("ring", COUNT) == blocks
    reservation.check(device, "ring", blocks)


def test_used_raw_they_stay_where_they_are_whatever_the_filesystem_does():
    """Files are made, appended to, rewritten, deleted, the region filled, and littlefs mounted anew."""
    device = formatted()
    blocks = reservation.reserve(device, "ring", COUNT, NONCE)
    random.seed(7)
    raw = {}
    files = {}
    for turn in range(600):
        name = "f%d" % random.randrange(12)
        what = random.randrange(6)
        try:
            if what < 3:
                data = bytes([turn & 255]) * random.randrange(1, 9000)
                with open(name, "wb") as file:
                    file.write(data)
                files[name] = data
            elif what == 3 and name in files:
                with open(name, "ab") as file:
                    file.write(b"more" * 50)
                files[name] += b"more" * 50
            elif what == 4 and name in files:
                os.remove(name)
                del files[name]
        except OSError as error:
            if error.errno != 28:
                raise
            files.pop(name, None)  # full: what the file holds now is not the point
            os.remove(name)
        index = random.randrange(COUNT)
        if raw.get(index, 15) == 15:
            device.erase(blocks[index])
            raw[index] = -1
        raw[index] += 1
        device.writeblocks(blocks[index], bytes([index + 1]) * 256, raw[index] * 256)
        if turn % 40 == 0:
            mounted(device)
            assert reservation.load("ring", COUNT) == blocks
            reservation.check(device, "ring", blocks)
    assert len(raw) == COUNT
    for index, page in raw.items():
        start = blocks[index] * BLOCK
        assert device.cells[start : start + 256 * (page + 1)] == bytes([index + 1]) * (256 * (page + 1))
    for name, data in files.items():
        with open(name, "rb") as file:
            assert file.read() == data


def test_a_cut_at_every_operation_of_the_reservation_leaves_none_or_all():
    device = formatted()
    before = device.operations
    clean = bytes(device.cells)
    reservation.reserve(device, "ring", 4, NONCE)
    last = device.operations - before
    finished = 0
    for cut in range(1, last + 1):
        device = Nor()
        device.cells[:] = clean
        mounted(device)
        device.left = cut
        try:
            reservation.reserve(device, "ring", 4, NONCE)
        except OSError:
            pass
        device = device.after_cut()
        blocks = reservation.load("ring", 4)
        if blocks is None:
            blocks = reservation.reserve(device, "ring", 4, b"another.")
        else:
            finished += 1
        reservation.check(device, "ring", blocks)
        assert len(set(blocks)) == 4
    assert last > 30 and finished <= 2


def test_cuts_while_the_filesystem_works_move_nothing():
    device = formatted()
    blocks = reservation.reserve(device, "ring", COUNT, NONCE)
    random.seed(3)
    for index in range(COUNT):
        device.erase(blocks[index])
        device.writeblocks(blocks[index], bytes([index + 1]) * 256, 0)
    for turn in range(120):
        device.left = random.randrange(1, 40)
        try:
            for _ in range(4):
                with open("f%d" % random.randrange(6), "wb") as file:
                    file.write(bytes([turn]) * random.randrange(1, 6000))
        except OSError:
            pass
        device = device.after_cut()
        assert reservation.load("ring", COUNT) == blocks
        reservation.check(device, "ring", blocks)
        for index in range(COUNT):
            start = blocks[index] * BLOCK
            assert device.cells[start : start + 256] == bytes([index + 1]) * 256


def test_rings_live_in_reserved_blocks_while_the_filesystem_is_filled_and_cut():
    """littlefs and two rings on one chip, both used at random, the supply cut at random in either: no reserved block
    moves, no record that was durable is lost, no file that was closed and left alone is hurt.
    """
    from flashring import Ring, RingBusy, Window

    device = formatted()
    blocks = reservation.reserve(device, "ring", COUNT, NONCE)
    random.seed(11)
    rings = []
    files = {}
    durable = [{}, {}]
    cuts = full = reads = 0

    def boot(device):
        again = reservation.load("ring", COUNT)
        assert again == blocks, "a reserved block has moved"
        reservation.check(device, "ring", again)
        window = Window(RingPort(device, blocks), 128)
        rings[:] = [Ring(window.flash, 0, 8, window), Ring(window.flash, 8, 12, window)]

    boot(device)
    for i in range(2):
        rings[i].format(i + 1)
    for turn in range(500):
        if random.randrange(3) == 0:
            device.left = random.randrange(1, 40)
        touched = None
        try:
            for _ in range(random.randrange(1, 6)):
                which = random.randrange(2)
                payload = bytes([turn & 255]) * random.randrange(1, 100)
                try:
                    seq = rings[which].append(payload)
                except RingBusy:
                    rings[which].idle()
                    seq = rings[which].append(payload)
                durable[which][seq] = payload
                durable[which].pop(seq - 60, None)
                rings[which].release(max(0, seq - 40))
            touched = "f%d" % random.randrange(40)
            what = random.randrange(5)
            if what == 0 and touched in files:
                os.remove(touched)
                del files[touched]
            elif what == 1:
                with open(touched, "ab") as file:
                    file.write(b"more" * random.randrange(400))
                files[touched] = digest(touched)
            else:
                with open(touched, "wb") as file:
                    for _ in range(random.randrange(1, 24)):
                        file.write(bytes([turn & 255]) * random.randrange(1, 1000))
                files[touched] = digest(touched)
        except OSError as error:
            if error.errno == 28:
                full += 1
            files.pop(touched, None)  # what it holds now is not the point
        if device.left == 0:
            cuts += 1
            device = device.after_cut()
            boot(device)
            for ring in rings:
                ring.mount()
        device.left = -1
        if full and random.randrange(12) == 0:
            for name in list(files)[: len(files) // 2]:
                os.remove(name)
                del files[name]
        if turn % 25 == 0:
            mounted(device)
            boot(device)
            for ring in rings:
                ring.mount(None, True)
        if turn % 10 == 0:
            for which in range(2):
                oldest, released, following = rings[which].range()
                for seq in range(max(oldest, released + 1), following):
                    if seq in durable[which]:
                        assert rings[which].read(seq) == durable[which][seq]
                        reads += 1
                newest = max(durable[which]) if durable[which] else 0
                assert newest < following, "a durable record is gone"
            for name in files:
                assert digest(name) == files[name], name
    assert cuts > 40 and full > 10 and reads > 500, (cuts, full, reads)


def test_a_file_deleted_shortened_or_rewritten_is_refused():
    for harm in (
        lambda: os.remove("ring/003"),
        lambda: open("ring/003", "wb").close(),
        lambda: rewrite("ring/003"),
    ):
        device = formatted()
        blocks = reservation.reserve(device, "ring", COUNT, NONCE)
        harm()
        mounted(device)
        said = refused_check(device, blocks)
        assert said.startswith("ring/003: ") and "block %d" % blocks[3] in said


def refused_check(device, blocks):
    return refused(lambda: reservation.check(device, "ring", blocks))


def rewrite(path):
    """What a copy over the cable does: the same name and length, in another block."""
    with open(path, "wb") as file:
        file.write(b"y" * BLOCK)


def test_a_damaged_map_is_refused_and_not_replaced():
    device = formatted()
    reservation.reserve(device, "ring", COUNT, NONCE)
    with open("ring/map", "rb") as file:
        good = file.read()
    for at in range(len(good)):
        data = bytearray(good)
        data[at] ^= 4
        with open("ring/map", "wb") as file:
            file.write(data)
        refused(lambda: reservation.load("ring", COUNT))
    with open("ring/map", "wb") as file:
        file.write(good)
    assert "of 20 blocks, not 21" in refused(lambda: reservation.load("ring", COUNT + 1))


def test_a_region_too_small_is_refused():
    """At every size: what was made is freed."""
    for blocks in range(8, COUNT + 20):
        device = formatted(blocks)
        free = os.statvfs("")[3]
        try:
            reservation.reserve(device, "ring", COUNT, NONCE)
            break
        except ReservationError as error:
            assert "of 20 blocks" in str(error)
        assert reservation.load("ring", COUNT) is None
        assert "ring" not in os.listdir("") and os.statvfs("")[3] == free
        with open("settings", "wb") as file:
            file.write(b"x" * 600)
        mounted(device)
        with open("settings", "rb") as file:
            assert file.read() == b"x" * 600
    assert COUNT < blocks <= COUNT + 8, "what would fit is refused"


def test_what_a_cut_try_has_left_is_freed_by_a_refusal():
    device = formatted(16)
    free = os.statvfs("")[3]
    os.mkdir("ring")
    for index in range(9):
        with open("ring/%03d" % index, "wb") as file:
            file.write(b"FNV" + bytes(4093))
    assert "of 20 blocks" in refused(lambda: reservation.reserve(device, "ring", COUNT, NONCE))
    assert "ring" not in os.listdir("") and os.statvfs("")[3] == free


def test_a_stale_signature_of_an_earlier_try_is_not_taken():
    """Deleted files leave their bytes in the blocks until littlefs erases them."""
    device = formatted()
    reservation.reserve(device, "ring", COUNT, NONCE)
    for entry in list(os.ilistdir("ring")):
        os.remove("ring/" + entry[0])
    blocks = reservation.reserve(device, "ring", COUNT, b"another.")
    reservation.check(device, "ring", blocks)
    assert len(set(blocks)) == COUNT


def test_a_signature_found_twice_is_refused():
    device = formatted()
    open("decoy", "wb").close()
    with open("decoy", "wb") as file:
        file.write(b"FNV\x00" + bytes((3, 0, 0, 0)) + NONCE + b"\xff" * (BLOCK - 16))
    assert "ring/003: its signature stands in block" in refused(
        lambda: reservation.reserve(device, "ring", COUNT, NONCE)
    )
