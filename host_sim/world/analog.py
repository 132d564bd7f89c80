"""A pyranometer on an ADC pin of an ESP32, as badly as that ADC measures.

Sensor: an amplified photodiode, linear, 0 V at 0 W/m2 to 2.4 V at 1200 W/m2; it cannot go below 0 V (the
record is slightly negative at night) nor above its supply of 3.3 V.

ADC: 12 bits at 11 dB attenuation. Espressif names 150 to 2450 mV as the range to measure in, with a total
error of +-60 mV after calibration (ESP32 Series Datasheet, ADC characteristics; ESP-IDF, "ADC
Attenuation"). The calibration curve of that attenuation starts at 142 mV, so count 0 reads 142 mV: a dark
sensor never reads 0 V. Espressif gives no RMS noise and no exact top; those two are assumptions, below.
"""

from __future__ import annotations

import random

from host_sim.world import noise
from host_sim.world.replay import World
from host_sim.world.served import Served, ignore

MV_PER_W_M2 = 2.0
SUPPLY_MV = 3300.0

COUNTS = 4095
ZERO_MV = 142.0  # what count 0 reads; everything below saturates there
TOP_MV = 3130.0  # what count 4095 reads (assumed: of the reported 3.1 to 3.2 V the low end)
MV_PER_COUNT = (TOP_MV - ZERO_MV) / COUNTS
GOOD_MV = (150.0, 2450.0)

NOISE_MV = 5.0  # RMS within GOOD_MV (assumed: no capacitor at the pin), double outside
OFFSET_MV = 20.0  # per chip, uniform in +-; with the gain at most 60 mV at 2450 mV
GAIN = 0.016


class AnalogSensor:
    """One pyranometer and its ADC channel; every read is a conversion of its own and is served at once.

    `served` is called for each read with channel "voltage", value in mV, exponent -3 (V). A node that
    averages several reads reports something that was never served: nodes take one read per sample.
    """

    def __init__(self, world: World, site: str, seed: int, *, name: str = "light", served: Served = ignore) -> None:
        self._world = world
        self._site = site
        self._name = name
        self._served = served
        self._key = noise.key(seed, site, name, "adc")
        draw = random.Random(self._key)
        self._gain = 1.0 + draw.uniform(-GAIN, GAIN)
        self._offset = draw.uniform(-OFFSET_MV, OFFSET_MV)
        self._last_us = -1
        self._reads = 0  # at _last_us: two reads at one time differ in their noise

    def read_uv(self, now_ms: float) -> int:
        """Return the calibrated voltage in uV at Unix time `now_ms`: 142000 to 3130000, whole millivolts.

        MicroPython multiplies the chip driver's millivolts by 1000, so the last three digits are always 0.
        """
        return self._millivolts(self._convert(now_ms), now_ms) * 1000

    def read_u16(self, now_ms: float) -> int:
        """Return the raw count stretched to 0..65535 (top bits repeated below), uncalibrated."""
        count = self._convert(now_ms)
        self._millivolts(count, now_ms)
        return count << 4 | count >> 8

    def _convert(self, now_ms: float) -> int:
        now_us = int(now_ms * 1000)
        self._reads = self._reads + 1 if now_us == self._last_us else 0
        self._last_us = now_us
        pin = self._world.value("irradiance", now_ms, self._site) * MV_PER_W_M2
        pin = min(max(pin, 0.0), SUPPLY_MV)
        rms = NOISE_MV if GOOD_MV[0] <= pin <= GOOD_MV[1] else 2 * NOISE_MV
        seen = pin * self._gain + self._offset + rms * noise.gauss(self._key, now_us * 64 + self._reads)
        return min(max(round((seen - ZERO_MV) / MV_PER_COUNT), 0), COUNTS)

    def _millivolts(self, count: int, now_ms: float) -> int:
        millivolts = round(ZERO_MV + count * MV_PER_COUNT)
        self._served(int(now_ms), self._name, "voltage", millivolts, -3)
        return millivolts
