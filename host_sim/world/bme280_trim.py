"""Trimming parameters of a BME280 and the compensation with them (BST-BME280-DS002: 4.2.2, 4.2.3, 8.1).

The datasheet's double-precision formulas: the truth that served values are computed with, and, solved
backwards, the physics of the simulated ADC.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

Curve = Callable[[int], float]
"""A compensated value over raw counts; strictly monotone within the operating range."""


@dataclass(frozen=True)
class Trim:
    """The words dig_T1 to dig_H6 of one device, named as in table 16, without their prefix."""

    t1: int
    t2: int
    t3: int
    p1: int
    p2: int
    p3: int
    p4: int
    p5: int
    p6: int
    p7: int
    p8: int
    p9: int
    h1: int
    h2: int
    h3: int
    h4: int
    h5: int
    h6: int

    @classmethod
    def seeded(cls, key: int) -> Trim:
        """Draw a plausible device: around the worked example of the BMP280 datasheet (section 3.12, the same
        pressure and temperature cell) and, for humidity, around what devices in the field carry.
        """
        draw = random.Random(key).randint
        return cls(
            t1=27504 + draw(-800, 800),
            t2=26435 + draw(-500, 500),
            t3=draw(-1000, 50),
            p1=36477 + draw(-1500, 1500),
            p2=-10685 + draw(-250, 250),
            p3=3024 + draw(-100, 100),
            p4=2855 + draw(-2500, 5000),
            p5=140 + draw(-150, 60),
            p6=-7,
            p7=15500 + draw(-5600, 0),
            p8=-14600 + draw(0, 4400),
            p9=6000 + draw(-1700, 0),
            h1=75,
            h2=365 + draw(-20, 20),
            h3=0,
            h4=320 + draw(-25, 25),
            h5=draw(-20, 60),
            h6=30,
        )

    def nvm(self) -> tuple[bytes, bytes]:
        """Return the register images 88h..A1h (A0h is reserved, 0) and E1h..E7h, table 16.

        dig_H4 and dig_H5 are 12-bit signed and share E5h: H4 has its low nibble below, H5 its low nibble
        above.
        """
        low = struct.pack(
            "<HhhHhhhhhhhhxB", self.t1, self.t2, self.t3, self.p1, self.p2, self.p3, self.p4, self.p5,
            self.p6, self.p7, self.p8, self.p9, self.h1,
        )  # fmt: skip
        shared = self.h4 & 0xF | (self.h5 & 0xF) << 4
        high = struct.pack("<hBbBbb", self.h2, self.h3, self.h4 >> 4, shared, self.h5 >> 4, self.h6)
        return low, high

    def temperature(self, adc: int) -> float:
        """Return degC for the 20-bit count `adc`; rising."""
        return self._fine(adc) / 5120.0

    def t_fine(self, adc: int) -> int:
        """Return the temperature term of the other two formulas: degC * 5120, truncated."""
        return int(self._fine(adc))

    def _fine(self, adc: int) -> float:
        fine = adc / 131072.0 - self.t1 / 8192.0
        return (adc / 16384.0 - self.t1 / 1024.0) * self.t2 + fine * fine * self.t3

    def pressure(self, t_fine: int) -> Curve:
        """Return the curve from 20-bit counts to Pa at this temperature; falling."""
        fine = t_fine / 2.0 - 64000.0
        offset = fine * fine * self.p6 / 32768.0 + fine * self.p5 * 2.0
        offset = (offset / 4.0 + self.p4 * 65536.0) / 4096.0
        gain = (self.p3 * fine * fine / 524288.0 + self.p2 * fine) / 524288.0
        gain = 6250.0 / ((1.0 + gain / 32768.0) * self.p1)
        square, linear, constant = self.p9 / 2147483648.0 / 16.0, self.p8 / 32768.0 / 16.0, self.p7 / 16.0

        def pascal(adc: int) -> float:
            p = (1048576.0 - adc - offset) * gain
            return p + p * p * square + p * linear + constant

        return pascal

    def humidity(self, t_fine: int) -> Curve:
        """Return the curve from 16-bit counts to %RH at this temperature; rising, not limited to 0..100."""
        fine = t_fine - 76800.0
        offset = self.h4 * 64.0 + self.h5 / 16384.0 * fine
        gain = self.h2 / 65536.0 * (1.0 + self.h6 / 67108864.0 * fine * (1.0 + self.h3 / 67108864.0 * fine))
        square = self.h1 / 524288.0

        def percent(adc: int) -> float:
            h = (adc - offset) * gain
            return h * (1.0 - h * square)

        return percent


def counts(curve: Curve, target: float, bits: int, falling: bool = False) -> int:
    """Return the count in 0..2**bits - 1 whose compensated value is nearest below `target`, by bisection.

    One bit of the answer per step, most significant first. A target beyond the curve's ends gives the
    end: the ADC saturates.
    """
    count = 0
    for bit in range(bits - 1, -1, -1):
        trial = count | 1 << bit
        if (curve(trial) >= target) if falling else (curve(trial) <= target):
            count = trial
    return count
