"""Every kind of fault in one run, and the ledger balances."""

import json

import pytest
from simcommand import ledger, simulate, strikes

from host_sim.faults.kinds import KINDS, NODE

DAYS = "0.4"


@pytest.fixture(scope="module")
def stormy(tmp_path_factory):
    """Half a day of one node of each family, with everything that can go wrong."""
    folder = tmp_path_factory.mktemp("stormy")
    done = simulate(folder, "--faults", "all", "--days", DAYS, "--seed", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done


def test_every_kind_strikes_each_node_or_the_cloud_end(stormy):
    folder, done = stormy
    struck = {(strike["kind"], strike["node"]) for strike in strikes(folder)}
    nodes = ledger(folder)["nodes"]
    assert struck == {(kind, node) for kind in KINDS for node in (nodes if KINDS[kind].hits == NODE else [""])}
    assert "never struck" not in done.stderr


def test_the_database_is_in_fact_locked_and_the_disk_full(stormy):
    """Ingest complains of each: a fault that found nothing to write would prove nothing."""
    log = (stormy[0] / "cloud" / "cloud.log").read_text()
    assert "database is locked" in log and "disk I/O error" in log


def test_what_is_missed_is_explained_and_nothing_else_is_gone(stormy):
    totals = ledger(stormy[0])["totals"]
    assert totals["lost"] == totals["duplicates"] == totals["unexplained"] == 0
    assert set(totals["missed"]) <= {"reset", "clock"} and totals["missed"]["reset"]


def test_radio_time_bytes_and_wear_are_written_down(stormy):
    folder, _ = stormy
    for node in (folder / "nodes").iterdir():
        contacts = (node / "contacts.csv").read_text().splitlines()
        assert contacts[0] == "join_ms,open_ms,end_ms,bytes_up,bytes_down"
        rows = [line.split(",") for line in contacts[1:]]
        assert any(row[1] and int(row[3]) > 1000 and int(row[4]) > 500 for row in rows)
        assert any(not row[1] for row in rows)  # an outage: it never came to a socket
        assert all(int(row[0]) <= int(row[1] or row[0]) <= int(row[2]) for row in rows)
        wear = json.loads((node / "wear.json").read_text())
        assert sum(wear["erases"]) and wear["programmed_bytes"] > 10_000


def test_an_unknown_set_is_refused_before_anything_starts(tmp_path):
    done = simulate(tmp_path / "run", "--faults", "weather")
    assert done.returncode == 2 and "give one of all, default, none, proof, or a file" in done.stderr
    assert not (tmp_path / "run").exists()
