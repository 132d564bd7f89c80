"""The prompt of a board on a pseudo-terminal, for real mpremote: the unix VM with a littlefs of its own in a file.

Only what a deploy meets: raw REPL and raw paste, restarts that keep the filesystem, a watchdog, a cable that comes out.
What runs on it has no ports; the simulated board with all of a chip is host_sim/bench.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
import tty
from pathlib import Path

BLOCK = 4096
_READY = b"\x1e"  # printed by the prelude when the board is there
_SIGINT_BIT = 1 << signal.SIGINT - 1

# Runs in the VM ahead of the prompt. {} are filled in.
_PRELUDE = """
import sys, os, vfs, machine, esp32, rp2, time
class Device:
    def __init__(self, path, count):
        self.file, self.count = open(path, 'r+b'), count
    def readblocks(self, n, buf, off=0):
        self.file.seek(n * 4096 + off)
        self.file.readinto(buf)
    def writeblocks(self, n, buf, off=None):
        self.file.seek(n * 4096 + (off or 0))
        self.file.write(buf)
        self.file.flush()
    def ioctl(self, op, arg):
        return {4: self.count, 5: 4096, 6: 0}.get(op)
device = Device(IMAGE, COUNT)
try:
    fs = vfs.VfsLfs2(device)
except OSError:
    vfs.VfsLfs2.mkfs(device)
    fs = vfs.VfsLfs2(device)
os.umount('/')
vfs.mount(fs, '/')
os.chdir('/')
sys.path[:] = ['', '.frozen', '/lib']
del Device, device, fs
print('\\x1e', end='')
if RUN:
    for _name in ('boot.py', 'main.py'):
        try:
            with open(_name) as _file:
                _code = _file.read()
        except OSError:
            continue
        try:
            exec(compile(_code, _name, 'exec'), {'__name__': '__main__'})
        except BaseException as _error:
            sys.print_exception(_error)
"""
_OS = """
from uos import *
class _Name:
    machine, release, version = MACHINE, '1.28.0', 'v1.28.0 on 2026-04-06'
def uname():
    return _Name
"""
_MACHINE = """
import uos
PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = range(1, 6)
class _Any:
    def __init__(self, *args, **named):
        pass
ADC = I2C = Pin = RTC = _Any
class WDT:
    def __init__(self, timeout):
        self.feed()
    def feed(self):
        uos.system('touch ' + FED)
def reset_cause():
    return PWRON_RESET
def unique_id():
    return b'123456'
def reset():
    uos.system('kill -9 $PPID')
def bootloader():
    uos.system('touch ' + ROM)
    reset()
"""
_ESP32 = """
class Partition:
    TYPE_DATA = 1
    @staticmethod
    def find(kind, label=None):
        return [1] if RING else []
"""
_RP2 = """
class Flash:
    file = open(IMAGE, 'r+b')
    def readblocks(self, n, buf):
        self.file.seek(n * 4096)
        self.file.readinto(buf)
    def ioctl(self, op, arg):
        self.file.seek(arg * 4096)
        self.file.write(b'\\xff' * 4096)
        self.file.flush()
"""


class ReplBoard:
    """A board in the folder `folder`; its port is `port`, a link that is there while the cable is in.

    `machine`: what `os.uname()` says. `ring`: whether the partition is there. `watchdog_s`: how long an armed watchdog
    waits, None for one that never bites. `volume` appears when it is sent into its boot ROM, and the port goes.
    `cut_at`: the byte from the host at which the cable comes out, and the power with it.
    """

    def __init__(
        self, folder: Path, machine: str = "Generic ESP32 module with ESP32", blocks: int = 256, ring: bool = True,
        run: bool = True, watchdog_s: float | None = None,
    ) -> None:  # fmt: skip
        self.port = str(folder / "port")
        self.cut_at: int | None = None
        self.received = self.boots = self.bites = 0
        self._folder = folder
        self._watchdog_s = watchdog_s
        self.volume, self._rom = folder / "volume", folder / "rom"
        self.image, self._fed, modules = folder / "littlefs.bin", folder / "fed", folder / "modules"
        self.image.write_bytes(b"\xff" * BLOCK * blocks)
        modules.mkdir()
        values = {"IMAGE": str(self.image), "COUNT": blocks, "RUN": run, "MACHINE": machine, "RING": ring,
                  "FED": str(self._fed), "ROM": str(self._rom)}  # fmt: skip
        texts = {"prelude": _PRELUDE, "os": _OS, "machine": _MACHINE, "esp32": _ESP32, "rp2": _RP2}
        for name, text in texts.items():
            head = "".join(f"{key} = {value!r}\n" for key, value in values.items())
            (modules / f"{name}.py").write_text(head + text)
        self._modules = modules
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # The cable

    def plug(self) -> None:
        """Power and the port."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self._slave = slave
        Path(self.port).unlink(missing_ok=True)
        Path(self.port).symlink_to(os.ttyname(slave))
        self._thread.start()

    def unplug(self) -> None:
        """Takes both away."""
        self._stopping.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(5)

    def __enter__(self) -> ReplBoard:
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    # The VM

    def _serve(self) -> None:
        try:
            while not self._stopping.is_set():
                self._boot()
        finally:
            Path(self.port).unlink(missing_ok=True)
            for fd in (self._master, self._slave):
                os.close(fd)

    def _boot(self) -> None:
        """One life of the VM, until it ends, is bitten, or the cable comes out."""
        self.boots += 1
        self._fed.unlink(missing_ok=True)
        inner, console = os.openpty()
        tty.setraw(console)
        process = subprocess.Popen(
            [sys.executable, "-m", "micropython_unix", "-i", str(self._modules / "prelude.py")],
            stdin=console, stdout=console, stderr=console, env=os.environ | {"MICROPYPATH": f"{self._modules}:.frozen"},
        )  # fmt: skip
        os.close(console)
        self._booted = False
        try:
            while process.poll() is None and not self._stopping.is_set():
                self._pass(inner, process.pid)
                if self._has_bitten():
                    self.bites += 1
                    return
        finally:
            process.kill()
            process.wait()
            self._last_words(inner)
            if self._rom.exists():
                self._rom.unlink()
                self._stopping.set()
                offer(self.volume)
            os.close(inner)

    def _has_bitten(self) -> bool:
        if self._watchdog_s is None or not self._fed.exists():
            return False
        return time.time() - self._fed.stat().st_mtime > self._watchdog_s

    def _pass(self, inner: int, pid: int) -> None:
        """Bytes both ways; Ctrl-C is a signal while code runs, a byte at the prompt."""
        ready = select.select([self._master, inner], [], [], 0.05)[0]
        if self._master in ready:
            data = os.read(self._master, 4096)
            if self.cut_at is not None and self.received + len(data) > self.cut_at:
                data = data[: self.cut_at - self.received]
                self._stopping.set()
            self.received += len(data)
            if not self._booted:
                return  # nobody listens yet
            for piece in data.replace(b"\x03", b"\0\x03\0").split(b"\0"):
                if piece == b"\x03" and _catches_sigint(pid):
                    os.kill(pid, signal.SIGINT)
                elif piece:
                    os.write(inner, piece)
        if inner in ready:
            with contextlib.suppress(OSError):  # the VM ended
                self._say(os.read(inner, 4096))

    def _last_words(self, inner: int) -> None:
        """What the VM wrote before it ended: a UART sends it, whatever becomes of the chip's program."""
        os.set_blocking(inner, False)
        with contextlib.suppress(OSError):  # EIO: all was read
            while data := os.read(inner, 4096):
                self._say(data)

    def _say(self, data: bytes) -> None:
        if not self._booted:
            self._booted = _READY in data
            data = data.partition(_READY)[2]
        os.write(self._master, data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def offer(volume: Path, board_id: str = "RPI-RP2") -> Path:
    """The volume of an RP2 in its boot ROM; the datasheets give its INFO_UF2.TXT."""
    volume.mkdir()
    (volume / "INFO_UF2.TXT").write_text(f"UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: {board_id}\r\n")
    return volume


def _catches_sigint(pid: int) -> bool:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt"):
            return bool(int(line.split()[1], 16) & _SIGINT_BIT)
    return False
