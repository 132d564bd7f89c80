"""What tests of the node share: a flash that loses its supply, a filesystem in RAM, a board of fakes."""

import os
import sys

import vfs
from norflash import NorFlash


class Cut(BaseException):
    """The supply is gone."""


class CutFlash(NorFlash):
    """`left`: operations until the supply is gone, None for never. `part`: eighths of the last one that are done."""

    left = None
    part = 0

    def counted(self, size):
        """How many bytes of the next operation are done; Cut if the supply is gone."""
        if self.left is None:
            return size
        if self.left == 0:
            raise Cut
        self.left -= 1
        return size if self.left else size * self.part // 8

    def program(self, addr, mv):
        """As NorFlash."""
        done = self.counted(len(mv))
        super().program(addr, mv[:done])
        if self.left == 0:
            raise Cut

    def erase(self, sector):
        """As NorFlash; a cut erase leaves the rest of the sector as it was."""
        done = self.counted(self.sector_size)
        start = sector * self.sector_size
        rest = bytes(self.cells[start + done : start + self.sector_size])
        super().erase(sector)
        self.cells[start + done : start + self.sector_size] = rest
        if self.left == 0:
            raise Cut


class RamDisk:
    """A block device of 32 blocks for littlefs; `supply`: the CutFlash beside it, whose cut is its own, or None."""

    supply = None
    gone = False  # files that were open at a cut are closed when they are collected: that must reach nothing

    def __init__(self, data=None):
        self._data = bytearray(data or 32 * 512)

    def content(self):
        """A copy of all that stands on it."""
        return bytes(self._data)

    def after_cut(self, content=None):
        """What stands on it, or `content`, as another device."""
        self.gone = True
        return RamDisk(content or self._data)

    def readblocks(self, block, buf, off=0):
        """Fill `buf`."""
        if self.gone:
            return
        at = block * 512 + off
        buf[:] = self._data[at : at + len(buf)]

    def writeblocks(self, block, buf, off=0):
        """Write `buf`."""
        if self.gone:
            return
        at = block * 512 + off
        done = self.supply.counted(len(buf)) if self.supply else len(buf)
        self._data[at : at + done] = buf[:done]
        if self.supply and self.supply.left == 0:
            raise Cut

    def ioctl(self, op, arg):
        """Blocks, their size; erase is left out, for littlefs writes whole blocks over it."""
        return 32 if op == 4 else 512 if op == 5 else 0


def fresh_disk():
    """An empty littlefs as the current directory."""
    os.chdir("/")
    try:
        vfs.umount("/ram")
    except OSError:
        pass
    disk = RamDisk()
    vfs.VfsLfs2.mkfs(disk)
    vfs.mount(vfs.VfsLfs2(disk), "/ram")
    os.chdir("/ram")
    return disk


def remount(disk, content=None):
    """As after a cut: what littlefs had in RAM is gone. Returns the disk that stands for `disk` from here on; it holds
    `content` if that is given.
    """
    os.chdir("/")
    vfs.umount("/ram")
    disk = disk.after_cut(content)
    vfs.mount(vfs.VfsLfs2(disk), "/ram")
    os.chdir("/ram")
    return disk


class Slept(BaseException):
    """Deep sleep, or a reset: the node is gone."""


class Clock:
    """`now`: seconds since 2020, or of an unset clock; `known`: whether it was set."""

    def __init__(self, now=-600000000):
        self.now = now
        self.known = False

    def seconds(self):
        """What the clock shows."""
        return self.now

    def wall(self):
        """(seconds, 2) or None."""
        return (self.now, 2) if self.known else None

    def resume(self, seconds, quality):
        """It ran on through deep sleep."""

    def set(self, seconds, ms, quality):
        """Set it."""
        self.now = seconds
        self.known = quality > 0


class Power:
    """`cause`: of the boot; `slept`: the last sleep in ms, None after a reset."""

    def __init__(self):
        self.memory = b"noise"
        self.cause = 1
        self.slept = None
        self.resets = 0
        self.fed = 0
        self.host = False

    def reset_cause(self):
        """As the wire counts them."""
        return self.cause

    def retained(self):
        """The memory."""
        return self.memory

    def retain(self, data):
        """Keep a copy."""
        self.memory = bytes(data)

    def feed(self):
        """Feed the watchdog."""
        self.fed += 1

    def sleep(self, ms):
        """Does not return."""
        self.slept = ms
        self.cause = 3
        raise Slept

    def reset(self):
        """Does not return."""
        self.slept = None
        self.resets += 1
        self.cause = 4
        raise Slept

    def battery_mv(self):
        """Not measured."""
        return 0

    def usb(self):
        """As the test says."""
        return self.host


class Adc:
    """`mv`: what the pin carries; an exception is raised. `reads` counts."""

    def __init__(self, mv):
        self.mv = mv
        self.reads = 0

    def read_uv(self):
        """Microvolts."""
        self.reads += 1
        if isinstance(self.mv, Exception):
            raise self.mv
        return self.mv * 1000


class Light:
    """Counts `blinks`."""

    def __init__(self):
        self.blinks = 0
        self.lit = False

    def on(self):
        """Light."""
        self.blinks += 1
        self.lit = True

    def off(self):
        """Dark."""
        self.lit = False


class Radio:
    """Counts `ups` and `downs`."""

    def __init__(self):
        self.ups = self.downs = 0

    async def up(self, networks, timeout_ms):
        """At once."""
        self.ups += 1

    def down(self):
        """Off."""
        self.downs += 1


class Board:
    """A board whose ADC pins are `adcs` (pin to Adc); it outlives the node's boots."""

    rings = {"journal": (0, 3), "alerts": (3, 3), "frames": (6, 4)}

    def __init__(self, adcs):
        self.clock = Clock()
        self.power = Power()
        self.flash = CutFlash(10)
        self.adcs = adcs
        self.low = ()
        self.attended = []
        self.the_radio = Radio()
        self.light = Light()

    def led(self):
        """The light."""
        return self.light

    def adc(self, pin):
        """The fake of `pin`."""
        return self.adcs[pin]

    def attend(self, on):
        """Remember."""
        self.attended.append(on)

    def held(self, pin):
        """As the test says."""
        return pin in self.low

    def radio(self):
        """One for all boots."""
        return self.the_radio

    def chip_id(self):
        """Six bytes."""
        return b"\x01\x02\x03\x04\x05\x06"


def settings(sensors, limits=(), report=3600):
    """Settings of a node with ADC sensors, pairs (pin, interval); channel ids from 1."""
    channels = [[i + 1, "s%d.voltage" % i, "V", -3] for i in range(len(sensors))]
    return {
        "v": 1, "version": 1, "node": "n", "tenant": "t", "wifi": [["x", ""]], "cloud": ["127.0.0.1", 1],
        "report": report, "size": 48, "age": None, "awake_cap": 5, "alarm_contacts": 48,
        "channels": channels, "limits": list(limits),
        "sensors": [
            {"name": "s%d" % i, "driver": "analog", "pin": pin, "interval": interval, "channels": [i + 1]}
            for i, (pin, interval) in enumerate(sensors)
        ],
    }  # fmt: skip


class FakeUplink:
    """Stands in for node.uplink.Uplink: `script(node)` is one contact, True if all is committed."""

    script = None
    contacts = 0
    usb = False
    control = None

    def __init__(self, node):
        self._node = node

    async def run(self, fresh_from):
        """One contact."""
        FakeUplink.contacts += 1
        return FakeUplink.script(self._node)


class _Module:
    Uplink = FakeUplink


def without_network(script):
    """From here on a contact is a call of `script(node)`."""
    FakeUplink.script = script
    FakeUplink.contacts = 0
    FakeUplink.control = None
    sys.modules["node.uplink"] = _Module
