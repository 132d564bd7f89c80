"""The judge: a third party's driver must read from the simulated chip what the chip says it served.

adafruit-circuitpython-bme280 shares nothing with our inversion of the compensation: it reads trimming
words and counts from registers and computes by itself. Pins and clock of CircuitPython are replaced by a
bus over `transfer` and the simulated time.
"""

import importlib
import sys
import types

import pytest

from host_sim.world import Bme280, World
from host_sim.world.bme280 import HUM_NOISE, PRESS_NOISE, TEMP_NOISE

START = 1_767_250_800_000
HOUR = 3_600_000


class Bus:
    """busio.I2C with one device at 77h, and the time that the driver's sleep() moves."""

    def __init__(self, chip: Bme280) -> None:
        self.chip = chip
        self.now = START + 5.0

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        pass

    def sleep(self, seconds: float) -> None:
        self.now += seconds * 1000

    def writeto(self, address: int, buffer: bytes, *, start: int = 0, end: int | None = None) -> None:
        assert address == 0x77
        self.chip.transfer(self.now, bytes(buffer[start:end]), 0)

    def readfrom_into(self, address: int, buffer: bytearray, *, start: int = 0, end: int | None = None) -> None:
        assert address == 0x77
        end = len(buffer) if end is None else end
        buffer[start:end] = self.chip.transfer(self.now, b"", end - start)


@pytest.fixture
def adafruit(monkeypatch):
    """The driver's modules (basic, advanced), imported over stand-ins for CircuitPython's own modules."""
    stand_ins = {
        "busio": {"I2C": object, "SPI": object},
        "digitalio": {"DigitalInOut": object},
        "micropython": {"const": lambda value: value},
    }
    for name, members in stand_ins.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    basic = importlib.import_module("adafruit_bme280.basic")
    return basic, importlib.import_module("adafruit_bme280.advanced")


@pytest.mark.parametrize("seed", range(8))
def test_adafruit_driver_reads_what_was_served(adafruit, monkeypatch, seed):
    basic, advanced = adafruit
    log = []
    world = World(seed, START)
    chip = Bme280(world, "a", seed, served=lambda *row: log.append(row))
    chip.power_on(START)
    bus = Bus(chip)
    monkeypatch.setattr(basic, "sleep", bus.sleep)
    driver = advanced.Adafruit_BME280_I2C(bus)
    for osrs in range(1, 6):
        driver.overscan_temperature = driver.overscan_pressure = driver.overscan_humidity = osrs
        for _ in range(4):
            bus.now += 3.7 * HOUR
            # The driver measures anew for each property; each must be the value of its own conversion.
            for channel, unit, noise, resolution in (
                ("temperature", 0.01, TEMP_NOISE[osrs], 0.006),
                ("humidity", 0.01, HUM_NOISE[osrs], 0.01),
                ("pressure", 1.0, PRESS_NOISE[osrs], 3.5),
            ):
                log.clear()
                read = getattr(driver, channel) * (100 if channel == "pressure" else 1)
                (row,) = (row for row in log if row[2] == channel)
                t_ms, value = row[0], row[3] * unit
                # Half a unit of our rounding; the driver truncates t_fine to 1/5120 degC.
                assert read == pytest.approx(value, abs=unit / 2 + 0.0003)
                # And the world was seen through noise and resolution only.
                truth = world.value(channel, t_ms, "a")
                assert value == pytest.approx(truth, abs=5 * noise + resolution + unit / 2)
