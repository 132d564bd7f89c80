"""A small BME280 for the tests: its registers, the datasheet's formulas, random calibrations.

Knows nothing of the driver. Runs in the VM and on the host.
"""

import random

ADDRESS = 0x76
# T1..T3, P1..P9, H1..H6 and (temperature, pressure, humidity) counts of an ordinary chip in an ordinary room.
TYPICAL = (28000, 26500, 50, 36500, -10600, 3024, 7500, 40, -7, 9900, -10230, 4285, 75, 370, 0, 315, 50, 30)
RAW = (519888, 415148, 30000)


def reference(cal, adc_t, adc_p, adc_h):
    """Datasheet, appendix A (8.1), double precision -> degC, %RH, Pa (None if the divisor is zero)."""
    t1, t2, t3, p1, p2, p3, p4, p5, p6, p7, p8, p9, h1, h2, h3, h4, h5, h6 = cal
    a = (adc_t / 16384 - t1 / 1024) * t2
    b = (adc_t / 131072 - t1 / 8192) ** 2 * t3
    t_fine = int(a + b)
    temperature = (a + b) / 5120

    a = t_fine / 2 - 64000
    b = a * a * p6 / 32768 + a * p5 * 2
    b = b / 4 + p4 * 65536
    a = (p3 * a * a / 524288 + p2 * a) / 524288
    a = (1 + a / 32768) * p1
    pressure = None
    if a != 0:
        p = (1048576 - adc_p - b / 4096) * 6250 / a
        pressure = p + (p9 * p * p / 2147483648 + p * p8 / 32768 + p7) / 16

    h = t_fine - 76800
    slope = h2 / 65536 * (1 + h6 / 67108864 * h * (1 + h3 / 67108864 * h))
    h = (adc_h - (h4 * 64 + h5 / 16384 * h)) * slope
    h = h * (1 - h1 * h / 524288)
    return temperature, min(max(h, 0), 100), pressure


def registers(cal, adc_t, adc_p, adc_h):
    """-> {register: byte} of the chip after a conversion with these raw values."""
    image = bytearray(256)
    image[0xD0] = 0x60
    for i in range(12):
        image[0x88 + 2 * i] = cal[i] & 255
        image[0x89 + 2 * i] = cal[i] >> 8 & 255
    h1, h2, h3, h4, h5, h6 = cal[12:]
    image[0xA1] = h1
    image[0xE1] = h2 & 255
    image[0xE2] = h2 >> 8 & 255
    image[0xE3] = h3
    image[0xE4] = h4 >> 4 & 255
    image[0xE5] = (h4 & 15) | (h5 & 15) << 4
    image[0xE6] = h5 >> 4 & 255
    image[0xE7] = h6 & 255
    for at, raw in ((0xF7, adc_p), (0xFA, adc_t)):
        image[at] = raw >> 12
        image[at + 1] = raw >> 4 & 255
        image[at + 2] = raw << 4 & 0xF0
    image[0xFD] = adc_h >> 8
    image[0xFE] = adc_h & 255
    return image


class FakeBme280:
    """machine.I2C's memory methods with one chip behind them, and a count of transactions."""

    def __init__(self, cal=TYPICAL, raw=RAW):
        self.raw = raw
        self.cal = cal
        self.transactions = 0
        self.fail_at = None
        self.skip_humidity = False
        self.reset()

    def reset(self):
        """Power-on: nothing measured."""
        self.image = registers(self.cal, 0x80000, 0x80000, 0x8000)

    def _count(self, address):
        self.transactions += 1
        if address != ADDRESS or self.transactions == self.fail_at:
            raise OSError(19)

    def readfrom_mem_into(self, address, register, buf):
        self._count(address)
        for i in range(len(buf)):
            buf[i] = self.image[register + i]

    def writeto_mem(self, address, register, buf):
        self._count(address)
        assert len(buf) == 1
        self.image[register] = buf[0]
        if register == 0xF4 and buf[0] & 3:
            hum, meas = self.image[0xF2], buf[0] & 0xFC
            self.image[:] = registers(self.cal, *self.raw)
            self.image[0xF2], self.image[0xF4] = hum, meas


def calibration():
    """A random one, spread well beyond what chips have."""
    r = random.randint
    return (
        r(20000, 36000), r(20000, 32767), r(-1500, 1500),
        r(30000, 45000), r(-13000, -8000), r(-6000, 6000), r(-12000, 12000), r(-500, 500), r(-100, 100),
        r(-16000, 16000), r(-16000, 16000), r(-8000, 8000),
        r(0, 120), r(250, 500), r(0, 60), r(100, 500), r(-200, 200), r(-60, 60),
    )  # fmt: skip
