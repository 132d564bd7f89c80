# heap: 256K
"""The drivers against the datasheet's formulas and against a small I2C device with the chip's registers."""

import random
from array import array

from bme280chip import ADDRESS, RAW, TYPICAL, FakeBme280, calibration, reference
from drivers import SensorError, analog, bme280


def rejected(call, *args):
    """-> the class of the error, with the message checked to name the sensor."""
    try:
        call(*args)
    except SensorError as e:
        assert "bme280 76h" in str(e), e
        return SensorError
    except OSError:
        return OSError
    return None


def test_arithmetic_agrees_with_the_datasheet_within_one_unit():
    random.seed(280)
    out = array("i", [0] * 3)
    compared = 0
    for _ in range(3000):
        cal = calibration()
        raw = (random.randint(0, 0xFFFFF) & ~15, random.randint(0, 0xFFFFF) & ~15, random.randint(0, 0xFFFF))
        t, h, p = reference(cal, *raw)
        if not (-39.99 < t < 84.99 and p is not None and 30001 < p < 109999):
            continue
        compared += 1
        driver = bme280.Driver(FakeBme280(cal, raw), ADDRESS)
        driver.start(0)
        driver.collect(out, 0)
        assert abs(out[0] - t * 100) <= 1, (cal, raw, out, t)
        assert abs(out[1] - h * 100) <= 1, (cal, raw, out, h)
        assert abs(out[2] - p) <= 1, (cal, raw, out, p)
    assert compared > 200, compared


def test_a_wake_takes_six_transactions_and_the_next_reading_three():
    i2c = FakeBme280()
    driver = bme280.Driver(i2c, ADDRESS)
    assert i2c.transactions == 0, "building must not touch the bus"
    out = array("i", [7] * 5)
    assert driver.start(0) >= 10  # 9.3 ms at most, and a tick of grace
    driver.collect(out, 1)
    assert i2c.transactions == 6
    t, h, p = reference(TYPICAL, *RAW)
    assert list(out) == [7, round(t * 100), round(h * 100), round(p), 7], list(out)
    driver.start(0)
    driver.collect(out, 1)
    assert i2c.transactions == 9


def test_no_answer_at_any_transaction_is_oserror_and_the_next_reading_is_whole():
    for n in range(1, 7):
        i2c = FakeBme280()
        i2c.fail_at = n
        driver = bme280.Driver(i2c, ADDRESS)
        out = array("i", [7] * 3)
        failed = rejected(driver.start, 0) or rejected(driver.collect, out, 0)
        assert failed is OSError and list(out) == [7, 7, 7], n
        assert rejected(driver.collect, out, 0) is SensorError, "a stale reading"
        i2c.transactions, i2c.fail_at = 0, None
        driver.start(0)
        driver.collect(out, 0)
        assert i2c.transactions == 6 and out[0] > 0, n  # identified anew


def test_another_chip_after_a_failure_gets_its_own_calibration():
    i2c = FakeBme280()
    driver = bme280.Driver(i2c, ADDRESS)
    out = array("i", [0] * 3)
    driver.start(0)
    driver.collect(out, 0)
    i2c.fail_at = i2c.transactions + 1
    assert rejected(driver.start, 0) is OSError
    other = (27000,) + TYPICAL[1:]
    i2c.cal = other
    i2c.reset()
    driver.start(0)
    driver.collect(out, 0)
    assert abs(out[0] - reference(other, *RAW)[0] * 100) <= 1


def test_a_wrong_chip_is_named():
    i2c = FakeBme280()
    i2c.image[0xD0] = 0x58  # a BMP280, which has no humidity
    driver = bme280.Driver(i2c, ADDRESS)
    assert rejected(driver.start, 0) is SensorError
    i2c.image[0xD0] = 0x60
    driver.start(0)


def test_what_was_not_measured_is_no_reading():
    def busy(i2c):
        i2c.image[0xF3] = 0x08

    def updating(i2c):
        i2c.image[0xF3] = 0x01

    def humidity_skipped(i2c):
        i2c.image[0xF2] = 0
        i2c.image[0xFD], i2c.image[0xFE] = 0x80, 0

    def temperature_skipped(i2c):
        i2c.image[0xF4] = 0x04
        i2c.image[0xFA], i2c.image[0xFB], i2c.image[0xFC] = 0x80, 0, 0

    def never_converted(i2c):
        hum, meas = i2c.image[0xF2], i2c.image[0xF4]
        i2c.reset()
        i2c.image[0xF2], i2c.image[0xF4] = hum, meas

    def all_ones(i2c):
        for i in range(0xF2, 0xFF):
            i2c.image[i] = 0xFF

    skipped = (humidity_skipped, temperature_skipped)
    for fault in (busy, updating, never_converted, FakeBme280.reset, all_ones) + skipped:
        i2c = FakeBme280()
        driver = bme280.Driver(i2c, ADDRESS)
        out = array("i", [7] * 3)
        driver.start(0)
        fault(i2c)
        assert rejected(driver.collect, out, 0) is SensorError, fault
        assert list(out) == [7, 7, 7], fault


def test_a_reading_equal_to_the_reset_value_is_a_reading():
    for raw in ((0x80000,) + RAW[1:], RAW[:2] + (0x8000,)):
        driver = bme280.Driver(FakeBme280(TYPICAL, raw), ADDRESS)
        out = array("i", [0] * 3)
        driver.start(0)
        driver.collect(out, 0)
        t, h, _ = reference(TYPICAL, *raw)
        assert abs(out[0] - t * 100) <= 1 and abs(out[1] - h * 100) <= 1


def test_outside_the_operating_range_is_no_reading():
    t, p, h = RAW
    for raw in ((0xFFFF0, p, h), (0, p, h), (t, 0, h), (t, 0xFFFF0, h)):
        driver = bme280.Driver(FakeBme280(TYPICAL, raw), ADDRESS)
        out = array("i", [7] * 3)
        driver.start(0)
        assert rejected(driver.collect, out, 0) is SensorError, raw
        assert list(out) == [7, 7, 7]
    no_p1 = TYPICAL[:3] + (0,) + TYPICAL[4:]
    driver = bme280.Driver(FakeBme280(no_p1), ADDRESS)
    driver.start(0)
    assert rejected(driver.collect, array("i", [0] * 3), 0) is SensorError


def test_humidity_ends_at_0_and_100_percent():
    out = array("i", [0] * 3)
    for adc_h, end in ((0, 0), (0xFFFF, 10000)):
        driver = bme280.Driver(FakeBme280(TYPICAL, RAW[:2] + (adc_h,)), ADDRESS)
        driver.start(0)
        driver.collect(out, 0)
        assert out[1] == end


def test_analog_rounds_microvolts_to_millivolts():
    class Adc:
        def __init__(self, uv):
            self.uv = uv

        def read_uv(self):
            if self.uv is None:
                raise OSError(5)
            return self.uv

    out = array("i", [7, 7])
    for uv, mv in ((0, 0), (1499, 1), (1500, 2), (3299999, 3300)):
        driver = analog.Driver(Adc(uv))
        assert driver.start(0) == 0
        driver.collect(out, 1)
        assert list(out) == [7, mv]
    try:
        analog.Driver(Adc(None)).collect(out, 0)
        raise AssertionError("a failed conversion must raise")
    except OSError:
        assert out[0] == 7


def test_what_the_schema_and_the_sampler_rely_on():
    for module in (bme280, analog):
        driver = module.Driver
        assert driver.BUS in ("i2c", "adc")
        assert all(len(channel) == 3 and -9 <= channel[2] <= 0 for channel in driver.CHANNELS)
