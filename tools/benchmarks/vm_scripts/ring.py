"""Runs in the MicroPython VM, started by tools/benchmarks/ring.py:

    ring UNIT BATCH any|told      the ring; records of any kind, or such as tell their own length
    apart UNIT BATCH any|told     the same with each move of the release cursor in a program of its own
    checks                        what tells a record of 28 bytes from a torn one, us for each way
    mount                         the ring's mount of 1 MB, wherever its head is
    append|files PROGSIZE BATCH   littlefs: one file per quarter of the space and the oldest deleted; one file per batch
"""

import gc
import json
import os
import random
import sys
import time

import vfs  # pyright: ignore[reportMissingImports] -- the VM's

SECTOR = 4096
SECTORS = 64
RECORDS = 20000
ACK = 64
QUARTER = 40 * 1024  # bytes of a file that is appended to


class Cells:
    """NOR flash: 1 to 0 only, whole units. A port for the ring and a block device for littlefs; counts everything."""

    sector_size = SECTOR

    def __init__(self, sectors, unit):
        self.page_size = unit if unit == 256 else 1
        self.granularity = unit
        self.cells = bytearray(b"\xff" * (sectors * SECTOR))
        self.sectors = sectors
        self.worn = [0] * sectors
        self.reads = self.programmed = 0

    def read_into(self, addr, buf):
        """Fill `buf`."""
        self.reads += 1
        buf[:] = memoryview(self.cells)[addr : addr + len(buf)]

    def program(self, addr, buf):
        """Clear bits; whole units."""
        size = len(buf)
        if addr % self.granularity or size % self.granularity:
            raise ValueError(f"program of {size} bytes at {addr}")
        self.programmed += size
        old = int.from_bytes(memoryview(self.cells)[addr : addr + size], "little")
        new = int.from_bytes(buf, "little")
        if new & ~old:
            raise ValueError(f"program sets bits at {addr}")
        self.cells[addr : addr + size] = buf

    def erase(self, sector):
        """Set every bit."""
        self.worn[sector] += 1
        self.cells[sector * SECTOR : (sector + 1) * SECTOR] = b"\xff" * SECTOR

    def readblocks(self, block, buf, offset=0):
        """For littlefs."""
        self.read_into(block * SECTOR + offset, buf)

    def writeblocks(self, block, buf, offset=0):
        """For littlefs."""
        self.program(block * SECTOR + offset, buf)

    def ioctl(self, op, arg):
        """For littlefs."""
        if op == 6:
            self.erase(arg)
            return 0
        return {4: self.sectors, 5: SECTOR}.get(op, 0)


def records():
    """RECORDS of 16 to 40 bytes. The first tells the length, as the mask in a row does; the others are random."""
    random.seed(1)
    for _ in range(RECORDS):
        length = random.randrange(16, 41)
        yield bytes([length] + [random.getrandbits(8) for _ in range(length - 1)])


def told_length(view, at):
    """The length of the record at `at`."""
    return view[at]


def say(cells, payload, **more):
    """Print what was counted."""
    more["wa"] = cells.programmed / payload
    more["spread"] = max(cells.worn) - min(cells.worn)
    more["erases_mb"] = sum(cells.worn) / payload * 1e6
    more["payload"] = payload
    print(json.dumps(more))


def of_ring(unit, batch, kind, apart):
    """The ring: `batch` records to a commit."""
    import flashring

    cells = Cells(SECTORS, unit)
    measure = told_length if kind == "told" else None
    ring = flashring.Ring(cells, 0, SECTORS, None, measure)
    ring.format(1)
    cells.programmed = 0
    cells.worn = [0] * SECTORS
    payload = in_append = 0
    waiting = []
    written = {}

    def commit():
        nonlocal in_append
        if ring.room() < 1100:
            ring.idle()
        before = sum(cells.worn)
        first = ring.append(waiting[0]) if batch == 1 else ring.append_batch(waiting)
        in_append += sum(cells.worn) - before
        for i in range(len(waiting)):
            written[first + i] = waiting[i]
        waiting.clear()
        return first

    acked = 0
    for record in records():
        payload += len(record)
        waiting.append(record)
        if len(waiting) < batch:
            continue
        commit()
        following = ring.range()[2]
        if following - 1 - acked >= ACK:
            acked = following - 1
            ring.release(acked, apart or unit < 256)  # on pages it goes with the next commit
    ring = flashring.Ring(cells, 0, SECTORS, None, measure)
    ring.mount()
    oldest, _, following = ring.range()
    if following != RECORDS + 1:
        raise ValueError(f"{following - 1} records")
    for seq in range(oldest, following):
        if ring.read(seq) != written[seq]:
            raise ValueError(f"record {seq}")
    say(cells, payload, live=following - oldest, in_append=in_append)


def of_mount():
    """With 256 sectors of 4096 bytes; the head in each of them."""
    import flashring

    count = 256
    cells = Cells(count, 1)
    ring = flashring.Ring(cells, 0, count)
    ring.format(1)
    worst = cold = 0
    filler = bytes(1000)
    for _ in range(2 * count):
        lap = ring._head.lap
        while ring._head.lap == lap:
            if ring.room() < 1100:
                ring.idle()
            ring.release(ring.append(filler))
        other = flashring.Ring(cells, 0, count)
        before = cells.reads
        other.mount(None, True)
        worst = max(worst, cells.reads - before)
        if other.range() != ring.range():
            raise ValueError(f"mounted {other.range()}, not {ring.range()}")
        for _ in range(2):  # behind the head an old sector, then an erased one
            starts = [ring._headers.sector(ring._head.lap + more) * SECTOR for more in range(2)]
            there = [bytes(memoryview(cells.cells)[start : start + SECTOR]) for start in starts]
            other = flashring.Ring(cells, 0, count)
            before = cells.reads
            other.mount()
            cold = max(cold, cells.reads - before)
            for start, sector in zip(starts, there):  # the mount has left its marks there
                cells.cells[start : start + SECTOR] = sector
            ring.idle()
    print(json.dumps({"reads": worst, "cold": cold, "held": held(cells, count)}))


def held(cells, count):
    """Bytes of heap that a mounted ring holds, without its window."""
    import flashring

    window = flashring.Window(cells)
    for _ in range(2):  # the first frees what was held before
        gc.collect()
        before = gc.mem_alloc()
        ring = flashring.Ring(cells, 0, count, window)
        ring.mount(None, True)
        window.free()
        gc.collect()
        grown = gc.mem_alloc() - before
        ring = None
    return grown


def of_checks():
    """`short`: the ring's; the others are what was weighed against it. The best of five."""
    from crc import crc16, crc24
    from flashring import checks

    ones = bytes([bin(value).count("1") for value in range(256)])

    def zeros_and_crc(payload):
        zeros = 0
        for byte in payload:
            zeros += 8 - ones[byte]
        return zeros << 9 | crc24(payload) & 0x1FF

    payload = bytes(range(28))
    ways = {
        "short": lambda: checks.short(payload, 0, 1),
        "crc16": lambda: crc16(payload),
        "crc18": lambda: crc24(payload) & 0x3FFFF,
        "zeros9_crc9": lambda: zeros_and_crc(payload),
        "sum": lambda: sum(payload),
    }
    took = {}
    for name, way in ways.items():
        best = 1e9
        for _ in range(5):
            begun = time.ticks_us()
            for _ in range(2000):
                way()
            best = min(best, time.ticks_diff(time.ticks_us(), begun) / 2000)
        took[name] = best
    print(json.dumps(took))


def of_littlefs(kind, progsize, batch):
    """littlefs: `batch` records to a write."""
    cells = Cells(SECTORS, progsize)
    vfs.VfsLfs2.mkfs(cells, progsize=progsize, lookahead=32)
    vfs.mount(vfs.VfsLfs2(cells, progsize=progsize, lookahead=32), "/lfs")
    os.chdir("/lfs")
    cells.programmed = 0
    cells.worn = [0] * SECTORS
    payload = 0
    files = []  # (name, records) from the oldest
    waiting = []
    number = size = acked = done = 0
    for record in records():
        payload += len(record)
        waiting.append(record)
        if len(waiting) < batch:
            continue
        data = b"".join(waiting)
        done += len(waiting)
        if kind == "files" or size + len(data) > QUARTER or not files:
            number += 1
            size = 0
            files.append(f"{number}")
        size += len(data)
        with open(files[-1], "wb" if kind == "files" else "ab") as file:
            file.write(data)
        waiting = []
        while len(files) > (40 if kind == "files" else 4):  # a file takes a block of its own at least
            os.remove(files.pop(0))
        if done - acked >= ACK:
            acked = done
            with open("ack", "wb") as file:
                file.write(acked.to_bytes(4, "little"))
    os.chdir("/")
    vfs.umount("/lfs")
    before = cells.reads
    vfs.mount(vfs.VfsLfs2(cells, progsize=progsize, lookahead=32), "/lfs")
    with open("/lfs/" + files[-1], "ab") as file:  # find the end, as a node must that goes on
        file.write(b"")
    say(cells, payload, mount_reads=cells.reads - before)


if sys.argv[1] in ("ring", "apart"):
    of_ring(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[1] == "apart")
elif sys.argv[1] == "checks":
    of_checks()
elif sys.argv[1] == "mount":
    of_mount()
else:
    of_littlefs(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
