"""The simulated BME280 as a chip: registers, modes and times of BST-BME280-DS002."""

from statistics import pstdev

import pytest

from host_sim.world import Bme280, Nack, World
from host_sim.world.bme280 import quantise
from host_sim.world.bme280_trim import Trim, counts

START = 1_767_250_800_000
SKIPPED = bytes((0x80, 0, 0, 0x80, 0, 0, 0x80, 0))
X1_MS = 1.25 + 3 * 2.3 + 2 * 0.575


class Sawtooth(World):
    """A world that warms by 0.02 degC/ms, in a sawtooth: a conversion shows the time of its sample."""

    def value(self, quantity: str, t_ms: float, site: str) -> float:
        warm = (t_ms - START) * 0.02 % 60
        return {"temperature": warm, "humidity": 50.0, "pressure": 90_000.0}[quantity]


class Bench:
    """One running device, its clock, and what it served."""

    def __init__(self, seed: int = 1, world: World | None = None) -> None:
        self.log: list[tuple[int, str, str, int, int]] = []
        self.world = world or World(seed, START)
        self.chip = Bme280(self.world, "a", seed, name="air", served=lambda *row: self.log.append(row))
        self.chip.power_on(START)
        self.now = START + 3.0

    def read(self, register: int, n: int = 1) -> bytes:
        return self.chip.transfer(self.now, bytes((register,)), n)

    def write(self, *pairs: int) -> None:
        assert self.chip.transfer(self.now, bytes(pairs), 0) == b""

    def data(self) -> bytes:
        return self.read(0xF7, 8)

    def forced(self, osrs: int = 1, wait: float = 120.0) -> bytes:
        self.write(0xF2, osrs, 0xF4, osrs << 5 | osrs << 2 | 1)
        self.now += wait
        return self.data()


def counts_of(data: bytes) -> tuple[int, int, int]:
    return (
        int.from_bytes(data[0:3], "big") >> 4,
        int.from_bytes(data[3:6], "big") >> 4,
        int.from_bytes(data[6:], "big"),
    )


def test_start_up_is_2_ms_and_trimming_comes_with_im_update():
    chip = Bme280(World(1, START), "a", 1)
    with pytest.raises(Nack):
        chip.transfer(START + 1000, b"", 0)
    chip.power_on(START)
    with pytest.raises(Nack):
        chip.transfer(START + 1.9, b"\xd0", 1)
    assert chip.transfer(START + 2.0, b"\xd0", 1) == b"\x60"
    assert chip.transfer(START + 2.0, b"\xf3", 1) == b"\x01"
    assert chip.transfer(START + 2.0, b"\x88", 24) == bytes(24)
    assert chip.transfer(START + 3.0, b"\xf3", 1) == b"\x00"
    assert chip.transfer(START + 3.0, b"\x88", 24) != bytes(24)
    chip.power_off()
    with pytest.raises(Nack):
        chip.transfer(START + 1000, b"", 0)


def test_reset_state_and_soft_reset():
    bench = Bench()
    assert bench.read(0xF2, 4) == bytes(4)
    assert bench.data() == SKIPPED
    assert bench.forced() != SKIPPED
    bench.write(0xE0, 0x5A)  # any other word does nothing
    assert bench.read(0xF2) == b"\x01"
    bench.write(0xE0, 0xB6, 0xF2, 5)
    with pytest.raises(Nack):
        bench.read(0xD0)
    bench.now += 2.0
    assert bench.read(0xE0) == b"\x00"
    bench.now += 1.0
    assert bench.read(0xF2, 4) == bytes(4)
    assert bench.data() == SKIPPED


def test_absent_naks_and_keeps_its_state():
    bench = Bench()
    data = bench.forced()
    bench.chip.absent = True
    with pytest.raises(Nack):
        bench.read(0xD0)
    bench.chip.absent = False
    assert bench.data() == data


def test_trimming_words_lie_where_table_16_says():
    # Signed 12-bit words that share E5h, one negative, and every other word different.
    trim = Trim(1, -2, 3, 4, -5, 6, -7, 8, -9, 10, -11, 12, 0x4B, 0x016A, 5, 0x13C, -17, 30)
    low, high = trim.nvm()
    assert low == bytes.fromhex("0100 feff 0300 0400 fbff 0600 f9ff 0800 f7ff 0a00 f5ff 0c00 00 4b")
    assert high == bytes.fromhex("6a01 05 13 fc fe 1e")
    bench = Bench(seed=9)
    low, high = bench.chip.trim.nvm()
    assert bench.read(0x88, 26) == low and bench.read(0xE1, 7) == high


def test_devices_differ_and_are_reproducible():
    trims = {Bme280(World(seed, START), site, seed).trim for seed in (1, 2) for site in "ab"}
    assert len(trims) == 4
    assert Bme280(World(2, START), "b", 2).trim in trims


@pytest.mark.parametrize("osrs", [1, 2, 3, 4, 5])
def test_old_data_until_the_longest_measurement_time_has_passed(osrs):
    bench = Bench()
    old = bench.forced()
    times = {1: 1, 2: 2, 3: 4, 4: 8, 5: 16}[osrs]
    longest = 1.25 + 2.3 * times + 2 * (2.3 * times + 0.575)  # section 9.1, maximum
    bench.now += 3_600_000
    bench.write(0xF2, osrs, 0xF4, osrs << 5 | osrs << 2 | 1)
    bench.now += longest - 0.01
    assert bench.read(0xF3) == b"\x08"
    assert bench.data() == old
    bench.now += 0.02
    assert bench.read(0xF3, 2) == bytes((0, osrs << 5 | osrs << 2))  # asleep again
    assert bench.data() != old


def test_forced_mode_measures_once():
    bench = Bench()
    data = bench.forced()
    bench.now += 3_600_000
    assert bench.data() == data
    assert bench.forced() != data


def test_ctrl_hum_takes_effect_with_ctrl_meas():
    bench = Bench()
    bench.write(0xF4, 0x25)
    bench.now += 1.0
    bench.write(0xF2, 1)  # too late for the running measurement
    bench.now += 100.0
    assert bench.read(0xFD, 2) == b"\x80\x00"
    bench.write(0xF4, 0x25)
    bench.now += 100.0
    assert bench.read(0xFD, 2) != b"\x80\x00"


def test_skipped_channels_read_8000_and_are_not_served():
    bench = Bench()
    bench.write(0xF2, 0, 0xF4, 0x21)
    bench.now += 100.0
    data = bench.data()
    assert data[:3] == SKIPPED[:3] and data[3:6] != SKIPPED[3:6] and data[6:] == SKIPPED[6:]
    assert [row[2] for row in bench.log] == ["temperature"]
    bench.write(0xF2, 1, 0xF4, 0x05)  # pressure and humidity without temperature
    bench.now += 100.0
    data = bench.data()
    assert data[3:6] == SKIPPED[3:6] and data[:3] != SKIPPED[:3] and data[6:] != SKIPPED[6:]
    assert len(bench.log) == 1


def test_normal_mode_cycles_with_standby_and_samples_at_the_start_of_a_cycle():
    bench = Bench(world=Sawtooth(1, START))
    bench.write(0xF5, 1 << 5)  # 62.5 ms
    bench.write(0xF2, 1, 0xF4, 0x27)
    began, cycle = bench.now, X1_MS + 62.5
    for n in (0, 1, 2, 50, 10_000):
        bench.now = began + n * cycle + X1_MS + 0.01
        bench.log.clear()
        bench.data()
        assert [row[0] for row in bench.log] == [int(began + n * cycle)] * 3
        assert bench.log[0][3] == pytest.approx((began + n * cycle - START) * 2 % 6000, abs=4)
        assert bench.read(0xF3) == b"\x00"
        bench.now = began + (n + 1) * cycle + 0.01
        assert bench.read(0xF3) == b"\x08"
    bench.write(0xF5, 0)  # ignored: not asleep
    assert bench.read(0xF5) == bytes((1 << 5,))


def test_commands_during_a_measurement_are_deferred_once():
    bench = Bench()
    bench.write(0xF2, 1, 0xF4, 0x25)
    bench.now += 1.0
    bench.write(0xF4, 0x49)  # deferred: x2 temperature and pressure, forced
    bench.write(0xF4, 0x00)  # ignored
    bench.write(0xF2, 5)  # ignored
    assert bench.read(0xF2, 3) == bytes((1, 8, 0x25))
    bench.now += X1_MS
    assert bench.read(0xF2, 3) == bytes((1, 8, 0x49))
    bench.now += 100.0
    assert bench.read(0xF2, 3) == bytes((1, 0, 0x48))


def test_filter_follows_its_formula_and_writing_config_resets_it():
    bench = Bench(world=Sawtooth(1, START))
    bench.write(0xF5, 2 << 2)  # coefficient 4
    trim = bench.chip.trim
    _, first, _ = counts_of(bench.forced(5))
    bench.now += 2000
    started = bench.now
    _, second, _ = counts_of(bench.forced(5))
    # Noise of 0.002 degC is about 6 counts.
    unfiltered = counts(trim.temperature, bench.world.value("temperature", started, "a"), 20)
    assert second == pytest.approx((3 * first + unfiltered) / 4, abs=30)
    bench.write(0xF5, 2 << 2)
    started = bench.now
    _, third, _ = counts_of(bench.forced(5))
    unfiltered = counts(trim.temperature, bench.world.value("temperature", started, "a"), 20)
    assert third == pytest.approx(unfiltered, abs=30)


@pytest.mark.parametrize("osrs", [1, 2, 3, 4, 5])
def test_resolution_is_16_bits_and_one_for_each_doubling(osrs):
    bench = Bench(seed=6)
    seen = 0
    for _ in range(60):
        bench.now += 60_000
        p, t, _ = counts_of(bench.forced(osrs))
        seen |= p | t
    unused = 5 - osrs
    assert seen & ((1 << unused) - 1) == 0
    assert seen & (1 << unused)


@pytest.mark.parametrize("osrs", [1, 2, 3, 4, 5])
def test_counts_round_saturate_and_step_over_the_skipped_code(osrs):
    step = 1 << (5 - osrs)
    assert quantise(0x80000, osrs) == 0x80000 + step
    assert quantise(0x7FFFF, osrs) == (0x7FFFF if osrs == 5 else 0x80000 + step)
    assert quantise(0xFFFFF, osrs) == 0x100000 - step
    assert quantise(0x40000 + step // 2, osrs) == 0x40000 + (step if osrs < 5 else 0)
    assert quantise(0, osrs) == 0


def test_humidity_steps_over_the_skipped_code():
    class At8000(World):
        def value(self, quantity: str, t_ms: float, site: str) -> float:
            trim = bench.chip.trim
            fine = trim.t_fine(counts(trim.temperature, 20.0, 20))
            return {"temperature": 20.0, "humidity": trim.humidity(fine)(0x8000), "pressure": 9e4}[quantity]

    bench = Bench()
    bench.chip = Bme280(At8000(1, START), "a", 1)
    bench.chip.power_on(START)
    seen = set()
    for _ in range(300):
        bench.now += 1000
        seen.add(counts_of(bench.forced())[2])
    assert 0x8000 not in seen and {0x7FFF, 0x8001} <= seen


def test_a_power_cut_forgets_the_conversion():
    bench = Bench()
    bench.write(0xF2, 1, 0xF4, 0x25)
    bench.now += 100.0
    assert bench.read(0xF3) == b"\x00"  # done, in the registers, not read
    bench.chip.power_off()
    bench.chip.power_on(bench.now)
    bench.now += 5.0
    assert bench.data() == SKIPPED and bench.read(0xF2) == b"\x00" and bench.log == []


def test_noise_is_as_the_data_sheet_says():
    class Still(World):
        def value(self, quantity: str, t_ms: float, site: str) -> float:
            return {"temperature": 20.0, "humidity": 50.0, "pressure": 90_000.0}[quantity]

    bench = Bench(world=Still(1, START))
    trim = bench.chip.trim
    errors: tuple[list[float], ...] = ([], [], [])
    for _ in range(600):
        bench.now += 1000
        p, t, h = counts_of(bench.forced(5))
        fine = trim.t_fine(t)
        errors[0].append(trim.temperature(t) - 20.0)
        errors[1].append(trim.humidity(fine)(h) - 50.0)
        errors[2].append(trim.pressure(fine)(p) - 90_000.0)
    for error, rms in zip(errors, (0.002, 0.02, 1.3), strict=True):  # section 3.6, oversampling x16
        assert pstdev(error) == pytest.approx(rms, rel=0.12)


def test_whole_operating_range_is_measured_within_resolution():
    for key in range(60):
        trim = Trim.seeded(key)
        for celsius in (-40.0, -15.0, 0.0, 25.0, 60.0, 85.0):
            adc = counts(trim.temperature, celsius, 20)
            assert 0 < adc < 0xFFFFF and trim.temperature(adc) == pytest.approx(celsius, abs=0.0004)
            pressure, humidity = trim.pressure(trim.t_fine(adc)), trim.humidity(trim.t_fine(adc))
            for pascal in (30_000.0, 81_000.0, 110_000.0):
                adc = counts(pressure, pascal, 20, falling=True)
                assert 0 < adc < 0xFFFFF and pressure(adc) == pytest.approx(pascal, abs=0.25)
            for percent in (0.0, 50.0, 100.0):
                adc = counts(humidity, percent, 16)
                assert 0 < adc < 0xFFFF and humidity(adc) == pytest.approx(percent, abs=0.008)


def test_served_once_and_only_when_a_channel_was_read_in_one_burst():
    bench = Bench()
    started = int(bench.now)
    bench.write(0xF2, 1, 0xF4, 0x25)
    bench.now += 100.0
    assert bench.log == []
    bench.read(0xF7, 2)
    bench.read(0xF9, 2)
    assert bench.log == []  # no channel complete in one burst
    bench.read(0xFA, 3)
    assert [row[:3] for row in bench.log] == [(started, "air", "temperature")]
    bench.read(0xF3, 12)
    assert sorted(row[2] for row in bench.log) == ["humidity", "pressure", "temperature"]
    assert {row[2]: row[4] for row in bench.log} == {"temperature": -2, "humidity": -2, "pressure": 0}
    bench.data()
    assert len(bench.log) == 3


def test_overwritten_conversion_is_not_served():
    bench = Bench()
    bench.write(0xF2, 1, 0xF4, 0x25)
    bench.now += 60_000
    second = int(bench.now)
    bench.forced()
    assert {row[0] for row in bench.log} == {second}


def test_same_seed_same_samples_whatever_was_measured_before():
    one, other = Bench(seed=5), Bench(seed=5)
    other.now += 500
    other.forced()
    other.log.clear()
    one.now = other.now = START + 60_000
    assert one.forced() == other.forced()
    assert one.log == other.log


def test_address_stays_after_a_read_and_counts_up():
    bench = Bench()
    assert bench.chip.transfer(bench.now, b"\xd0", 0) == b""
    assert bench.chip.transfer(bench.now, b"", 1) == b"\x60"
    data = bench.forced()
    bench.read(0xF7, 3)
    assert bench.chip.transfer(bench.now, b"", 5) == data[3:]
    assert len(bench.read(0xFE, 4)) == 4
