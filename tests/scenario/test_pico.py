"""A Pico W lives as an ESP32 does: sleep by way of a reset, rings in reserved blocks, a clock that boots forget."""

import csv
import json
import subprocess
import sys

import pytest
from simcommand import ROOT, ledger, simulate


@pytest.fixture(scope="module")
def cellar(tmp_path_factory):
    """Two Pico W, five hours."""
    folder = tmp_path_factory.mktemp("cellar")
    done = simulate(folder, "--node", "nodes/cellar.toml", "--days", "0.2", "--faults", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_its_ledger_balances(cellar):
    totals = ledger(cellar)["totals"]
    assert totals["due"] == totals["taken"] >= 2 * 288 * 4 and totals["acknowledged"] >= 2 * 200 * 4
    assert not totals["missed"] and not totals["lost"] and not totals["duplicates"] and not totals["unexplained"]


@pytest.mark.beside
def test_it_balances_where_the_supply_is_cut(tmp_path):
    """Eight cuts and kills, of nodes between two requests and within a flash operation, of ingest and the broker."""
    options = ("--node", "nodes/cellar.toml", "--days", "0.1", "--faults", "none", "--kills", "8", "--seed", "3")
    done = simulate(tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    totals = ledger(tmp_path)["totals"]
    assert not totals["lost"] and not totals["duplicates"] and not totals["unexplained"]


def test_it_sleeps_between_its_slots_and_keeps_them(cellar):
    """All but the first are within four seconds of their minute, though no boot knows the time by itself. One more row
    may wait for a contact, which takes the time that a busy host takes for it.
    """
    with (cellar / "nodes/cellar-1/power.csv").open() as file:
        events = [row["event"] for row in csv.DictReader(file)]
    assert events.count("sleep") >= 250 and events.count("on") == 1
    with (cellar / "nodes/cellar-1/served.csv").open() as file:
        late = [(int(row["t_ms"]) + 30000) % 60000 - 30000 for row in csv.DictReader(file)]
    assert sum(abs(each) >= 4000 for each in late) <= 2 * 4


def test_its_births_tell_its_battery(cellar):
    """Measured ahead of the radio, which has the pins during a contact: a battery of 3.9 V, to three per cent."""
    command = [sys.executable, "-m", "cloud", "nodes", "--data", str(cellar / "cloud"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    found = [node["battery_mv"] for node in json.loads(done.stdout)]
    assert len(found) == 2 and all(abs(each - 3900) < 0.03 * 3900 for each in found), found


def test_its_rings_stand_in_blocks_of_the_filesystem(cellar):
    rings = json.loads((cellar / "run.json").read_text())["nodes"][0]["rings"]
    sectors = [sector for ring in rings.values() for sector in ring["sectors"]]
    assert len(set(sectors)) == len(sectors) == 80
    assert all(0x12C000 // 4096 <= sector < 512 for sector in sectors)
