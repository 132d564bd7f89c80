"""The ROM loader of an ESP32, ESP32-C3 or ESP32-S3 on a pseudo-terminal, and the flash behind it, for real esptool.

    python -m host_sim.bench.romloader --chip ESP32 --flash flash.bin --link /tmp/port

Written from Espressif's "Serial Protocol" (esptool documentation, advanced topics): SLIP frames, a command is
`00h, op u8, length u16, checksum u32, data`, an answer `01h, op u8, length u16, value u32, data, status`. The status
has 4 bytes from a ROM and 2 from the stub that esptool loads: here nobody runs the stub, but from its start on the
answers are the stub's. Flash is NOR: a write clears bits, only an erase sets them, so that a forgotten one shows.
Modem lines do not exist on a pseudo-terminal: the chip sits in its loader from the start.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import select
import struct
import threading
import tty
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SECTOR = 4096
_END, _ESCAPE = b"\xc0", b"\xdb"
_INVALID_MESSAGE, _FLASH_ERROR, _BAD_CHECKSUM, _INFLATE_ERROR = 0x05, 0x06, 0x07, 0xC1
_READ_FRAMES = 64  # frames of a flash read that may be under way unacknowledged
_MAGIC_REGISTER = 0x40001000  # holds a number of the chip, told from others by it where there is no chip id


@dataclass(frozen=True)
class Silicon:
    """What esptool tells chips and their flash apart by: register addresses from the technical reference manuals."""

    chip_id: int | None  # of GET_SECURITY_INFO; the ESP32 does not know that command
    magic: int
    spi: int
    usr2: int
    w0: int
    clkdiv: int


SILICON = {
    "ESP32": Silicon(None, 0x00F01D83, 0x3FF42000, 0x24, 0x80, 0x3FF40014),
    "ESP32-C3": Silicon(5, 0x1B31506F, 0x60002000, 0x20, 0x58, 0x60000014),
    "ESP32-S3": Silicon(9, 0x00000009, 0x60002000, 0x20, 0x58, 0x60000014),
}


@dataclass
class Faults:
    """What goes wrong, each once: the number of the data block (from 1) at which it does, None for never."""

    flip_on_wire: int | None = None  # a bit of the block turns on its way: the checksum tells
    lose: int | None = None  # the block never arrives
    flip_in_flash: int | None = None  # a cell does not take what it is given
    unplug: int | None = None  # the cable comes out; the port is gone

    def strikes(self, name: str, block: int) -> bool:
        """Whether this fault is due at this block; it then is no more."""
        if getattr(self, name) != block:
            return False
        setattr(self, name, None)
        return True


class NorFlash:
    """`size` bytes in memory; a write clears bits, an erase sets those of whole sectors."""

    def __init__(self, size: int, content: bytes = b"") -> None:
        self.cells = bytearray(content.ljust(size, b"\xff"))
        self.size = size

    def program(self, at: int, data: bytes) -> None:
        """Clear the bits that are 0 in `data`."""
        old = int.from_bytes(self.cells[at : at + len(data)], "little")
        self.cells[at : at + len(data)] = (old & int.from_bytes(data, "little")).to_bytes(len(data), "little")

    def erase(self, at: int, length: int) -> None:
        """Set the bits of every sector that the range touches."""
        first, end = at // SECTOR * SECTOR, -(-(at + length) // SECTOR) * SECTOR
        self.cells[first:end] = b"\xff" * (end - first)


class RomLoader:
    """A chip that waits for esptool at `port`. `start` serves in a thread of its own until `stop`."""

    def __init__(self, chip: str, flash: NorFlash, faults: Faults | None = None) -> None:
        self.flash = flash
        self.faults = faults or Faults()
        self.operations: list[int] = []  # every command's number, in order
        self.blocks = 0
        self.erased = 0
        self._silicon = SILICON[chip]
        self._stub = False
        self._inflate: zlib._Decompress | None = None
        self._at = 0
        self._registers: dict[int, int] = {_MAGIC_REGISTER: self._silicon.magic, self._silicon.clkdiv: 347}
        self._pending = b""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        self._open = [slave, self._master]

    def start(self) -> RomLoader:
        """Serve from here on."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """The board is taken away."""
        self._stopping.set()
        self._thread.join(5)
        self._unplug()
        while self._open:
            os.close(self._open.pop())

    def __enter__(self) -> RomLoader:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _unplug(self) -> None:
        """The port is gone. Our end of the slave, open until `stop`, keeps its number from becoming somebody else's."""
        if len(self._open) == 2:
            os.close(self._open.pop())

    # Frames

    def _serve(self) -> None:
        try:
            while not self._stopping.is_set():
                frame = self._receive()
                if frame:
                    self._command(frame)
        except OSError:
            self._unplug()

    def _receive(self) -> bytes | None:
        """The next frame, or None after a while without one."""
        while True:
            head, found, rest = self._pending.partition(_END)
            if found:
                self._pending = rest
                if head:
                    return head.replace(b"\xdb\xdc", _END).replace(b"\xdb\xdd", _ESCAPE)
                continue
            if not select.select([self._master], [], [], 0.05)[0]:
                return None
            self._pending += os.read(self._master, 65536)

    def _send(self, frame: bytes) -> None:
        data = _END + frame.replace(_ESCAPE, b"\xdb\xdd").replace(_END, b"\xdb\xdc") + _END
        while data:
            data = data[os.write(self._master, data) :]

    def _answer(self, op: int, value: int = 0, data: bytes = b"", error: int = 0) -> None:
        status = bytes([1 if error else 0, error]) + (b"" if self._stub else b"\0\0")
        self._send(struct.pack("<BBHI", 1, op, len(data) + len(status), value) + data + status)

    # Commands

    def _command(self, frame: bytes) -> None:
        if len(frame) < 8 or frame[0]:
            return
        _, op, length, checksum = struct.unpack_from("<BBHI", frame)
        data = frame[8:]
        self.operations.append(op)
        handler = self._HANDLERS.get(op)
        known = handler is not None and (self._stub or op not in self._STUB_ONLY)
        if not known or len(data) != length or op == 0x14 and self._silicon.chip_id is None:
            self._answer(op, error=_INVALID_MESSAGE)
        elif handler is not None:
            handler(self, op, data, checksum)

    def _sync(self, op: int, _data: bytes, _checksum: int) -> None:
        for _ in range(8):
            self._answer(op, 0 if self._stub else 0x20120707)

    def _read_register(self, op: int, data: bytes, _checksum: int) -> None:
        self._answer(op, self._registers.get(struct.unpack("<I", data)[0], 0))

    def _write_register(self, op: int, data: bytes, _checksum: int) -> None:
        for at in range(0, len(data), 16):
            address, value = struct.unpack_from("<II", data, at)
            self._registers[address] = value
            if address == self._silicon.spi and value & 1 << 18:
                self._spi_command()
        self._answer(op)

    def _spi_command(self) -> None:
        """A command to the flash chip through the controller's registers; done at once."""
        spi = self._silicon
        number = self._registers.get(spi.spi + spi.usr2, 0) & 0xFF
        size = self.flash.size.bit_length() - 1
        answers = {0x9F: 0xEF | 0x40 << 8 | size << 16, 0x5A: int.from_bytes(b"SFDP", "little")}
        self._registers[spi.spi + spi.w0] = answers.get(number, 0)
        self._registers[spi.spi] = 0

    def _security_info(self, op: int, _data: bytes, _checksum: int) -> None:
        self._answer(op, 0, struct.pack("<IB7sII", 0, 0, bytes(7), self._silicon.chip_id or 0, 0))

    def _done(self, op: int, _data: bytes, _checksum: int) -> None:
        self._answer(op)

    def _memory_data(self, op: int, data: bytes, checksum: int) -> None:
        self._answer(op, error=0 if _checksum_of(data[16:]) == checksum else _BAD_CHECKSUM)

    def _memory_end(self, op: int, data: bytes, _checksum: int) -> None:
        stay, _entry = struct.unpack("<II", data)
        self._answer(op)
        if not stay:
            self._stub = True
            self._send(b"OHAI")

    def _flash_begin(self, op: int, data: bytes, _checksum: int) -> None:
        size, _blocks, _block, self._at = struct.unpack_from("<IIII", data)
        self._inflate = zlib.decompressobj() if op == 0x10 else None
        if size:
            self._erase(self._at, size)
        self._answer(op)

    def _erase(self, at: int, length: int) -> None:
        self.flash.erase(at, length)
        self.erased += length

    def _flash_data(self, op: int, data: bytes, checksum: int) -> None:
        self.blocks += 1
        block = data[16:]
        if self.faults.strikes("unplug", self.blocks):
            self._unplug()
            raise OSError("unplugged")
        if self.faults.strikes("lose", self.blocks):
            return
        if self.faults.strikes("flip_on_wire", self.blocks):
            block = bytes([block[0] ^ 1]) + block[1:]
        if _checksum_of(block) != checksum:
            self._answer(op, error=_BAD_CHECKSUM)
            return
        if self._inflate is not None:
            try:
                block = self._inflate.decompress(block)
            except zlib.error:
                self._answer(op, error=_INFLATE_ERROR)
                return
        if self._at + len(block) > self.flash.size:
            self._answer(op, error=_FLASH_ERROR)
            return
        self.flash.program(self._at, block)
        if self.faults.strikes("flip_in_flash", self.blocks):
            self.flash.cells[self._at + len(block) // 2] ^= 0x10
        self._at += len(block)
        self._answer(op)

    def _md5(self, op: int, data: bytes, _checksum: int) -> None:
        at, length = struct.unpack_from("<II", data)
        digest = hashlib.md5(self.flash.cells[at : at + length])
        self._answer(op, 0, digest.digest() if self._stub else digest.hexdigest().encode())

    def _erase_flash(self, op: int, _data: bytes, _checksum: int) -> None:
        self._erase(0, self.flash.size)
        self._answer(op)

    def _erase_region(self, op: int, data: bytes, _checksum: int) -> None:
        self._erase(*struct.unpack("<II", data))
        self._answer(op)

    def _read_slow(self, op: int, data: bytes, _checksum: int) -> None:
        at, length = struct.unpack("<II", data)
        self._answer(op, 0, bytes(self.flash.cells[at : at + length]).ljust(64, b"\0"))

    def _read_flash(self, op: int, data: bytes, _checksum: int) -> None:
        """Frames of a sector, each to be acknowledged by the total so far, and the MD5 of it all."""
        at, length, frame, _ = struct.unpack("<IIII", data)
        self._answer(op)
        sent = acknowledged = 0
        while acknowledged < length and not self._stopping.is_set():
            if sent < length and sent - acknowledged < _READ_FRAMES * frame:
                chunk = bytes(self.flash.cells[at + sent : at + min(length, sent + frame)])
                self._send(chunk)
                sent += len(chunk)
            elif acknowledgement := self._receive():
                acknowledged = struct.unpack("<I", acknowledgement)[0]
        self._send(hashlib.md5(self.flash.cells[at : at + length]).digest())

    _STUB_ONLY = frozenset((0xD0, 0xD1, 0xD2))
    _HANDLERS: dict[int, Callable[[RomLoader, int, bytes, int], None]] = {
        0x02: _flash_begin, 0x03: _flash_data, 0x04: _done, 0x05: _done, 0x06: _memory_end, 0x07: _memory_data,
        0x08: _sync, 0x09: _write_register, 0x0A: _read_register, 0x0B: _done, 0x0D: _done, 0x0E: _read_slow,
        0x0F: _done, 0x10: _flash_begin, 0x11: _flash_data, 0x12: _done, 0x13: _md5, 0x14: _security_info,
        0xD0: _erase_flash, 0xD1: _erase_region, 0xD2: _read_flash,
    }  # fmt: skip


def _checksum_of(data: bytes) -> int:
    """All bytes and EFh, exclusive-ored."""
    found = 0xEF
    for byte in data:
        found ^= byte
    return found


def main() -> None:
    """A chip on a port until Ctrl-C; its flash is read from the file and written back at the end."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--chip", choices=SILICON, required=True)
    parser.add_argument("--flash", type=Path, required=True, help="image of the flash, made blank if missing")
    parser.add_argument("--size", type=lambda text: int(text, 0), default=0x400000, help="bytes of a new flash")
    parser.add_argument("--link", type=Path, help="a symbolic link to the port, made anew")
    asked = parser.parse_args()
    content = asked.flash.read_bytes() if asked.flash.exists() else b""
    loader = RomLoader(asked.chip, NorFlash(len(content) or asked.size, content))
    if asked.link:
        asked.link.unlink(missing_ok=True)
        asked.link.symlink_to(loader.port)
    print(f"ready: {asked.link or loader.port}", flush=True)
    with loader, contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    asked.flash.write_bytes(loader.flash.cells)


if __name__ == "__main__":
    main()
