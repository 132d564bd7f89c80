"""The ledger against lives of a toy node: a true one balances, and each thing gone wrong convicts."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ledgerkit import History, Written, write_run

from host_sim.ledger import Ledger, RunError, compute
from host_sim.ledger import __main__ as command
from host_sim.ledger.align import Anchors, Reading, align
from host_sim.ledger.run import Segment, Served

START = 1_790_000_000_000 // 60_000 * 60_000 + 7_000
HOUR = 3_600_000


def settle(written: Written) -> Ledger:
    """The ledger of a run as written."""
    return compute(written.folder, lambda _: written.rows, lambda _: written.events)


def quiet_day(hours: int = 2) -> History:
    """A node that boots with its clock set and nothing goes wrong."""
    history = History(1, START)
    history.boot(START)
    history.live(START + hours * HOUR)
    return history


def figures(ledger: Ledger, channel: str = "air.temperature"):
    return ledger.nodes[0].channels[channel]


def test_a_quiet_run_balances(tmp_path: Path):
    ledger = settle(write_run(tmp_path, quiet_day()))
    assert ledger.balanced, ledger.nodes[0].faults
    totals = ledger.totals
    assert totals.due == totals.taken == totals.acknowledged + totals.stored == 4 * 121
    assert totals.stored and totals.acknowledged
    assert ledger.lines()[0].startswith("n-1 due 484 = taken 484 + missed 0; taken = acknowledged 384 + stored 100 + ")
    text = ledger.to_json()
    assert text["nodes"]["n-1"]["channels"]["light.voltage"]["due"] == 121
    assert text["balanced"] is True and text["totals"]["missed"] == {}


def test_rows_in_database_and_image_count_once(tmp_path: Path):
    ledger = settle(write_run(tmp_path, quiet_day(), keep=True))
    assert ledger.balanced and ledger.totals.acknowledged == 384 and ledger.totals.stored == 100, ledger.nodes[0].faults


def change(field: str, by: float) -> Callable[[list[dict[str, Any]]], None]:
    def apply(rows: list[dict[str, Any]]) -> None:
        rows[120][field] += by

    return apply


def swap_times(rows: list[dict[str, Any]]) -> None:
    rows[120]["time_s"], rows[124]["time_s"] = rows[124]["time_s"], rows[120]["time_s"]


def swap_values(rows: list[dict[str, Any]]) -> None:
    rows[120]["value"], rows[200]["value"] = 1, 2


CRIMES = {
    "deleted": lambda rows: rows.pop(120),
    "first deleted": lambda rows: rows.pop(0),
    "last deleted": lambda rows: rows.pop(),
    "frame deleted": lambda rows: rows.__delitem__(slice(64, 128)),
    "added": lambda rows: rows.append({**rows[-1], "journal_seq": 900, "frame_seq": 90}),
    "added with another value": lambda rows: rows.insert(120, {**rows[120], "journal_seq": 901, "value": 7}),
    "duplicated": lambda rows: rows.insert(121, dict(rows[120])),
    "duplicated by another frame": lambda rows: rows.insert(121, {**rows[120], "frame_seq": 99}),
    "value changed": change("value", 5),
    "exponent changed": change("exponent", 1),
    "time changed": change("time_s", 40),
    "time changed by a day": change("time_s", 86_400),
    "two times swapped": swap_times,
    "two values": swap_values,
    "another channel": change("channel_id", 1),
    "no such channel": change("channel_id", 40),
}


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("crime", CRIMES)
def test_a_wrong_database_convicts(tmp_path: Path, crime: str, keep: bool):
    written = write_run(tmp_path, quiet_day(), keep=keep)
    assert settle(written).balanced
    CRIMES[crime](written.rows)
    ledger = settle(written)
    assert not ledger.balanced
    assert ledger.nodes[0].faults
    assert ledger.lines()[-1].endswith("NOT BALANCED")
    doubles = crime.startswith("duplicated") or crime == "another channel"
    assert ledger.totals.duplicates == doubles


@pytest.mark.parametrize(("field", "by"), [("value", 1), ("time_s", 1), ("boot", 1)])
def test_a_database_that_contradicts_the_image_convicts(tmp_path: Path, field: str, by: int):
    """Too little to be seen against what was served; but the frame in the image says otherwise."""
    written = write_run(tmp_path, quiet_day(), keep=True)
    row = next(row for row in written.rows if row["journal_seq"] == 40)
    row[field] += by
    ledger = settle(written)
    assert not ledger.balanced and ledger.totals.unexplained
    assert any("database says" in fault for fault in ledger.nodes[0].faults)


def test_one_deleted_row_of_equal_values_is_named(tmp_path: Path):
    """Values that never change leave the pairing to the times: the finding must name the row that is
    missing."""
    history = quiet_day()
    fields = [line.split(",") for line in history.served]
    history.served = [",".join([*line[:3], "500", line[4]]) for line in fields]
    history.rows = [row._replace(values=dict.fromkeys(row.values, 500)) for row in history.rows]
    written = write_run(tmp_path, history)
    assert settle(written).balanced
    gone = written.rows.pop(120)
    ledger = settle(written)
    [fault] = ledger.nodes[0].faults
    assert int(fault.split("served at ")[1].split()[0]) // 1000 == gone["time_s"]
    assert ledger.totals.unexplained == 1


def test_a_served_reading_that_was_not_appended_convicts(tmp_path: Path):
    history = quiet_day()
    del history.rows[50]
    history.rows = [row._replace(seq=index) for index, row in enumerate(history.rows, 1)]
    ledger = settle(write_run(tmp_path, history))
    assert not ledger.balanced and ledger.totals.unexplained == 4
    assert ledger.totals.due == ledger.totals.taken + 4


def test_a_slot_without_serving_convicts(tmp_path: Path):
    history = History(1, START)
    history.boot(START)
    history.live(START + HOUR)
    history.last_own = history.own() + history.interval
    history.live(START + 2 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert ledger.totals.unexplained == 4 and not ledger.balanced
    assert "was not served" in ledger.nodes[0].faults[0]


@pytest.mark.parametrize("cut", [False, True])
def test_a_node_that_no_longer_reads_convicts(tmp_path: Path, cut: bool):
    history = quiet_day(1)
    history.pass_to(history.now + 5 * 60_000)
    if cut:
        history.boot(history.off(2000))
    ledger = settle(write_run(tmp_path, history))
    assert not ledger.balanced and "was not served" in ledger.nodes[0].faults[0]


def test_sampling_too_often_convicts(tmp_path: Path):
    history = History(1, START)
    history.boot(START)
    history.live(START + HOUR)
    history.now += 17_000
    history.sample()
    history.live(START + 2 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert not ledger.balanced and "ms after the reading before" in ledger.nodes[0].faults[0]


def read_on_command(after_ms: int, told: bool = True) -> History:
    """An hour; a reading `after_ms` later that a command asked for, or `told` by none; another hour."""
    history = History(1, START)
    history.boot(START)
    history.live(START + HOUR)
    history.pass_to(history.last + after_ms)
    own = history.last_own
    history.sample()
    if told:
        result = {"kind": "result", "id": 9, "op": 1, "status": 2, "detail": f"row {len(history.rows)}: 1.0"}
        history.events.append({**result, "boot": 1, "uptime_ms": 0, "time_s": None})
    if after_ms < history.interval:
        history.last_own = own
    history.live(START + 2 * HOUR)
    return history


@pytest.mark.parametrize("after_ms", [2000, 17_000, 30_000, 59_900])
def test_a_reading_on_command_is_due_and_takes_no_slot(tmp_path: Path, after_ms: int):
    ledger = settle(write_run(tmp_path, read_on_command(after_ms)))
    assert ledger.balanced and not ledger.totals.missed, ledger.nodes[0].faults
    slots = ledger.totals.due - 4
    assert slots == settle(write_run(tmp_path / "without", quiet(2 * HOUR))).totals.due


def quiet(for_ms: int) -> History:
    """Nothing happens."""
    history = History(1, START)
    history.boot(START)
    history.live(START + for_ms)
    return history


@pytest.mark.parametrize("detail", ["row 1: 1.0", "row 500: 1.0", "a row", "row 61"])
def test_a_command_excuses_the_row_that_it_names_and_no_other(tmp_path: Path, detail: str):
    history = read_on_command(17_000)
    history.events[-1]["detail"] = detail
    ledger = settle(write_run(tmp_path, history))
    assert not ledger.balanced and "ms after the reading before" in ledger.nodes[0].faults[0]


def test_a_reading_on_command_does_not_stand_for_a_slot(tmp_path: Path):
    history = read_on_command(17_000)
    history.now += 90_000
    history.last_own = history.own()
    history.live(START + 3 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert not ledger.balanced and "was not served" in ledger.nodes[0].faults[0]


def test_a_restart_in_a_waking_for_a_contact_misses_nothing(tmp_path: Path):
    history = quiet(HOUR)
    history.pass_to(history.last + 4000)
    history.log("wake")
    history.boot(history.now + 500)
    history.live(START + 2 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced and not ledger.totals.missed, ledger.nodes[0].faults


@pytest.mark.parametrize("after_ms", [2000, 30_000])
def test_a_reading_on_command_may_be_the_last_of_its_life(tmp_path: Path, after_ms: int):
    history = quiet(HOUR)
    history.pass_to(history.last + after_ms)
    history.sample()
    result = {"kind": "result", "id": 9, "op": 1, "status": 2, "detail": f"row {len(history.rows)}: 1.0"}
    history.events.append({**result, "boot": 1, "uptime_ms": 0, "time_s": None})
    history.pass_to(history.now + 4000)
    history.log("wake")
    history.boot(history.now + 500)
    history.live(START + 2 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced and not ledger.totals.missed, ledger.nodes[0].faults


def test_a_wrong_interval_convicts(tmp_path: Path):
    history = History(1, START, interval=90)
    history.boot(START)
    history.live(START + 2 * HOUR)
    history.interval = 60_000
    assert not settle(write_run(tmp_path, history)).balanced


def test_readings_off_their_slots_convict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    history = History(1, START)
    history.boot(START)
    step = history.step
    monkeypatch.setattr(history, "step", lambda: step() + 20_000)
    history.live(START + HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert not ledger.balanced and "ms off its slot" in ledger.nodes[0].faults[0]


@pytest.mark.parametrize("more", [0, 17_000])
def test_a_slot_gone_by_when_the_clock_is_set_is_read_at_once(tmp_path: Path, more: int):
    """And the next one on its slot; but nothing in between."""
    history = History(1, START)
    history.boot(START + 30_000, clock_ms=None)
    history.live(START + 10 * 60_000 + 60_000)
    assert history.last == START + 10 * 60_000 + 30_000
    history.set_clock()
    history.sample()
    if more:
        history.now += more
        history.sample()
    history.live(START + HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced == (not more) and not ledger.totals.missed, ledger.nodes[0].faults


def test_a_reading_in_the_very_moment_of_a_cut_is_taken(tmp_path: Path):
    """Without a clock its row is placed by the boot alone; so is that which outruns the end of the run."""
    history = History(1, START)
    history.boot(START, clock_ms=None)
    history.live(START + HOUR)
    history.pass_to(history.step())
    history.log("wake")
    history.sample()
    history.boot(history.off(2000), clock_ms=None)
    history.live(START + 2 * HOUR)
    written = write_run(tmp_path, history, committed=0.5)
    for row in written.rows:
        row["time_s"] = None
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "end_ms": history.last - 20}))
    ledger = settle(written)
    assert ledger.balanced and not ledger.totals.missed, ledger.nodes[0].faults


def test_a_wrong_interval_convicts_without_a_clock(tmp_path: Path):
    """Each step looks right; their sum does not."""
    history = History(1, START, interval=66)
    history.boot(START, clock_ms=None)
    history.live(START + HOUR)
    history.interval = 60_000
    ledger = settle(write_run(tmp_path, history))
    assert not ledger.balanced and "slots" in ledger.nodes[0].faults[0]


def test_a_row_of_a_life_that_was_over_convicts(tmp_path: Path):
    """It was served just then, but to the next boot."""
    history = History(1, START)
    history.boot(START, clock_ms=None)
    history.live(START + 100_000)
    history.boot(history.off(10_000), clock_ms=None)
    history.live(START + HOUR)
    written = write_run(tmp_path, history, keep=False)
    for row in written.rows:
        row["time_s"] = None
    assert settle(written).balanced
    next(row for row in written.rows if row["boot"] == 2)["t"] += 110
    assert not settle(written).balanced


def reset_in_hand(readings: int, sleep: bool = False) -> History:
    """`readings` served in one awake period and not appended, then a reset."""
    history = History(3, START)
    history.boot(START)
    history.live(START + HOUR)
    for number in range(readings):
        history.pass_to(history.step())
        if not number:
            history.log("wake")
        history.serve()
    if sleep:
        history.log("sleep")
    history.boot(history.now + 3000)
    history.live(START + 2 * HOUR)
    return history


def test_one_reading_in_hand_at_a_reset_is_missed(tmp_path: Path):
    ledger = settle(write_run(tmp_path, reset_in_hand(1)))
    assert ledger.balanced, ledger.nodes[0].faults
    assert ledger.totals.missed == {"reset": 4}


@pytest.mark.parametrize(("readings", "sleep"), [(2, False), (1, True)])
def test_more_in_hand_or_sleep_before_the_reset_convicts(tmp_path: Path, readings: int, sleep: bool):
    ledger = settle(write_run(tmp_path, reset_in_hand(readings, sleep)))
    assert not ledger.balanced and ledger.totals.unexplained == 4


def test_a_wake_that_a_reset_ends_before_its_reading_is_missed(tmp_path: Path):
    history = quiet_day(1)
    history.pass_to(history.step())
    history.log("wake")
    history.boot(history.now + 500)
    history.live(START + 2 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced, ledger.nodes[0].faults
    assert ledger.totals.missed == {"reset": 4}


def test_a_power_cut_makes_nothing_due(tmp_path: Path):
    history = History(3, START)
    history.boot(START)
    history.live(START + HOUR)
    history.boot(history.off(25 * 60_000))
    history.live(START + 2 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced and not ledger.totals.missed, ledger.nodes[0].faults
    assert ledger.totals.due == 4 * 97


def test_boots_that_die_at_once_are_missed_by_reset(tmp_path: Path):
    history = History(3, START)
    history.boot(START)
    history.live(START + HOUR)
    for _ in range(5):
        history.boot(history.now + 1500, sample=False)
    history.boot(history.now + 2000)
    history.live(START + 2 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced, ledger.nodes[0].faults
    assert set(ledger.totals.missed) == {"reset"}


def test_a_boot_without_its_reading_convicts(tmp_path: Path):
    history = History(3, START)
    history.boot(START)
    history.live(START + HOUR)
    history.boot(history.now + 22_000, sample=False)
    history.live(START + 2 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert not ledger.balanced and "was not served" in ledger.nodes[0].faults[0]


@pytest.mark.parametrize("declared", [True, False])
def test_a_failed_sensor_must_be_declared(tmp_path: Path, declared: bool):
    history = quiet_day(1)
    history.fail_sensors(START + 2 * HOUR, declared)
    history.live(START + 3 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced == declared, ledger.nodes[0].faults
    assert ledger.totals.missed["sensor"] == (ledger.totals.due - ledger.totals.taken if declared else 0)


def test_a_boot_while_a_sensor_has_failed_misses_its_reading_too(tmp_path: Path):
    history = quiet_day(1)
    history.fail_sensors(START + 2 * HOUR)
    history.broken = True
    history.boot(history.off(20_000))
    history.live(START + 3 * HOUR)
    history.broken = False
    history.live(START + 4 * HOUR)
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced, ledger.nodes[0].faults
    assert set(ledger.totals.missed) == {"sensor"}


def gap(claimed: int = 0, declare: bool = True, cut: int = 0) -> History:
    history = quiet_day()
    history.give_up(30, 61)
    history.events[0]["readings"] += claimed
    if not declare:
        history.events.clear()
    for event in history.events:
        event["hi"] -= cut
    return history


def test_a_declared_gap_is_lost(tmp_path: Path):
    ledger = settle(write_run(tmp_path, gap()))
    assert ledger.balanced, ledger.nodes[0].faults
    assert ledger.totals.lost == 4 * 32 and figures(ledger).lost == 32


@pytest.mark.parametrize("history", [gap(claimed=1), gap(claimed=-4), gap(declare=False), gap(cut=1)])
def test_a_gap_that_is_not_declared_or_not_so_convicts(tmp_path: Path, history: History):
    assert not settle(write_run(tmp_path, history)).balanced


def test_a_declaration_repeated_after_a_cut_counts_once(tmp_path: Path):
    history = gap()
    history.declare(0, 30, 50, 84)
    history.declare(0, 30, 61, 128)
    assert settle(write_run(tmp_path, history)).balanced


def test_a_gap_of_frames_covers_the_rows_between_its_neighbours(tmp_path: Path):
    written = write_run(tmp_path, quiet_day())
    written.rows[:] = [row for row in written.rows if row["frame_seq"] not in (2, 3)]
    assert not settle(written).balanced
    written.events.append({"kind": "gap", "ring": 2, "lo": 2, "hi": 3, "reason": 1, "readings": 128})
    ledger = settle(written)
    assert ledger.balanced and ledger.totals.lost == 128, ledger.nodes[0].faults


def test_a_gap_of_what_the_cloud_had_after_all(tmp_path: Path):
    written = write_run(tmp_path, quiet_day())
    written.events.append({"kind": "gap", "ring": 2, "lo": 2, "hi": 3, "reason": 1, "readings": 128})
    ledger = settle(written)
    assert ledger.balanced and ledger.totals.lost == 0, ledger.nodes[0].faults


@pytest.mark.parametrize("seed", range(20))
def test_a_node_that_boots_without_a_clock(tmp_path: Path, seed: int):
    """Its grid lies anywhere until the first contact; some slot may stay free or be served twice at boot
    and setting."""
    history = History(seed, START)
    history.boot(START + history.random.randrange(60_000), clock_ms=None)
    history.live(history.now + history.random.randrange(HOUR))
    history.set_clock()
    history.live(START + 2 * HOUR)
    written = write_run(tmp_path, history)
    ledger = settle(written)
    assert ledger.balanced, ledger.nodes[0].faults
    assert ledger.totals.missed.total() <= 8
    for row in written.rows:
        if not row["quality"]:
            row["time_s"] = None
    assert settle(written).balanced
    next(row for row in written.rows if not row["quality"])["t"] += 300
    assert not settle(written).balanced


@pytest.mark.parametrize("interval", [10, 60])
@pytest.mark.parametrize("drift", [-0.008, -0.001, 0.001, 0.008])
def test_a_clock_that_drifts_between_contacts(tmp_path: Path, drift: float, interval: int):
    history = History(5, START, interval, sensors="light")
    history.drift = drift
    history.boot(START)
    for hour in range(1, 5):
        history.live(START + hour * HOUR)
        history.set_clock()
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced, ledger.nodes[0].faults
    assert set(ledger.totals.missed) <= {"clock"} and ledger.totals.missed.total() <= 4 * 60 // interval


@pytest.mark.parametrize("broken", ["journal", "frames"])
def test_damage_in_the_image_convicts(tmp_path: Path, broken: str):
    written = write_run(tmp_path, quiet_day())
    path = tmp_path / "nodes" / "n-1" / "flash.bin"
    data = bytearray(path.read_bytes())
    data[(0 if broken == "journal" else 6 * 4096) + 40] ^= 1
    path.write_bytes(data)
    assert not settle(written).balanced


def test_missing_inputs_are_named(tmp_path: Path):
    written = write_run(tmp_path, quiet_day())
    del written.rows[3]["journal_seq"]
    with pytest.raises(RunError, match="journal_seq"):
        settle(written)
    (tmp_path / "nodes" / "n-1" / "power.csv").unlink()
    with pytest.raises(RunError, match=r"power\.csv"):
        settle(written)
    with pytest.raises(RunError, match=r"run\.json"):
        compute(tmp_path / "nowhere")


def test_the_command_writes_and_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    written = write_run(tmp_path, quiet_day())
    monkeypatch.setattr(command, "compute", lambda folder: settle(written))
    run = CliRunner().invoke(command.main, [str(tmp_path)])
    assert run.exit_code == 0 and run.output.count("balanced") == 2
    assert json.loads((tmp_path / "ledger.json").read_text())["balanced"] is True
    written.rows.pop()
    run = CliRunner().invoke(command.main, [str(tmp_path)])
    assert run.exit_code == 1 and "NOT BALANCED" in run.output
    assert json.loads((tmp_path / "ledger.json").read_text())["totals"]["unexplained"] == 1


def random_life(seed: int) -> History:
    """Boots with and without clock, cuts in sleep and in hand, drift, contacts, failed sensors and gaps."""
    history = History(seed, START, interval=random.Random(seed).choice((10, 60, 300)))
    chance = history.random
    history.boot(START + chance.randrange(history.interval), clock_ms=chance.choice((None, 0.0)))
    history.drift = chance.uniform(-0.0005, 0.0005)
    for _ in range(chance.randrange(3, 14)):
        history.live(history.now + chance.randrange(25 * history.interval))
        act = chance.random()
        if act < 0.35:
            history.set_clock()
        elif act < 0.5:
            history.boot(history.off(chance.randrange(1, 20 * history.interval)), clock_ms=chance.choice((None, 0.0)))
        elif act < 0.65:
            history.pass_to(history.step())
            history.log("wake")
            history.serve()
            history.now += 15
            history.boot(history.now + chance.randrange(9000), clock_ms=chance.choice((None, history.clock_ms)))
        elif act < 0.8:
            history.fail_sensors(history.step() + chance.randrange(20 * history.interval))
        else:
            history.boot(history.now + chance.randrange(1000), clock_ms=history.clock_ms)
    history.live(history.now + 5 * history.interval)
    if chance.random() < 0.5 and len(history.rows) > 20:
        low = chance.randrange(1, len(history.rows) // 2)
        history.give_up(low, low + chance.randrange(8))
    return history


@pytest.mark.parametrize("seed", range(40))
def test_random_lives_balance_and_any_crime_in_them_convicts(tmp_path: Path, seed: int):
    history = random_life(seed)
    written = write_run(tmp_path, history, committed=0.7, keep=False)
    ledger = settle(written)
    assert ledger.balanced, ledger.nodes[0].faults
    assert ledger.totals.due == ledger.totals.taken + ledger.totals.missed.total()
    assert ledger.totals.taken == sum(len(row.values) for row in history.rows)
    chance = random.Random(seed)
    for crime in ("delete", "invent", "double", "alter"):
        rows = [dict(row) for row in written.rows]
        at = chance.randrange(len(rows))
        if crime == "delete":
            del rows[at]
        elif crime == "invent":
            rows.append({**rows[at], "journal_seq": 100_000, "frame_seq": 100_000})
        elif crime == "double":
            rows.insert(at, dict(rows[at]))
        else:
            rows[at]["value"] += chance.choice((-50, 50))
        assert not settle(Written(written.folder, rows, written.events)).balanced, crime


def test_two_nodes_and_two_days_settle_quickly(tmp_path: Path):
    rows = {}
    for name in ("n-1", "n-2"):
        history = History(len(rows), START)
        history.boot(START)
        history.live(START + 48 * HOUR)
        rows[name] = write_run(tmp_path, history, committed=0.97, name=name).rows
    begun = time.process_time()
    ledger = compute(tmp_path, rows.__getitem__, lambda _: [])
    passed = time.process_time() - begun
    assert ledger.balanced and ledger.totals.due == 23_048, ledger.nodes[0].faults
    assert passed < 1.5


@pytest.mark.parametrize(("wrong_by", "since_h", "balanced"), [(40, 1, True), (20, 1, False), (40, 3, False)])
def test_a_clock_that_the_cloud_set_wrong_is_the_clouds_fault(
    tmp_path: Path, wrong_by: int, since_h: float, balanced: bool
):
    """40 s wrong from one moment on: excused where the cloud's clock was as wrong by then, and only there."""
    history = quiet_day()
    history.now = min(history.now, history.last + 1000)
    history.clock_ms = 40_000.0
    history.live(START + 5 * HOUR)
    written = write_run(tmp_path, history)
    assert not settle(written).balanced
    record = json.loads((written.folder / "run.json").read_text())
    record["cloud_clock"] = [[START + int(since_h * HOUR), 1000 * wrong_by]]
    (written.folder / "run.json").write_text(json.dumps(record))
    assert settle(written).balanced == balanced, settle(written).nodes[0].faults


@pytest.mark.parametrize(
    ("silent_s", "excused", "balanced"), [(95, True, True), (95, False, False), (140, True, False)]
)
def test_a_clock_set_back_at_the_last_contact_has_its_next_slot_later(
    tmp_path: Path, silent_s: int, excused: bool, balanced: bool
):
    """40 s ahead as the cloud was, and put right with it: the next slot is 100 s after the last reading."""
    history = quiet_day()
    history.now = min(history.now, history.last + 1000)
    history.clock_ms = 40_000.0
    history.live(START + 5 * HOUR)
    set_back = history.last + 2000
    history.pass_to(history.last + 1000 * silent_s)
    written = write_run(tmp_path, history)
    record = json.loads((written.folder / "run.json").read_text())
    record["cloud_clock"] = [[START + HOUR, 40_000], *([[set_back, 0]] if excused else [])]
    (written.folder / "run.json").write_text(json.dumps(record))
    assert settle(written).balanced == balanced, settle(written).nodes[0].faults


def test_a_row_without_a_clock_is_off_by_what_the_cloud_placed_it(tmp_path: Path):
    """Its uptime may be as far off the other way: that one error grows past the other is no jump of the clock."""
    history = History(1, START)
    history.boot(START, clock_ms=None)
    history.live(START + 2 * HOUR)
    half = len(history.rows) // 2
    history.rows = [
        row._replace(seconds=row.seconds + 13, wall_s=row.wall_s - (12.9 if index < half else 13.2))
        for index, row in enumerate(history.rows)
    ]
    ledger = settle(write_run(tmp_path, history))
    assert ledger.balanced, ledger.nodes[0].faults


def test_a_row_whose_moment_another_channel_shows_is_paired_there():
    """Five boots within a minute, each reading after its service window; the third's row was never appended, and the
    cloud, whose clock is 40 s slow by then, has placed the last row too early for its own reading."""
    temperatures, uptime = (-453, -454, -454, -453, -454), 10
    served = [Served(START + 13_000 * (index + 1), value, -2) for index, value in enumerate(temperatures)]
    segments = [Segment(START + 13_000 * index + 2_700, START + 13_000 * (index + 1)) for index in range(5)]
    walls = {0: None, 1: None, 3: None, 4: (served[4].t_ms - 40_000) / 1000}
    rows = [Reading(index, temperatures[index], 0, index, wall, uptime) for index, wall in walls.items()]
    words = (served, rows, segments, 130_000, 1, frozenset({2, 3}), 10_000)
    anchors = Anchors({index: served[index].t_ms for index in walls}, 15_000)
    assert [pair.served for pair in align(*words, anchors)] == [0, 1, 3, 4]
