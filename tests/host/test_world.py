"""The replayed record and the log of served values."""

import csv
from datetime import datetime, timedelta

import pytest

from host_sim.world import ServedLog, World
from host_sim.world.replay import DATA, QUANTITIES, fill, recorded

START = 1_767_250_800_000  # Unix ms
MINUTE = 60_000
DAY = 1440 * MINUTE


def bare(quantity: str, t_ms: float) -> float:
    """The record without a site's offset, where the quantity has no gain."""
    world = World(3, START)
    offset = world.value(quantity, START, "a") - recorded(quantity)[0]
    return world.value(quantity, t_ms, "a") - offset


def test_record_has_equal_steps_and_the_length_the_documentation_says():
    for name, days, layout in (
        ("weather.csv", 3, "%m/%d/%Y %H:%M"),
        ("irradiance.csv", 1, "%Y-%m-%d %H:%M:%S%z"),
    ):
        with (DATA / name).open(newline="") as file:
            times = [datetime.strptime(row["time"], layout) for row in csv.DictReader(file)]
        steps = {b - a for a, b in zip(times, times[1:], strict=False)}
        quantities = [quantity for quantity in QUANTITIES.values() if quantity.file == name]
        assert steps == {timedelta(milliseconds=quantities[0].step_ms)}
        assert {q.step_ms for q in quantities} == {quantities[0].step_ms}
        assert times[-1] - times[0] + steps.pop() == timedelta(days=days)
        assert (times[0].hour, times[0].minute) == (0, 0)


def test_first_row_is_at_start_and_points_are_joined_by_lines():
    # Rows 0:00 and 0:05 of the excerpt, copied by hand; pressure is recorded in hPa and served in Pa.
    assert recorded("temperature")[:2] == (-6.405254, -6.235752)
    assert recorded("pressure")[:2] == pytest.approx((81838.42, 81858.2))
    assert bare("temperature", START) == pytest.approx(-6.405254)
    assert bare("temperature", START + 5 * MINUTE) == pytest.approx(-6.235752)
    assert bare("temperature", START + 1 * MINUTE) == pytest.approx(-6.405254 + (6.405254 - 6.235752) / 5)


def test_record_starts_over_without_a_jump():
    for quantity, period in (("temperature", 3 * DAY), ("pressure", 3 * DAY), ("irradiance", DAY)):
        world = World(3, START)
        at = [world.value(quantity, START + offset, "a") for offset in (0, MINUTE, 7 * MINUTE)]
        later = [world.value(quantity, START + period + offset, "a") for offset in (0, MINUTE, 7 * MINUTE)]
        assert at == pytest.approx(later)
        before = world.value(quantity, START + period - 1, "a")
        slope = abs(recorded(quantity)[-2] - recorded(quantity)[0]) / QUANTITIES[quantity].step_ms
        assert abs(before - at[0]) <= slope + 1e-6
        assert world.value(quantity, START - period + MINUTE, "a") == pytest.approx(at[1])


def test_gaps_are_bridged_by_lines_over_the_seam_too():
    assert fill([1.0, None, None, 4.0]) == [1.0, 2.0, 3.0, 4.0]
    assert fill([None, 2.0, 6.0, None]) == pytest.approx([10 / 3, 2.0, 6.0, 14 / 3])
    with pytest.raises(ValueError):
        fill([None, None])
    # 23:55 of each day is missing in the record; 23:50 and 0:00 are there.
    day = recorded("temperature")[:288]
    assert day[287] == pytest.approx((day[286] + recorded("temperature")[288]) / 2)


def test_sites_differ_a_little_and_every_value_is_reproducible():
    world, again, other = World(1, START), World(1, START), World(2, START)
    times = [START + n * 37 * MINUTE for n in range(120)]
    for quantity, limit in (("temperature", 2.0), ("humidity", 6.0), ("pressure", 240.0)):
        for t in times:
            a, b = world.value(quantity, t, "a"), world.value(quantity, t, "b")
            assert a != b and abs(a - b) <= limit
            assert again.value(quantity, t, "b") == b
        assert other.value(quantity, START, "a") != world.value(quantity, START, "a")
    noon = START + DAY // 2
    assert 0.85 <= world.value("irradiance", noon, "a") / world.value("irradiance", noon, "b") <= 1 / 0.85
    assert all(0.0 <= world.value("humidity", t, f"site {n}") <= 100.0 for t in times for n in range(9))


def test_unknown_quantity_is_refused():
    with pytest.raises(ValueError, match="'wind'"):
        World(1, START).value("wind", START, "a")


def test_served_log_appends_and_has_one_header(tmp_path):
    path = tmp_path / "served.csv"
    with ServedLog(path) as log:
        log(START, "air", "temperature", -673, -2)
        # Not buffered: a run that is killed now has lost nothing.
        assert path.read_text().splitlines()[1:] == [f"{START},air,temperature,-673,-2"]
    with ServedLog(path) as log:
        log(START + 5, "light", "voltage", 142, -3)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["sensor"], row["channel"], int(row["value"])) for row in rows] == [
        ("air", "temperature", -673),
        ("light", "voltage", 142),
    ]
