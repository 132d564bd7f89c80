"""One simulated chip as its surroundings see it: flash, RTC, supply, and what hangs on its pins. It answers the
line.
"""

import hashlib
import random
import struct
from collections.abc import Callable
from typing import Protocol

from host_sim.faults.air import Air
from host_sim.hardware.flash import Flash, PowerCut
from host_sim.hardware.watchdog import Watchdog

HELLO, _, PROGRAM, ERASE, I2C, ADC, JOIN, KEEP, RTC_SET, SLEEP, RESET, OPEN, CLOSED, WAIT, WAKE, REPL = range(16)
LIGHTSLEEP, WATCHDOG, PIN, CONSOLE, SOFT_RESET, BOOTLOADER, SCAN = range(16, 23)

POWER_ON, WATCHDOG_RESET, DEEP_SLEEP = 1, 3, 4
HOST_SUPPLY = 66  # the pin by which a board with a CYW43439 sees its USB supply, WL_GPIO2

JOIN_MS = 1_400  # association and DHCP: an assumption, to be replaced when a board was measured
TICKS_PERIOD = 1 << 30
SCAN_US = 2_100_000  # all channels: an assumption
JOINED, NO_NETWORK, WRONG_PASSWORD = range(3)
NO_ANSWER = 19


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
    """Answers every request of the line but those about sockets and sleep, which are the fleet's. Its families are
    below.

    `devices[(bus, address)]` has `power_on(now_ms)` and `transfer(now_ms, write, count) -> bytes`, which raises
    OSError when it does not answer; its supply is the node's, which deep sleep does not switch off. `analog[pin]`
    has `read_uv(now_ms) -> int`. `levels[pin]` is what drives an input from outside, 0 or 1. `networks` maps ssid to
    password; `air` says when none of them is there. Times are true simulated microseconds.
    """

    # From the reset to boot.py: the ROM, the loader and MicroPython's own start. Assumptions, to be replaced when a
    # board was measured.
    boot_us: int = 250_000
    unique_id_size = 6
    hangs_in_lightsleep = False  # when the watchdog bites there

    def __init__(self, name: str, flash: Flash, seed: int, networks: dict[str, str]) -> None:
        dice = random.Random(f"{seed} {name}")
        self.name = name
        self.flash = flash
        self.networks = networks
        self.air = Air()
        self.devices: dict[tuple[int, int], I2CDevice] = {}
        self.analog: dict[int, AnalogSource] = {}
        self.levels: dict[int, int] = {HOST_SUPPLY: 0}
        self.unique_id = hashlib.sha256(f"{seed} {name}".encode()).digest()[: self.unique_id_size]
        self.sleep_ppm = 0  # how fast the clock runs that counts sleep
        self.kept = b""  # memory that survives a reset
        self.cause = POWER_ON
        self.boots = 0
        self.watchdog = Watchdog()
        self.tears = random.Random(f"{seed} {name} tears")
        self._dice = dice
        self._handlers: dict[int, Callable[[int, bytes, int], tuple[int, bytes, int]]] = {
            PROGRAM: self._program,
            ERASE: self._erase,
            I2C: self._i2c,
            ADC: self._adc,
            PIN: self._pin,
            JOIN: self._join,
            SCAN: self._scan,
            KEEP: self._keep,
            RTC_SET: self._rtc_set,
        }

    def power_on(self, now: int) -> None:
        """Everything that is not flash forgets."""
        self.cause = POWER_ON
        self.kept = self._noise()
        for device in self.devices.values():
            device.power_on(now / 1000)

    def reset(self, cause: int) -> None:
        """The firmware restarts the chip, or the watchdog does; the next boot finds `cause`."""
        self.cause = cause

    def sleep_us(self, ms: int) -> int:
        """True microseconds that a sleep of `ms` by the chip's own clock takes."""
        return ms * 1000 * 1_000_000 // (1_000_000 + self.sleep_ppm)

    def slept(self, asleep: int, ms: int) -> int:
        """The chip went to deep sleep at `asleep` for `ms` by its own clock; returns the true time of its wake."""
        self.cause = DEEP_SLEEP
        return asleep + self.sleep_us(ms)

    def hello(self, now: int) -> bytes:
        """First answer of a boot: the chip's state as the line's table lays it out."""
        self.boots += 1
        ticks = TICKS_PERIOD - self._dice.randrange(1, 4000)
        head = struct.pack("<QIqIBB", now, ticks, self._rtc(now), self.boots, self.cause, len(self.unique_id))
        return head + self.unique_id + self.kept

    def answer(self, op: int, arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        """(status, answer, microseconds it takes). PowerCut when the supply fails in it."""
        return self._handlers[op](arg, payload, now)

    def _noise(self) -> bytes:
        return b""

    def _rtc(self, now: int) -> int:
        return 0

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
            return NO_ANSWER, b"", took
        try:
            return 0, device.transfer(now / 1000, payload[4:], count), took
        except OSError:
            return NO_ANSWER, b"", took

    def _adc(self, pin: int, _payload: bytes, now: int) -> tuple[int, bytes, int]:
        source = self.analog.get(pin)
        # An open pin floats: some voltage, never a clean zero.
        microvolts = source.read_uv(now / 1000) if source else self._dice.randrange(75_000, 900_000)
        return 0, struct.pack("<i", microvolts), 60

    def _pin(self, pin: int, payload: bytes, _now: int) -> tuple[int, bytes, int]:
        # payload: 0 no pull, 1 up, 2 down. An open input without one reads whatever it likes.
        level = self.levels.get(pin, {1: 1, 2: 0}.get(payload[0], self._dice.randrange(2)))
        return 0, bytes([level]), 1

    def _join(self, _arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        ssid, _, password = payload.decode().partition("\0")
        if ssid not in self.networks or self.air.out_until(now) is not None:
            return 0, struct.pack("<HI", NO_NETWORK, 2_500), 0
        if self.networks[ssid] != password:
            return 0, struct.pack("<HI", WRONG_PASSWORD, 3_000), 0
        return 0, struct.pack("<HI", JOINED, JOIN_MS + self._dice.randrange(400)), 0

    def _scan(self, _arg: int, _payload: bytes, _now: int) -> tuple[int, bytes, int]:
        found = b""
        for index, (ssid, password) in enumerate(self.networks.items()):
            name = ssid.encode()
            signal = -61 - self._dice.randrange(8)
            found += struct.pack("<bBBB", signal, (1, 6, 11)[index % 3], 3 if password else 0, len(name)) + name
        return 0, found, SCAN_US

    def _keep(self, _arg: int, payload: bytes, _now: int) -> tuple[int, bytes, int]:
        self.kept = payload
        return 0, b"", 2

    def _rtc_set(self, _arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        return 0, b"", 5


class Esp32(Chip):
    """ESP32, ESP32-C3, ESP32-S3: deep sleep is real, and the RTC runs through everything but power-on."""

    def __init__(self, name: str, flash: Flash, seed: int, networks: dict[str, str]) -> None:
        super().__init__(name, flash, seed, networks)
        # The RTC runs from a calibrated RC oscillator in sleep: hundreds of ppm off, the same error for a given chip.
        self.sleep_ppm = self._dice.randrange(-300, 301)
        self._rtc_offset = 0  # RTC (microseconds since 2000) minus true time

    def power_on(self, now: int) -> None:
        """The RTC starts in 2000."""
        super().power_on(now)
        self._rtc_offset = -now

    def slept(self, asleep: int, ms: int) -> int:
        """The RTC believes that it was `ms`."""
        wakes = super().slept(asleep, ms)
        self._rtc_offset += ms * 1000 - (wakes - asleep)
        return wakes

    def _noise(self) -> bytes:
        """RTC memory after power-on is not cleared by hardware; MicroPython's magic mostly hides it."""
        return b"" if self._dice.random() < 0.75 else self._dice.randbytes(28)

    def _rtc(self, now: int) -> int:
        return self._rtc_offset + now

    def _rtc_set(self, _arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        (rtc,) = struct.unpack("<q", payload)
        self._rtc_offset = rtc - now
        return 0, b"", 5


VSYS_PIN = 29


class Vsys:
    """A board's supply, a battery of `millivolts`, behind its divider by 3, as the ADC reports it: noisy, and some 1 %
    high, for its reference is what a filter leaves of the 3.3 V (Pico W datasheet, 4.3: 30 mV less).
    """

    def __init__(self, millivolts: int, dice: random.Random) -> None:
        self.millivolts = millivolts
        self._dice = dice
        self._divider = 3 * (1 + dice.uniform(-0.01, 0.01))

    def read_uv(self, now_ms: float) -> int:
        """Microvolts at the pin, against a reference taken for 3.3 V."""
        return round(self.millivolts * 1000 / self._divider * 3.3 / 3.27 + self._dice.gauss(0, 2000))


class Rp2(Chip):
    """RP2040 and RP2350: every reset is the watchdog's, and only its scratch registers remember. `supply` is what VSYS
    has.
    """

    boot_us = 300_000
    unique_id_size = 8
    scratch_size = 32

    def __init__(self, name: str, flash: Flash, seed: int, networks: dict[str, str]) -> None:
        super().__init__(name, flash, seed, networks)
        self.sleep_ppm = self._dice.randrange(-30, 31)  # a crystal
        self.boot_us += self._dice.randrange(-30_000, 30_001)  # what the board's port assumes is not what it is
        self.supply = Vsys(3900, random.Random(f"{seed} {name} vsys"))
        self.analog[VSYS_PIN] = self.supply

    def reset(self, cause: int) -> None:
        """`watchdog_reboot` (pico-sdk, hardware_watchdog) clears scratch 4, which the boot ROM would take as a magic.
        """
        super().reset(WATCHDOG_RESET)
        self.kept = self.kept[:16] + bytes(4) + self.kept[20:]

    def _noise(self) -> bytes:
        """A power-on reset clears the scratch registers (RP2040 datasheet, 4.7.6, table of reset values)."""
        return bytes(self.scratch_size)

    def _program(self, _arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        (address,) = struct.unpack_from("<I", payload)
        return 0, b"", self.flash.program_pages(address, payload[4:], now, self.tears)

    def _erase(self, _arg: int, payload: bytes, now: int) -> tuple[int, bytes, int]:
        (sector,) = struct.unpack("<I", payload)
        return 0, b"", self.flash.erase(sector % len(self.flash.erases), now, self.tears)


class Rp2040(Rp2):
    """Its clocks do not come back when the watchdog bites in lightsleep (micropython #17228)."""

    hangs_in_lightsleep = True


CHIPS: dict[str, type[Chip]] = {
    "ESP32": Esp32,
    "ESP32-C3": Esp32,
    "ESP32-S3": Esp32,
    "RP2040": Rp2040,
    "RP2350": Rp2,
}

__all__ = ["CHIPS", "Chip", "PowerCut"]
