"""Bosch BME280: temperature, humidity and pressure over I2C.

Section numbers are those of the datasheet BST-BME280-DS002, revision 1.6. Every measurement is a forced one
with oversampling x1 and no filter (3.5.1, "weather monitoring"); in between the chip sleeps.

The compensation is the double precision one of appendix A (8.1), rearranged for integers: each product stays
within a board's small int (2^30) for any reading within the operating range. Against that formula a result
is off by less than 1 of its units (0.01 degC, 0.01 %RH, 1 Pa).
"""

import struct

from micropython import const

from . import SensorError

_CALIB00 = const(0x88)  # 88h..A1h: T1..T3, P1..P9, a reserved byte, H1 (4.2.2, table 16)
_CALIB26 = const(0xE1)  # E1h..E7h: H2..H6
_ID = const(0xD0)
_CTRL_HUM = const(0xF2)
_CTRL_MEAS = const(0xF4)

_CHIP_ID = const(0x60)  # 5.4.1
_HUM_X1 = const(0x01)  # 5.4.3
_TEMP_PRESS_X1 = const(0x24)  # 5.4.5: osrs_t and osrs_p x1
_FORCED = const(0x01)  # 5.4.5: mode[1:0]
_BUSY = const(0x09)  # 5.4.4: measuring, im_update

# 9.1: 1.25 + 2.3 + (2.3 + 0.575) + (2.3 + 0.575) = 9.3 ms at most; a wait of n ticks may last only n - 1 ms.
_MEASURE_MS = const(11)


def _scale(a, b, shift):
    """floor(a * b / 2^shift), exactly, by two products in place of one that would not fit."""
    return (a >> shift) * b + ((a & ((1 << shift) - 1)) * b >> shift)


class Driver:
    """One BME280. `port` has machine.I2C's `writeto_mem` and `readfrom_mem_into` (addr, reg, buf).

    The chip is identified and its calibration read at the first `start`, and again after any failure: it may
    have been without power, or be another one.
    """

    BUS = "i2c"
    ADDRESSES = (0x76, 0x77)  # 6.2: SDO low, high
    CHANNELS = (("temperature", "degC", -2), ("humidity", "%RH", -2), ("pressure", "Pa", 0))

    def __init__(self, port, address):
        self._port = port
        self._address = address
        self._byte = bytearray(1)
        self._data = bytearray(13)  # F2h..FEh
        self._calibration = None
        self._started = False

    def start(self, now):
        """Start one measurement -> ms until `collect` may be called. `now` is not needed.

        Raises OSError (no answer) or SensorError (another chip).
        """
        self._started = False
        try:
            if self._calibration is None:
                self._identify()
            # 5.4.3: ctrl_hum takes effect with the write of ctrl_meas.
            self._write(_CTRL_HUM, _HUM_X1)
            self._write(_CTRL_MEAS, _TEMP_PRESS_X1 | _FORCED)
        except (OSError, SensorError):
            self._calibration = None
            raise
        self._started = True
        return _MEASURE_MS

    def collect(self, out, offset):
        """Write 0.01 degC, 0.01 %RH and Pa to out[offset : offset + 3], or nothing at all.

        Each `start` gives one `collect`. Raises OSError (no answer) or SensorError (no measurement, or one
        outside the operating range, 1.3 and 1.4: -40..85 degC, 300..1100 hPa).
        """
        if not self._started:
            raise SensorError("bme280 %02xh: collect without start" % self._address)
        self._started = False
        try:
            temperature, humidity, pressure = self._measurement()
        except (OSError, SensorError):
            self._calibration = None
            raise
        out[offset] = temperature
        out[offset + 1] = humidity
        out[offset + 2] = pressure

    def _write(self, register, value):
        self._byte[0] = value
        self._port.writeto_mem(self._address, register, self._byte)

    def _identify(self):
        self._port.readfrom_mem_into(self._address, _ID, self._byte)
        if self._byte[0] != _CHIP_ID:
            raise SensorError("bme280 %02xh: chip id %02xh, not 60h" % (self._address, self._byte[0]))
        low = bytearray(26)
        high = bytearray(7)
        self._port.readfrom_mem_into(self._address, _CALIB00, low)
        self._port.readfrom_mem_into(self._address, _CALIB26, high)
        h2, h3, h4, h5h4, h5, h6 = struct.unpack("<hBbBbb", high)
        # H4 and H5 are 12 bits, signed, and share the byte E5h (table 16).
        self._calibration = struct.unpack("<HhhHhhhhhhhhxB", low) + (
            h2, h3, (h4 << 4) | (h5h4 & 15), (h5 << 4) | (h5h4 >> 4), h6,
        )  # fmt: skip

    def _measurement(self):
        """-> (0.01 degC, 0.01 %RH, Pa) of the measurement just made."""
        d = self._data
        self._port.readfrom_mem_into(self._address, _CTRL_HUM, d)
        if d[1] & _BUSY:
            raise SensorError("bme280 %02xh: status %02xh, still measuring" % (self._address, d[1]))
        adc_p = d[5] << 12 | d[6] << 4 | d[7] >> 4
        adc_t = d[8] << 12 | d[9] << 4 | d[10] >> 4
        adc_h = d[11] << 8 | d[12]
        # What is skipped or not yet measured reads 80000h or 8000h (5.4.3, 5.4.5, 5.4.7..9). Those are
        # ordinary readings too (80000h is some 26 degC), so one of them proves nothing. Nothing was skipped
        # if the oversampling stands as we wrote it, and a chip that has not measured holds all three.
        unmeasured = adc_p == adc_t == 0x80000 and adc_h == 0x8000
        if unmeasured or d[0] & 7 != _HUM_X1 or d[2] & 0xFC != _TEMP_PRESS_X1:
            raise SensorError("bme280 %02xh: not measured, the chip was reset" % self._address)
        t_fine = self._t_fine(adc_t)
        temperature = (t_fine * 5 + 128) >> 8
        if not -4000 <= temperature <= 8500:
            raise SensorError("bme280 %02xh: %d x 0.01 degC is no temperature" % (self._address, temperature))
        pressure = self._pressure(adc_p, t_fine)
        if not 30000 <= pressure <= 110000:
            raise SensorError("bme280 %02xh: %d Pa is no pressure" % (self._address, pressure))
        return temperature, self._humidity(adc_h, t_fine), pressure

    def _t_fine(self, adc):
        """-> temperature in 1/5120 degC. The formula's adc / 16384 - T1 / 1024 is x / 2^14 here."""
        t1, t2, t3 = self._calibration[:3]
        x = adc - (t1 << 4)
        square = x >> 4
        return _scale(x, t2, 14) + _scale(square * square >> 12, t3, 14)

    def _pressure(self, adc, t_fine):
        """-> Pa. Raises SensorError if the calibration makes the divisor nothing or less."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self._calibration[3:12]
        v = (t_fine >> 1) - 64000
        vv = _scale(v, v, 12)
        # 64 times the formula's divisor and dividend.
        divisor = (p1 << 6) + _scale(_scale(v, p2, 14) + (_scale(vv, p3, 14) >> 7), p1, 14)
        if divisor <= 0:
            raise SensorError("bme280 %02xh: calibration is no pressure calibration" % self._address)
        rest = ((1048576 - adc) << 6) - _scale(vv, p6, 11) - _scale(v, p5, 7) - (p4 << 10)
        # rest / divisor x 6250 Pa x 8, by long division in mixed radix: 40 x 50 x 25 = 50000.
        p = 0
        for radix in (1, 40, 50, 25):
            rest *= radix
            p = p * radix + rest // divisor
            rest %= divisor
        whole = p >> 3
        correction = (_scale(_scale(whole, whole, 12), p9, 14) >> 5) + (_scale(p, p8, 14) >> 4) + p7
        return (p + (correction >> 1) + 4) >> 3

    def _humidity(self, adc, t_fine):
        """-> 0.01 %RH, 0..10000: the formula itself ends in these bounds."""
        h1, h2, h3, h4, h5, h6 = self._calibration[12:]
        v = t_fine - 76800
        offset = ((adc - (h4 << 6)) << 4) - _scale(v, h5, 10)  # 16 times the formula's
        h = _scale(offset, h2, 10)  # from here in 1/1024 %RH
        slope = _scale(h6 * v >> 6, 16384 + (h3 * v >> 12), 14)  # in 2^-20
        h += _scale(slope, h, 12) >> 8
        h -= _scale(_scale(h, h, 10), h1, 14) >> 5
        return min(max((h * 100 + 512) >> 10, 0), 10000)
