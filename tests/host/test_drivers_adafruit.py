"""Our BME280 driver against a third party's, on the same registers."""

from __future__ import annotations

import importlib
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from adafruit_bme280 import basic

ROOT = Path(__file__).resolve().parents[2]


class Bus:
    """busio.I2C in front of a device with machine.I2C's memory methods: write the register, read from it."""

    def __init__(self, device: Any, address: int) -> None:
        self.device, self.address, self.register = device, address, 0

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        pass

    def writeto(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        data = bytes(buffer[start:end])
        if data:
            self.register = data[0]
        if data[1:]:
            self.device.writeto_mem(address, self.register, data[1:])

    def readfrom_into(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        data = bytearray(len(buffer[start:end]))
        self.device.readfrom_mem_into(address, self.register, data)
        buffer[start:end] = data


def test_the_third_party_driver_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "micropython", SimpleNamespace(const=lambda value: value))
    for folder in ("lib", "tests/device"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    device = importlib.import_module("bme280chip")
    bme280 = importlib.import_module("drivers.bme280")

    monkeypatch.setattr(basic, "sleep", lambda seconds: None)
    random.seed(7)
    compared = 0
    while compared < 40:
        # Theirs multiplies the humidity once more by 1 + H3 (t_fine - 76800) / 2^26 than the datasheet does.
        # Both agree for H3 = 0, which is what chips have.
        calibration = device.calibration()
        calibration = (*calibration[:14], 0, *calibration[15:])
        counts = (random.randint(0, 0xFFFF) << 4, random.randint(0, 0xFFFF) << 4, random.randint(0, 0xFFFF))
        t, _, p = device.reference(calibration, *counts)
        if not (-39 < t < 84 and p is not None and 30100 < p < 109900):
            continue
        compared += 1
        driver = bme280.Driver(device.FakeBme280(calibration, counts), device.ADDRESS)
        driver.start(0)
        out = [0, 0, 0]
        driver.collect(out, 0)
        other = device.FakeBme280(calibration, counts)
        theirs = basic.Adafruit_BME280_I2C(Bus(other, device.ADDRESS), device.ADDRESS)
        assert out[0] == pytest.approx(theirs.temperature * 100, abs=1)
        assert out[1] == pytest.approx(theirs.relative_humidity * 100, abs=1)
        assert out[2] == pytest.approx(theirs.pressure * 100, abs=1)
