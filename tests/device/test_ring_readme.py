# heap: 2048K
# vm31: no, it reads a file
"""What lib/flashring/README.md tells a stranger to write is run as it stands there."""

import sys

import flashring

BLOCK = 4096


class Partition:
    """A data partition that programs bits to 0 only, as esp32.Partition's with an offset."""

    TYPE_DATA = 1
    made = None

    def __init__(self):
        self.cells = bytearray(b"\xff" * (64 * BLOCK))
        self.operations = 0

    @staticmethod
    def find(kind, label):
        assert (kind, label) == (Partition.TYPE_DATA, "ring")
        return [Partition.made]

    def readblocks(self, block, buf, offset):
        start = block * BLOCK + offset
        buf[:] = self.cells[start : start + len(buf)]

    def writeblocks(self, block, buf, offset):
        assert offset + len(buf) <= BLOCK
        self.operations += 1
        for index in range(len(buf)):
            self.cells[block * BLOCK + offset + index] &= buf[index]

    def ioctl(self, op, arg):
        if op == 5:
            return BLOCK
        assert op == 6
        self.operations += 1
        self.cells[arg * BLOCK : (arg + 1) * BLOCK] = b"\xff" * BLOCK


class esp32:
    """What the README imports."""

    Partition = Partition


def _examples():
    with open("lib/flashring/README.md") as file:
        return [part.split("```")[0] for part in file.read().split("```python\n")[1:]]


def test_the_ten_lines_and_what_takes_the_records():
    sys.modules["esp32"] = esp32
    use, take = _examples()
    assert len([line for line in use.split("\n") if line]) <= 10
    Partition.made = Partition()
    boots = 5
    for boot in range(1, boots + 1):
        if boot == boots:
            cells = Partition.made.cells
            cells[cells.find(b"a record", cells.find(b"a record") + 1)] ^= 1
        place = {}
        exec(use, place)
        assert place["seq"] == boot and place["ring"].read(boot) == b"a record"
    sent, damaged = [], []
    place["send"], place["report"] = sent.append, damaged.append
    exec(take, place)
    assert sent == [b"a record"] * (boots - 1) and "record 2: damaged" in str(damaged)
    exec(take, place)
    assert len(sent) == boots - 1 and len(damaged) == 1, "what is released is not sent again"
    assert place["ring"].waiting() == 0
    ring = flashring.Ring(place["BlockDevice"](Partition.made), 0, 64)
    ring.mount(None, True)
    assert ring.range() == (1, boots, boots + 1)


def test_the_other_chip_programs_whole_pages():
    from flashring.blockdev import BlockDevice

    device = Partition()
    flash = BlockDevice(device, 256)
    ring = flashring.Ring(flash, 0, 8)
    ring.format(1)
    assert ring.append(b"x") == 1 and flash.page_size == flash.granularity == 256
    assert bytes(device.cells[256:300]) != b"\xff" * 44 and device.operations == 3
