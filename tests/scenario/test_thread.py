"""One reading's way from the simulated sensor to the database, and the ledger that would convict it."""

import re
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter

import pytest
from simcommand import ROOT, interrupt, kill, ledger, processes_of, settle, simulate, strikes

KILLS = ("--faults", "none", "--kills")

# A pin of each board's ADC1; greenhouse.toml names the ESP32's.
ADC_PIN = {"esp32c3": 3, "esp32s3": 4, "pico2_w": 26}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """A run without faults: one node of each chip family, five hours."""
    folder = tmp_path_factory.mktemp("quiet")
    done = simulate(folder, "--days", "0.2", "--faults", "none")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_without_faults_nothing_is_missed_lost_or_doubled(quiet):
    book = ledger(quiet)
    totals = book["totals"]
    assert book["balanced"]
    assert totals["due"] == totals["taken"] >= 2 * 288 * 4
    assert totals["acknowledged"] + totals["stored"] == totals["taken"] and totals["acknowledged"] >= 2 * 220 * 4
    assert not totals["missed"] and not totals["lost"] and not totals["duplicates"] and not totals["unexplained"]
    assert set(book["nodes"]["greenhouse-1"]["channels"]) == {
        "air.temperature", "air.humidity", "air.pressure", "light.voltage",
    }  # fmt: skip


def test_every_wake_left_no_word_of_trouble(quiet):
    """The console of a node holds what the first boot says of blank sectors, and nothing else."""
    for console in quiet.glob("nodes/*/console.log"):
        assert [line for line in console.read_text().splitlines() if "formatting" not in line] == []


@pytest.fixture
def tampered(quiet, tmp_path):
    """A copy of the quiet run and a connection to its database."""
    folder = tmp_path / "run"
    shutil.copytree(quiet, folder, ignore=shutil.ignore_patterns("broker", "line"))
    database = sqlite3.connect(folder / "cloud" / "cloud.sqlite3")
    yield folder, database
    database.close()


@pytest.mark.beside(3)
@pytest.mark.parametrize("board", ["esp32c3", "esp32s3", "pico2_w"])
def test_the_thread_holds_on_the_other_boards_too(tmp_path, board):
    """With processes killed; esp32 and pico_w are the examples that every other test here runs."""
    family = "greenhouse" if board.startswith("esp32") else "cellar"
    source = (ROOT / "nodes" / f"{family}.toml").read_text()
    source = re.sub('board = ".*"', f'board = "{board}"', source).replace("pin = 34", f"pin = {ADC_PIN[board]}")
    node_file = tmp_path / f"{board}.toml"
    node_file.write_text(source)
    done = simulate(tmp_path / "run", "--node", str(node_file), "--nodes", "1", "--days", "0.06", *KILLS, "4")
    assert done.returncode == 0, done.stdout + done.stderr
    totals = ledger(tmp_path / "run")["totals"]
    assert totals["acknowledged"] and not totals["lost"] and not totals["duplicates"] and not totals["unexplained"]


FRAMES = "cursor IN (SELECT id FROM cursor WHERE ring = 2)"


def test_a_deleted_database_row_fails_the_run(tampered):
    folder, database = tampered
    with database:
        first = f"(SELECT min(cursor) FROM record WHERE {FRAMES})"
        database.execute(f"DELETE FROM record WHERE seq = 3 AND cursor = {first}")
    done = settle(folder)
    assert done.returncode == 1 and "NOT BALANCED" in done.stdout


def test_an_added_database_row_fails_the_run(tampered):
    folder, database = tampered
    with database:
        database.execute(
            "INSERT INTO record (cursor, seq, sha256, arrived_ms, fault, payload)"
            " SELECT cursor, seq + 1000, sha256, arrived_ms, fault, payload FROM record"
            f" WHERE {FRAMES} AND seq = 3 LIMIT 1"
        )
    done = settle(folder)
    assert done.returncode == 1 and "NOT BALANCED" in done.stdout


@pytest.mark.beside(3)
@pytest.mark.parametrize("seed", [1, 2])
def test_kill_9_at_50_seeded_moments_loses_and_doubles_nothing(tmp_path, seed):
    """Nodes between two requests and in mid-program, ingest and broker in mid-contact."""
    done = simulate(tmp_path, "--days", "0.3", *KILLS, "50", "--seed", str(seed))
    assert done.returncode == 0, done.stdout + done.stderr
    totals = ledger(tmp_path)["totals"]
    assert totals["lost"] == totals["duplicates"] == totals["unexplained"] == 0
    killed = Counter(strike["kind"] for strike in strikes(tmp_path))
    assert set(killed) == {"node_kill", "power_cut", "ingest_kill", "broker_kill"} and killed.total() >= 45
    # A kill of a node costs at most the row in hand and the one that the boot after it did not come to, of 4 channels.
    of_nodes = killed["node_kill"] + killed["power_cut"]
    assert set(totals["missed"]) == {"reset"} and 0 < totals["missed"]["reset"] <= of_nodes * 2 * 4


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("after", [0.2, 0.6])
def test_ctrl_c_ends_everything_within_3_seconds(tmp_path, after):
    status, seconds = interrupt(tmp_path, after, "--days", "30")
    # A shell calls both 130: CPython kills itself by SIGINT where the exception has passed through an exec() of a text,
    # as dataclasses use, even if it was caught later.
    assert status in (130, -signal.SIGINT)
    assert seconds < 3
    assert processes_of(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_kill_9_of_the_simulation_itself_leaves_no_process(tmp_path):
    kill(tmp_path, 0.6, "--days", "30")
    deadline = time.monotonic() + 3
    while processes_of(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(tmp_path) == []


def test_a_folder_that_is_no_runs_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    done = simulate(tmp_path, "--days", "0.01")
    assert done.returncode == 1 and "name another --folder" in done.stderr
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--node", "nodes/none.toml"], "nodes/none.toml: No such file"),
        (["--nodes", "0"], "--nodes"),
        (["--days", "soon"], "--days"),
        (["--days", "nan"], "--days"),
    ],
)
def test_bad_input_starts_nothing(tmp_path, options, says):
    done = simulate(tmp_path / "run", *options)
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "run").exists()
