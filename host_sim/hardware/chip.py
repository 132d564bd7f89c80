"""One simulated ESP32 as its surroundings see it: flash, RTC, supply, and what hangs on its pins. It answers the
line.
"""

import errno
import hashlib
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from host_sim.hardware.flash import Flash, PowerCut

HELLO, _, PROGRAM, ERASE, I2C, ADC, JOIN, RTC_MEMORY, RTC_SET, SLEEP, RESET, OPEN, CLOSED, WAIT, WAKE, REPL = range(16)

POWER_ON, HARD, WATCHDOG, DEEP_SLEEP, SOFT = 1, 2, 3, 4, 5

# The ROM, the second-stage loader and MicroPython's own start: an assumption, to be replaced when a board was measured.
BOOT_US = 250_000
JOIN_MS = 1_400  # association and DHCP, likewise
TICKS_PERIOD = 1 << 30
STAT_GOT_IP, STAT_NO_AP_FOUND, STAT_WRONG_PASSWORD = 1010, 201, 202
RTC_MEMORY_SIZE = 2048


class I2CDevice(Protocol):
    """A sensor on a bus. Its supply is the node's, which deep sleep does not switch off."""

    def power_on(self, now_ms: float) -> None:
        """The supply came back."""

    def transfer(self, now_ms: float, write: bytes, read_length: int) -> bytes:
        """One transaction; OSError when nobody acknowledges."""
        ...


class AnalogSource(Protocol):
    """A voltage at a pin, as the ADC reports it."""

    def read_uv(self, now_ms: float) -> int:
        """Microvolts."""
        ...


class Chip:
    """Answers every request of the line but those about sockets and sleep, which are the fleet's.

    `devices[(bus, address)]` has `power_on(now_ms)` and `transfer(now_ms, write, count) -> bytes`, which raises
    OSError when it does not answer; its supply is the node's, which deep sleep does not switch off. `analog[pin]`
    has `read_uv(now_ms) -> int`. `networks` maps ssid to password. Times are true simulated microseconds.
    """

    def __init__(self, name: str, flash: Flash, seed: int, networks: dict[str, str]) -> None:
        dice = random.Random(f"{seed} {name}")
        self.name = name
        self.flash = flash
        self.networks = networks
        self.devices: dict[tuple[int, int], I2CDevice] = {}
        self.analog: dict[int, AnalogSource] = {}
        self.unique_id = hashlib.sha256(f"{seed} {name}".encode()).digest()[:6]
        # The RTC runs from a calibrated RC oscillator in sleep: hundreds of ppm off, the same error for a given chip.
        self.rtc_ppm = dice.randrange(-300, 301)
        self.rtc_memory = b""
        self.rtc_offset = 0  # RTC (microseconds since 2000) minus true time
        self.cause = POWER_ON
        self.boots = 0
        self.tears = random.Random(f"{seed} {name} tears")
        self._dice = dice
        self._handlers: dict[int, Callable[[int, bytes, int], tuple[int, bytes, int]]] = {
            PROGRAM: self._program,
            ERASE: self._erase,
            I2C: self._i2c,
            ADC: self._adc,
            JOIN: self._join,
            RTC_MEMORY: self._rtc_memory,
            RTC_SET: self._rtc_set,
        }

    def power_on(self, now: int) -> None:
        """Everything that is not flash forgets."""
        self.cause = POWER_ON
        self.rtc_memory = self._noise()
        self.rtc_offset = -now
        for device in self.devices.values():
            device.power_on(now / 1000)

    def _noise(self) -> bytes:
        """Esp32 RTC memory after power-on is not cleared by hardware; MicroPython's magic mostly hides it."""
        return b"" if self._dice.random() < 0.75 else self._dice.randbytes(28)

    def slept(self, asleep: int, ms: int) -> int:
        """The chip went to sleep at `asleep` for `ms` by its RTC; returns the true time of its wake."""
        true_us = ms * 1000 * 1_000_000 // (1_000_000 + self.rtc_ppm)
        self.rtc_offset += ms * 1000 - true_us
        self.cause = DEEP_SLEEP
        return asleep + true_us

    def hello(self, now: int) -> bytes:
        """First answer of a boot: the chip's state as the line's table lays it out."""
        self.boots += 1
        ticks = TICKS_PERIOD - self._dice.randrange(1, 4000)
        head = struct.pack("<QIqIB", now, ticks, self.rtc_offset + now, self.boots, self.cause)
        return head + self.unique_id + self.rtc_memory

    def answer(self, op: int, arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        """(status, answer, microseconds it takes). PowerCut when the supply fails in it."""
        return self._handlers[op](arg, payload, now)

    def _program(self, _arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        (address,) = struct.unpack_from("<I", payload)
        return 0, b"", self.flash.program(address, payload[4:], now, self.tears)

    def _erase(self, _arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        (sector,) = struct.unpack("<I", payload)
        return 0, b"", self.flash.erase(sector, now, self.tears)

    def _i2c(self, bus: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        address, count = payload[0], payload[2] | payload[3] << 8
        device = self.devices.get((bus, address))
        took = (len(payload) - 2 + count + 1) * 9 * 1_000_000 // 400_000
        if device is None:
            return errno.ENODEV, b"", took
        try:
            return 0, device.transfer(now / 1000, payload[4:], count), took
        except OSError:
            return errno.ENODEV, b"", took

    def _adc(self, pin: int, _payload: bytes, now: int) -> tuple[int, bytes, int]:
        source = self.analog.get(pin)
        # An open pin floats: some voltage, never a clean zero.
        microvolts = source.read_uv(now / 1000) if source else self._dice.randrange(75_000, 900_000)
        return 0, struct.pack("<i", microvolts), 60

    def _join(self, _arg: int, payload: bytes, _now: int) -> tuple[int, bytes, int]:
        ssid, _, password = payload.decode().partition("\0")
        if ssid not in self.networks:
            return 0, struct.pack("<HI", STAT_NO_AP_FOUND, 2_500), 0
        if self.networks[ssid] != password:
            return 0, struct.pack("<HI", STAT_WRONG_PASSWORD, 3_000), 0
        return 0, struct.pack("<HI", STAT_GOT_IP, JOIN_MS + self._dice.randrange(400)), 0

    def _rtc_memory(self, _arg: int, payload: bytes, _now: int) -> tuple[int, bytes, int]:
        self.rtc_memory = payload[:RTC_MEMORY_SIZE]
        return 0, b"", 2

    def _rtc_set(self, _arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        (rtc,) = struct.unpack("<q", payload)
        self.rtc_offset = rtc - now
        return 0, b"", 5


def partition_table(entries: list[tuple[str, int, int, int, int]]) -> bytes:
    """Binary table of (label, type, subtype, offset, size): esp_partition_info_t, ESP-IDF esp_flash_partitions.h, with
    the MD5 entry that gen_esp32part.py appends, padded to a sector."""
    table = b"".join(
        struct.pack("<HBBII16sI", 0x50AA, kind, sub, offset, size, label.encode(), 0)
        for label, kind, sub, offset, size in entries
    )
    table += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(table).digest()
    return table.ljust(0xC00, b"\xff")


def blank_flash(path: Path, size: int, table: bytes) -> None:
    """An erased flash with the partition table at 8000h."""
    image = bytearray(b"\xff") * size
    image[0x8000 : 0x8000 + len(table)] = table
    path.write_bytes(image)


__all__ = ["Chip", "Flash", "PowerCut", "blank_flash", "partition_table"]
