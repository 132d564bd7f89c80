"""The analog sensor: linear where the ADC is good, saturated at both ends, served as read."""

from statistics import mean, pstdev

from host_sim.world import AnalogSensor, World

START = 1_767_250_800_000


class Light(World):
    """A world of one constant irradiance, W/m2."""

    def __init__(self, irradiance: float) -> None:
        super().__init__(1, START)
        self.irradiance = irradiance

    def value(self, quantity: str, t_ms: float, site: str) -> float:
        assert quantity == "irradiance"
        return self.irradiance


def reads(irradiance: float, seed: int, n: int = 400) -> list[int]:
    sensor = AnalogSensor(Light(irradiance), "a", seed)
    return [sensor.read_uv(START + 1000 * i) for i in range(n)]


def test_mean_is_within_the_total_error_of_the_adc_and_noise_is_as_stated():
    errors = []
    for seed in range(12):
        for irradiance in (100.0, 600.0, 1200.0):
            uv = reads(irradiance, seed)
            errors.append(mean(uv) - irradiance * 2000)
            assert abs(errors[-1]) <= 60_000
            assert 4_300 <= pstdev(uv) <= 5_700
    assert max(errors) > 15_000 and min(errors) < -15_000  # chips differ: never kinder than the real one


def test_dark_reads_the_floor_and_overload_the_top():
    assert set(reads(-3.0, 1)) | set(reads(0.0, 5)) == {142_000}
    assert set(reads(1650.0, 1)) == {3_130_000}


def test_steps_are_whole_millivolts_of_a_12_bit_count():
    uv = [x for irradiance in range(60, 1240, 20) for x in reads(irradiance, 2, 40)]
    assert all(x % 1000 == 0 and 142_000 <= x <= 3_130_000 for x in uv)


def test_read_u16_repeats_the_top_bits():
    bright, dark = AnalogSensor(Light(1650.0), "a", 1), AnalogSensor(Light(0.0), "a", 1)
    assert (bright.read_u16(START), dark.read_u16(START)) == (65535, 0)
    sensor = AnalogSensor(Light(600.0), "a", 1)
    for i in range(50):
        value = sensor.read_u16(START + i)
        assert value & 0xF == value >> 12


def test_every_read_is_served_once_as_read():
    log = []
    sensor = AnalogSensor(World(4, START), "a", 4, name="light", served=lambda *row: log.append(row))
    noon = START + 12 * 3_600_000
    uv = [sensor.read_uv(noon + 0.25), sensor.read_uv(noon + 0.25), sensor.read_uv(noon + 60_000)]
    assert log == [
        (noon, "light", "voltage", uv[0] // 1000, -3),
        (noon, "light", "voltage", uv[1] // 1000, -3),
        (noon + 60_000, "light", "voltage", uv[2] // 1000, -3),
    ]
    assert len(set(uv)) == 3  # noise differs between two reads at one time


def test_same_seed_same_reads_whatever_was_read_before():
    one, other = AnalogSensor(World(4, START), "a", 4), AnalogSensor(World(4, START), "a", 4)
    noon = START + 12 * 3_600_000
    one.read_uv(noon - 5000)
    assert one.read_uv(noon) == other.read_uv(noon)
