"""`cloud tail`: every commit once, in order of commit, whatever the database and the reader do."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cloudkit as kit
import pytest

from cloud import store, transaction
from cloud.clock import EPOCH_2020
from cloud.tail import Tail

KEYS = kit.NodeKeys(bytes(range(32)), "acme", "n1")
OTHER = kit.NodeKeys(bytes(32), "acme", "n2")
A, F = 0xAAAA, 0xFFFF
T = 200_000_000
ARRIVED_MS = (EPOCH_2020 + T) * 1000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A database with two nodes."""
    db = store.connect(tmp_path, create=True)
    for keys in (KEYS, OTHER):
        store.add_node(db, keys.node, keys.tenant, keys.key, [(1, "air.temperature", "degC"), (2, "light", "lx")])
    db.close()
    return tmp_path


def take(data: Path, *messages: tuple[str, bytes], arrived_ms: int = ARRIVED_MS, keys: kit.NodeKeys = KEYS) -> None:
    """Ingest (lane, message) pairs in one transaction."""
    db = store.connect(data)
    transaction.take(db, [transaction.Arrival(keys.tenant, keys.node, *pair, arrived_ms) for pair in messages])
    db.close()


def birth(keys: kit.NodeKeys = KEYS) -> tuple[str, bytes]:
    """The first birth."""
    return "s", keys.birth(1, 1, [(A, 1, 1), (F, 1, 1)], uptime_ms=5000, chip=1)


def frame(seq: int, keys: kit.NodeKeys = KEYS, quality: int = 2, t: int = T - 60) -> tuple[str, bytes]:
    """Two rows, one of them half empty: three readings."""
    encoded = kit.codec_frame([(1, -2), (2, 1)], [(t, [1, 2]), (t + 60, [3, None])], quality)
    return "t", keys.data(2, F, seq, kit.frame_payload(2 * seq, 2, encoded))


def alarm(seq: int) -> tuple[str, bytes]:
    """Too warm."""
    return "a", KEYS.data(1, A, seq, kit.event_payload(1, kit.alarm_body(1, 1, -2, 3512, 3500), wall=T, quality=2))


def names(tail: Tail) -> list[tuple[str, str, int | None]]:
    """(node, kind, seq) of a poll."""
    return [(commit.node, commit.kind, commit.seq) for commit in tail.poll()]


@contextmanager
def tailing(data: Path, *options: str, **how: int) -> Iterator[subprocess.Popen[str]]:
    """The command, following; its standard output is a pipe."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cloud", "tail", "--data", str(data), *options],
        cwd=kit.ROOT, stdout=how.get("stdout", subprocess.PIPE), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_each_commit_comes_once_and_in_order_of_commit(data: Path) -> None:
    """Not of arrival: a batch that waited for the database is committed after one that came later. A duplicate is
    none."""
    tail = Tail(data, from_start=True)
    assert names(tail) == []
    take(data, birth(), frame(2), frame(1))
    assert names(tail) == [("n1", "birth", None), ("n1", "frame", 2), ("n1", "frame", 1)]
    take(data, frame(3), frame(2), alarm(1), arrived_ms=ARRIVED_MS - 60_000)
    take(data, birth(OTHER), keys=OTHER)
    assert names(tail) == [("n1", "frame", 3), ("n1", "alarm", 1), ("n2", "birth", None)]
    assert names(tail) == []


def test_it_begins_now_and_tells_of_the_nodes_asked_for(data: Path) -> None:
    take(data, birth(), frame(1))
    tail, one = Tail(data), Tail(data, ["n2"])
    assert names(tail) == names(one) == []
    take(data, frame(2))
    take(data, birth(OTHER), frame(9, OTHER), keys=OTHER)
    assert names(tail) == [("n1", "frame", 2), ("n2", "birth", None), ("n2", "frame", 9)]
    assert names(one) == [("n2", "birth", None), ("n2", "frame", 9)]
    with pytest.raises(store.StoreError, match="no node 'n3'; known: n1, n2"):
        names(Tail(data, ["n3"]))
    with pytest.raises(store.StoreError, match="no database"):
        names(Tail(data / "elsewhere"))


def test_a_poll_that_was_broken_off_goes_on(data: Path) -> None:
    """And pages longer than one fetch are read to their end."""
    take(data, birth(), *[frame(seq) for seq in range(1, 601)])
    tail = Tail(data, from_start=True)
    for _, commit in zip(range(300), tail.poll(), strict=False):
        last = commit.seq
    rest = names(tail)
    assert last == 299 and [seq for _, _, seq in rest] == list(range(300, 601))


def test_what_a_commit_says(data: Path) -> None:
    take(data, birth(), frame(1), frame(2, quality=0, t=1), alarm(1))
    born, dated, placed, alert = Tail(data, from_start=True).poll()
    assert (born.ring, born.stream, born.bytes) == (None, None, 82)
    assert dated.readings == 3 and dated.text == "3 readings, 2026-05-03T19:32:20Z to 2026-05-03T19:33:20Z"
    assert placed.text == "3 readings, 2026-05-03T19:33:16Z to 2026-05-03T19:34:16Z"  # by the birth, 5 s after the boot
    assert (alert.ring, alert.readings, alert.arrived_ms) == (1, 0, ARRIVED_MS)
    assert alert.text == "air.temperature above high: 35.12 degC (limit 35.00 degC)"
    assert dated.line == "2026-05-03T19:33:20Z  n1                F 1       frame        " + dated.text


def test_a_later_boot_is_placed_by_its_own_birth(data: Path) -> None:
    """Which the tail had not seen when it placed the frames of the boot before."""
    take(data, birth(), frame(1, quality=0, t=1))
    tail = Tail(data, from_start=True)
    assert len(names(tail)) == 2
    second = ("s", KEYS.birth(2, 1, [(A, 1, 1), (F, 1, 2)], uptime_ms=1000, chip=1))
    late = kit.codec_frame([(1, -2)], [(0, [1])], quality=0, boot=2)
    take(data, second, ("t", KEYS.data(2, F, 2, kit.frame_payload(9, 1, late))))
    _, placed = tail.poll()
    assert placed.text == "1 readings, 2026-05-03T19:33:19Z to 2026-05-03T19:33:19Z"


def test_a_purged_record_is_passed_over_and_a_damaged_one_told(data: Path) -> None:
    take(data, birth(), frame(1), ("t", KEYS.data(2, F, 2, b"\1\0\0\0\1\0rubbish")), frame(3))
    db = store.connect(data)
    db.execute("DELETE FROM record WHERE seq = 1")
    db.close()
    _, damaged, good = Tail(data, from_start=True).poll()
    assert (damaged.kind, damaged.seq, damaged.readings, good.kind) == ("undecodable", 2, 0, "frame")


def test_an_idle_poll_is_one_look_at_the_primary_key(data: Path) -> None:
    """Never a scan of the arrivals, however many there are."""
    from cloud import tail

    db = store.connect(data)
    plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + tail._AFTER, (0, 1))]
    assert "SEARCH arrival USING INTEGER PRIMARY KEY (rowid>?)" in plan
    assert not [step for step in plan if "SCAN" in step or "TEMP B-TREE" in step]
    db.close()


def test_json_says_the_same_and_no_follow_ends(data: Path) -> None:
    take(data, birth(), frame(1))
    done = kit.command("tail", "--data", data, "--from-start", "--no-follow", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and [line["kind"] for line in lines] == ["birth", "frame"]
    assert lines[1] == {
        "arrived_ms": ARRIVED_MS, "node": "n1", "ring": 2, "stream": F, "seq": 1, "kind": "frame", "readings": 3,
        "bytes": lines[1]["bytes"], "text": "3 readings, 2026-05-03T19:32:20Z to 2026-05-03T19:33:20Z",
    }  # fmt: skip
    assert kit.command("tail", "--data", data, "--no-follow").stdout == ""
    refused = kit.command("tail", "n7", "--data", data)
    assert refused.returncode == 2 and refused.stderr == "Error: no node 'n7'; known: n1, n2\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_follows_until_it_is_told_to_end(data: Path, number: signal.Signals) -> None:
    """What was committed before the signal is told before it ends."""
    with tailing(data, "--json", "--from-start") as process:
        assert process.stdout
        take(data, birth())
        assert json.loads(process.stdout.readline())["kind"] == "birth"
        take(data, *[frame(seq) for seq in range(1, 301)])
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert len(out.splitlines()) == 300 and err == "" and process.returncode == 0


def test_a_locked_database_is_waited_for(data: Path) -> None:
    """By another program that holds it for itself, longer than SQLite's own patience."""
    take(data, birth())
    holder = sqlite3.connect(store.database_path(data), isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        names(Tail(data))
    with tailing(data, "--json", "--from-start") as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(store.BUSY_TIMEOUT_S + 1)
        holder.close()
        assert process.stdout and json.loads(process.stdout.readline())["kind"] == "birth"


def test_it_ends_when_its_reader_has_gone_with_nothing_to_write(data: Path) -> None:
    """So whoever started it may die in any way and leaves no process behind."""
    reading, writing = os.pipe()
    with tailing(data, "--json", "--from-start", stdout=writing) as process:
        os.close(writing)
        take(data, birth())
        assert os.read(reading, 1)
        os.close(reading)
        assert process.wait(10) == 0 and process.stderr and process.stderr.read() == ""


COMMANDS = [("tail", "--from-start", "--no-follow"), ("query", "n1"), ("query", "n1", "--format=json")]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("many", [3, 1000])
def test_a_reader_that_stops_early_sees_no_complaint(data: Path, command: tuple[str, ...], many: int) -> None:
    """As `| head` does; with little to write, which waits in a buffer until the end, and with much."""
    take(data, birth(), *[frame(seq) for seq in range(1, many)])
    process = subprocess.Popen(
        [sys.executable, "-m", "cloud", *command, "--data", str(data)],
        cwd=kit.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    process.stdout.close()
    assert process.wait(10) == 1
    assert process.stderr and process.stderr.read() == ""
    process.stderr.close()
