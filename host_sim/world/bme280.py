"""A Bosch BME280 at register level, after its data sheet BST-BME280-DS002 (section numbers refer to it).

Never kinder than the chip: data registers keep the previous conversion until the running one is done, a
measurement takes the longest time the data sheet allows, trimming parameters are not there before they
are copied.
"""

from __future__ import annotations

import random
from math import inf

from host_sim.world import noise
from host_sim.world.bme280_trim import Trim, counts
from host_sim.world.i2c import Nack
from host_sim.world.replay import World
from host_sim.world.served import Served, ignore

CHIP_ID = 0x60
RESET_WORD = 0xB6

ID, RESET, CTRL_HUM, STATUS, CTRL_MEAS, CONFIG = 0xD0, 0xE0, 0xF2, 0xF3, 0xF4, 0xF5
TRIM_LOW, TRIM_HIGH = 0x88, 0xE1
PRESS, TEMP, HUM, DATA_END = 0xF7, 0xFA, 0xFD, 0xFF  # the last byte of data is FEh

MEASURING, IM_UPDATE = 0x08, 0x01

STARTUP_MS = 2.0  # until the first communication, section 1.1 table 1, maximum
# The data sheet gives no time for copying the NVM, only the flag im_update (5.4.4): a driver has to look
# at it.
NVM_COPIED_MS = 3.0

SKIPPED, SKIPPED_HUM = 0x80000, 0x8000  # output of a skipped measurement (5.4.3, 5.4.5), and before the first
OVERSAMPLING = (0, 1, 2, 4, 8, 16, 16, 16)
FILTER = (1, 2, 4, 8, 16, 16, 16, 16)  # coefficient (5.4.6)
STANDBY_MS = (0.5, 62.5, 125.0, 250.0, 500.0, 1000.0, 10.0, 20.0)  # t_sb (5.4.6)

# RMS noise by osrs code with the filter off (section 3.6): degC, Pa, %RH.
TEMP_NOISE = (0.0, 0.005, 0.004, 0.003, 0.003, 0.002, 0.002, 0.002)
PRESS_NOISE = (0.0, 3.3, 2.6, 2.1, 1.6, 1.3, 1.3, 1.3)
HUM_NOISE = (0.0, 0.07, 0.05, 0.04, 0.03, 0.02, 0.02, 0.02)

SLEEP, FORCED, NORMAL = 0, 1, 3

# In normal mode unobserved cycles are not computed, but for those that the filter still remembers: after
# 64 cycles at coefficient 16 an older one weighs (15/16)**64 < 2 %.
FILTER_HISTORY = 64


def measurement_ms(osrs_t: int, osrs_p: int, osrs_h: int) -> float:
    """Return the longest measurement time in ms for these osrs codes (section 9.1)."""
    t, p, h = OVERSAMPLING[osrs_t], OVERSAMPLING[osrs_p], OVERSAMPLING[osrs_h]
    return 1.25 + 2.3 * t + (2.3 * p + 0.575 if p else 0.0) + (2.3 * h + 0.575 if h else 0.0)


def quantise(adc: int, osrs: int) -> int:
    """Round a 20-bit count to the resolution at this oversampling code, 16 + (osrs - 1) bits (3.4.2, 3.4.3).

    The count 80000h is stepped over: whether the chip ever puts it out for a measured value is not
    documented, and a driver has to take it for a skipped measurement.
    """
    step = 1 << max(5 - osrs, 0)
    adc = min((adc + step // 2) // step * step, 0x100000 - step)
    return adc + step if adc == SKIPPED else adc


class Bme280:
    """One device on an I2C bus; the bus knows the address (76h or 77h), the device does not.

    Without power until `power_on`. Setting `absent` makes every transfer raise Nack and leaves the state
    alone, as a loose wire does. All times are true simulated Unix milliseconds and must not run
    backwards.

    A conversion samples the world when it starts. Each of its channels is reported to `served` once: when
    all data registers of the channel have been read in one burst while they hold that conversion, with
    the starting time and the compensated value of the very counts in the registers: "temperature" 0.01
    degC, "humidity" 0.01 %RH (exponent -2), "pressure" Pa (exponent 0). A channel never read, or skipped,
    was not served; pressure and humidity without a temperature cannot be compensated by any driver and
    are not served either.
    """

    def __init__(self, world: World, site: str, seed: int, *, name: str = "bme280", served: Served = ignore) -> None:
        self._world = world
        self._site = site
        self._name = name
        self._served = served
        self._key = noise.key(seed, site, name, "bme280")
        self.trim = Trim.seeded(self._key)
        self._junk = random.Random(self._key).randbytes(256)  # reserved registers: no specific value (5.1)
        self.absent = False
        self.power_off()

    def power_on(self, now_ms: float) -> None:
        """Raise the supply (or reset): power-on reset; the device answers after STARTUP_MS."""
        self._ready_ms = now_ms + STARTUP_MS
        self._registers = bytearray(self._junk)
        self._registers[ID] = CHIP_ID
        self._registers[RESET] = 0
        self._registers[TRIM_LOW : TRIM_LOW + 26] = bytes(26)
        self._registers[TRIM_HIGH : TRIM_HIGH + 7] = bytes(7)
        self._registers[CTRL_HUM : CONFIG + 1] = bytes((0, IM_UPDATE, 0, 0))
        self._pointer = 0
        self._mode = SLEEP
        self._osrs_h = 0  # in effect; CTRL_HUM holds what was written
        self._deferred: int | None = None  # a write to CTRL_MEAS that waits for the running measurement
        self._filter_t: int | None = None
        self._filter_p: int | None = None
        self._unread: list[tuple[int, int, str, int, int]] = []
        self._start_ms = now_ms  # of the running or last conversion
        self._latch(SKIPPED, SKIPPED, SKIPPED_HUM)
        self._next = self._nvm_copied
        self._next_ms = now_ms + NVM_COPIED_MS

    def power_off(self) -> None:
        """Take the supply away: registers, filter and unread conversions are gone."""
        self.power_on(inf)

    def transfer(self, now_ms: float, write: bytes, read_length: int) -> bytes:
        """Do one I2C transaction: `write` after the address, then `read_length` bytes after a repeated start.

        Written bytes are pairs of register address and value (6.2.1; no auto-increment); an odd last one
        is the address to read from (6.2.2), which increments over a read and stays for the next. Both may
        be empty (a probe). Returns `read_length` bytes; a burst is of one conversion, whatever its length
        (4.1). Raises Nack.
        """
        if self.absent:
            raise Nack(self._name, "absent")
        if now_ms < self._ready_ms:
            raise Nack(self._name, "without power or starting")
        if now_ms >= self._next_ms:
            self._advance(now_ms)
        if write:
            for i in range(0, len(write) - 1, 2):
                self._write(now_ms, write[i], write[i + 1])
                if now_ms < self._ready_ms:
                    return bytes(read_length)  # reset in mid-transfer: nobody pulls the bus down
            if len(write) & 1:
                self._pointer = write[-1]
        if not read_length:
            return b""
        first, end = self._pointer, self._pointer + read_length
        self._pointer = end & 0xFF
        if self._unread and first < DATA_END and end > PRESS:
            self._report(first, end)
        if end <= 0x100:
            return bytes(self._registers[first:end])
        return bytes(self._registers[i & 0xFF] for i in range(first, end))

    def _write(self, now_ms: float, register: int, value: int) -> None:
        if register == RESET:
            if value == RESET_WORD:  # the complete power-on reset (5.4.2)
                self.power_on(now_ms)
        elif self._registers[STATUS] & IM_UPDATE:
            pass  # the chip's answer is not documented; the harsher reading: settings are lost
        elif register == CTRL_HUM:
            if self._deferred is None:  # else ignored (3.3.1)
                self._registers[CTRL_HUM] = value & 0x07
        elif register == CTRL_MEAS:
            if not self._registers[STATUS] & MEASURING:
                self._control(now_ms, value)
            elif self._deferred is None:  # further commands are ignored (3.3.1)
                self._deferred = value
        elif register == CONFIG and self._mode == SLEEP:  # "may be ignored" in the other modes (5.4.6)
            self._registers[CONFIG] = value & 0xFD
            self._filter_t = self._filter_p = None  # 3.4.4: writing resets the filter

    def _control(self, now_ms: float, value: int) -> None:
        """Carry out a write to CTRL_MEAS; ctrl_hum takes effect now (5.4.3)."""
        self._registers[CTRL_MEAS] = value
        self._osrs_h = self._registers[CTRL_HUM]
        self._mode = (SLEEP, FORCED, FORCED, NORMAL)[value & 3]
        self._next_ms = inf
        if self._mode != SLEEP:
            self._begin(now_ms)

    def _advance(self, now_ms: float) -> None:
        if self._mode == NORMAL and self._deferred is None:
            setting = self._registers[CONFIG]
            cycle = self._measurement_ms() + STANDBY_MS[setting >> 5]
            history = FILTER_HISTORY if FILTER[setting >> 2 & 7] > 1 else 1
            behind = (now_ms - self._next_ms) // cycle - history
            if behind > 0:
                self._start_ms += behind * cycle
                self._next_ms += behind * cycle
        while now_ms >= self._next_ms:
            self._next()

    def _nvm_copied(self) -> None:
        low, high = self.trim.nvm()
        self._registers[TRIM_LOW : TRIM_LOW + 26] = low
        self._registers[TRIM_HIGH : TRIM_HIGH + 7] = high
        self._registers[STATUS] = 0
        self._next_ms = inf

    def _measurement_ms(self) -> float:
        control = self._registers[CTRL_MEAS]
        return measurement_ms(control >> 5, control >> 2 & 7, self._osrs_h)

    def _begin(self, now_ms: float) -> None:
        self._start_ms = now_ms
        self._registers[STATUS] = MEASURING
        self._next = self._end
        self._next_ms = now_ms + self._measurement_ms()

    def _end(self) -> None:
        """End a measurement: latch its results, then do what mode and deferred command want."""
        end_ms = self._next_ms
        self._registers[STATUS] = 0
        self._convert()
        deferred, self._deferred = self._deferred, None
        if self._mode == FORCED:
            self._mode = SLEEP
            self._registers[CTRL_MEAS] &= 0xFC
        if deferred is not None:
            self._control(end_ms, deferred)
        elif self._mode == NORMAL:
            self._next = self._standby_over
            self._next_ms = end_ms + STANDBY_MS[self._registers[CONFIG] >> 5]
        else:
            self._next_ms = inf

    def _standby_over(self) -> None:
        self._begin(self._next_ms)

    def _convert(self) -> None:
        """Sample the world at the start of this conversion and put counts and values in place."""
        control, trim = self._registers[CTRL_MEAS], self.trim
        osrs_t, osrs_p, osrs_h = control >> 5, control >> 2 & 7, self._osrs_h
        coefficient = FILTER[self._registers[CONFIG] >> 2 & 7]
        adc_t, adc_p, adc_h = SKIPPED, SKIPPED, SKIPPED_HUM
        self._unread = []

        degrees = self._sample("temperature", 0, TEMP_NOISE[osrs_t])
        t_fine = int(degrees * 5120.0)  # what the cell feels; replaced below unless T is skipped
        if osrs_t:
            adc_t = quantise(counts(trim.temperature, degrees, 20), osrs_t)
            adc_t = self._filter_t = self._filtered(self._filter_t, adc_t, coefficient)
            t_fine = trim.t_fine(adc_t)
            self._unread.append((TEMP, TEMP + 3, "temperature", round(trim.temperature(adc_t) * 100), -2))
        if osrs_h:
            curve = trim.humidity(t_fine)
            adc_h = counts(curve, self._sample("humidity", 1, HUM_NOISE[osrs_h]), 16)
            adc_h += adc_h == SKIPPED_HUM  # as in quantise()
            if osrs_t:
                percent = min(max(curve(adc_h), 0.0), 100.0)
                self._unread.append((HUM, HUM + 2, "humidity", round(percent * 100), -2))
        if osrs_p:
            curve = trim.pressure(t_fine)
            pascal = self._sample("pressure", 2, PRESS_NOISE[osrs_p])
            adc_p = quantise(counts(curve, pascal, 20, falling=True), osrs_p)
            adc_p = self._filter_p = self._filtered(self._filter_p, adc_p, coefficient)
            if osrs_t:
                self._unread.append((PRESS, PRESS + 3, "pressure", round(curve(adc_p)), 0))
        self._latch(adc_p, adc_t, adc_h)

    def _sample(self, quantity: str, channel: int, rms: float) -> float:
        """Return the quantity at the start of the conversion with RMS noise; `channel` is 0..3."""
        value = self._world.value(quantity, self._start_ms, self._site)
        return value + rms * noise.gauss(self._key, int(self._start_ms * 1000) * 4 + channel)

    @staticmethod
    def _filtered(memory: int | None, adc: int, coefficient: int) -> int:
        """Return the new filter memory, which is the output, at 20 bits (3.4.4)."""
        if memory is None or coefficient == 1:
            return adc
        output = (memory * (coefficient - 1) + adc) // coefficient
        return output + 1 if output == SKIPPED else output

    def _latch(self, adc_p: int, adc_t: int, adc_h: int) -> None:
        data = adc_p << 44 | adc_t << 20 | adc_h  # F7h..FEh, big-endian, the 20-bit counts left-aligned in 24
        self._registers[PRESS:DATA_END] = data.to_bytes(8, "big")

    def _report(self, first: int, end: int) -> None:
        """Report the channels whose registers lie in [first, end) and have not been reported."""
        rest = []
        for entry in self._unread:
            begin, stop, channel, value, exponent = entry
            if first <= begin and stop <= end:
                self._served(int(self._start_ms), self._name, channel, value, exponent)
            else:
                rest.append(entry)
        self._unread = rest
