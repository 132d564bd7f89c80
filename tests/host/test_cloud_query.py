"""Registry, times, queries and clock, in process; and what the commands write and refuse."""

from __future__ import annotations

import csv
import io
import json
import struct
import time
from pathlib import Path

import cloudkit as kit
import pytest
from nats.aio.msg import Msg

from cloud import broker, ingest, query, store, transaction
from cloud.clock import EPOCH_2020, FileClock, open_clock

KEYS = kit.NodeKeys(bytes(range(32)), "acme", "n1")
CHANNELS = [(1, "air.temperature", "degC"), (2, "light", "lx")]
A, F = 0xAAAA, 0xFFFF
ARRIVED_MS = (EPOCH_2020 + 200_000_000) * 1000


def add(data: Path, channels: list[tuple[int, str, str]] = CHANNELS) -> None:
    """Register n1."""
    with store.connect(data, create=True) as db:
        store.add_node(db, "n1", "acme", KEYS.key, channels)


def take(data: Path, *messages: tuple[str, bytes], arrived_ms: int = ARRIVED_MS) -> None:
    """Ingest (lane, message) pairs that arrive at one moment."""
    arrivals = [transaction.Arrival("acme", "n1", *pair, arrived_ms) for pair in messages]
    transaction.take(store.connect(data), arrivals)


def birth(conn: int, uptime_ms: int, boot: int = 1, a: int = A, f: int = F) -> tuple[str, bytes]:
    """A birth with an uptime."""
    return "s", KEYS.birth(boot, conn, [(a, 1, 1), (f, 1, 1)], uptime_ms=uptime_ms, chip=1)


def frame(seq: int, first: int, rows: list[tuple[int, list[int | None]]], quality: int = 2, boot: int = 1,
          stream: int = F) -> tuple[str, bytes]:  # fmt: skip
    """A frame of both channels."""
    encoded = kit.codec_frame([(1, -2), (2, 1)], rows, quality, boot)
    return "t", KEYS.data(2, stream, seq, kit.frame_payload(first, len(rows), encoded))


def times(data: Path) -> list[int | None]:
    """Times of n1's readings, relative to the arrival."""
    found = query.readings(store.connect(data), "n1")
    return [None if r.time_s is None else r.time_s - ARRIVED_MS // 1000 for r in found]


def test_uptimes_are_placed_by_the_birth_of_the_boot_that_was_least_late(tmp_path: Path) -> None:
    """And by none of another boot."""
    add(tmp_path)
    take(tmp_path, birth(1, 400_000), birth(2, 1_000_000), birth(3, 900_000), frame(1, 1, [(940, [1, None])], 0),
         frame(2, 2, [(5, [1, None])], 0, boot=9))  # fmt: skip
    assert times(tmp_path) == [-60, None]


def test_boots_of_a_former_life_place_nothing(tmp_path: Path) -> None:
    """After a full erase boot 1 comes again, with new streams; a lone new frames ring keeps the boot's clock."""
    add(tmp_path)
    take(tmp_path, birth(1, 1_000_000, f=F), frame(1, 1, [(0, [1, None])], 0))
    take(tmp_path, birth(1, 5_000, boot=2, f=F + 1), frame(1, 2, [(10, [1, None])], 0, boot=1, stream=F + 1))
    take(tmp_path, ("t", frame(1, 1, [(10, [1, None])], 0, boot=1, stream=F + 7)[1]))
    take(tmp_path, birth(1, 20_000, boot=3, a=A + 7, f=F + 7))
    assert times(tmp_path) == [-1000, -990, None]


def test_an_uptime_that_had_wrapped(tmp_path: Path) -> None:
    """A birth at 50 days of uptime says 50 days less 2^32 ms; the row was taken a minute before."""
    add(tmp_path)
    uptime_ms = 50 * 86_400_000
    take(tmp_path, birth(1, uptime_ms % (1 << 32)), frame(1, 1, [(uptime_ms // 1000 - 60, [1, None])], 0))
    assert times(tmp_path) == [pytest.approx(-60, abs=1)]


def test_order_is_the_journals(tmp_path: Path) -> None:
    """Not the order of arrival, nor that of the frames' numbers, nor that of the times."""
    add(tmp_path)
    take(tmp_path, birth(1, 0), frame(1, 3, [(100, [3, 3])]), frame(2, 1, [(500, [1, 1]), (400, [2, None])]))
    found = list(query.readings(store.connect(tmp_path), "n1"))
    assert [(r.journal_seq, r.channel_id) for r in found] == [(1, 1), (1, 2), (2, 1), (3, 1), (3, 2)]
    assert [r.frame_seq for r in found] == [2, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("value", "exponent", "text"),
    [(2150, -2, "21.50"), (-5, -3, "-0.005"), (7, 2, "700"), (0, -2, "0.00"), (-(1 << 31), 0, "-2147483648")],
)
def test_decimal(value: int, exponent: int, text: str) -> None:
    """Exact, and never scientific."""
    assert query.decimal(value, exponent) == text


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A database with three rows, the last of unknown time."""
    add(tmp_path)
    alarm = kit.event_payload(1, kit.alarm_body(1, 1, -2, 3125, 3000), 1, 0, 200_000_000, 2)
    take(tmp_path, birth(1, 0), frame(1, 1, [(200_000_000, [2150, 9]), (200_000_060, [-7, None])]),
         frame(2, 3, [(10, [1, None])], 0, boot=8), ("a", KEYS.data(1, A, 1, alarm)))  # fmt: skip
    return tmp_path


def test_query_command(filled: Path) -> None:
    """CSV, JSON, raw; one channel, all; bounds by ISO time and Unix seconds."""
    done = kit.command("query", "n1", "--channel", "air.temperature", "--data", filled)
    rows = [
        ["time", "value", "unit", "quality"],
        ["2026-05-03T19:33:20Z", "21.50", "degC", "2"],
        ["2026-05-03T19:34:20Z", "-0.07", "degC", "2"],
        ["", "0.01", "degC", "0"],
    ]
    assert list(csv.reader(io.StringIO(done.stdout))) == rows
    done = kit.command("query", "n1", "--from", "2026-05-03T19:33:20Z", "--to", str(EPOCH_2020 + 200_000_060),
                       "--format", "json", "--data", filled)  # fmt: skip
    assert [(row["channel"], row["value"]) for row in json.loads(done.stdout)] == [
        ("air.temperature", "21.50"),
        ("light", "90"),
    ]
    done = kit.command("query", "n1", "--format", "jsonl", "--raw", "--data", filled)
    last = json.loads(done.stdout.splitlines()[-1])
    assert last == {
        "time_s": None, "value": 1, "exponent": -2, "channel_id": 1, "channel": "air.temperature", "quality": 0,
        "boot": 8, "t": 10, "journal_seq": 3, "frame_seq": 2, "stream": F,
    }  # fmt: skip


def test_other_commands(filled: Path) -> None:
    """nodes, alerts and cursors, for people and for programs."""
    (node,) = json.loads(kit.command("nodes", "--json", "--data", filled).stdout)
    assert (node["node"], node["tenant"], node["boot"]) == ("n1", "acme", 1)
    assert "n1,acme" in kit.command("nodes", "--data", filled).stdout
    (alarm,) = json.loads(kit.command("alerts", "n1", "--json", "--data", filled).stdout)
    assert (alarm["kind"], alarm["value"], alarm["state"]) == ("alarm", 3125, 1)
    text = kit.command("alerts", "n1", "--data", filled).stdout
    assert "air.temperature above high: 31.25 degC (limit 30.00 degC)" in text
    assert "committed to 2" in kit.command("cursors", "n1", "--data", filled).stdout


def test_records_command(filled: Path) -> None:
    """Every record as committed, in order of arrival, of one node or of all; what is missing in a row is no reading."""
    take(filled, frame(3, 4, [(200_000_120, [1, 2])]), arrived_ms=ARRIVED_MS - 1)
    take(filled, ("t", KEYS.data(2, F, 4, b"no frame")))
    with store.connect(filled) as db:
        store.add_node(db, "n2", "acme", KEYS.key, CHANNELS)
    done = kit.command("records", "--data", filled)
    found = list(csv.reader(io.StringIO(done.stdout)))
    assert found[0] == ["t_ms", "node", "ring", "stream", "seq", "readings", "bytes"]
    assert [[int(row[0]) - ARRIVED_MS, *row[1:6]] for row in found[1:]] == [
        [-1, "n1", "2", str(F), "3", "2"],
        [0, "n1", "1", str(A), "1", "0"],
        [0, "n1", "2", str(F), "1", "3"],
        [0, "n1", "2", str(F), "2", "1"],
        [0, "n1", "2", str(F), "4", "0"],
    ]
    assert found[2][6] == str(len(kit.event_payload(1, kit.alarm_body(1, 1, -2, 3125, 3000), 1, 0, 200_000_000, 2)))
    as_json = json.loads(kit.command("records", "n1", "--format", "json", "--data", filled).stdout)
    assert [[str(value) for value in row.values()] for row in as_json] == found[1:]
    assert json.loads(kit.command("records", "n2", "--format", "json", "--data", filled).stdout) == []


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("query", "n2"), "known: n1"),
        (("query", "n1", "--channel", "air"), "known: air.temperature, light"),
        (("query", "n1", "--from", "yesterday"), "ISO 8601"),
        (("query", "n1", "--from", "--5"), "ISO 8601"),
        (("query", "n1", "--to", "9" * 20), "ISO 8601"),
        (("query", "n1", "--raw"), "jsonl"),
        (("alerts", "n2"), "known: n1"),
        (("records", "n2"), "known: n1"),
        (("cursors", "n2"), "known: n1"),
        (("add", "n1", "--tenant", "other", "--key", "00" * 32), "belongs to tenant acme"),
        (("add", "N.1", "--tenant", "acme", "--key", "00" * 32), "a-z"),
        (("add", "n3", "--tenant", "acme", "--key", "00"), "32 bytes"),
        (("add", "n3", "--tenant", "acme", "--key", "xy"), "--key"),
        (
            ("add", "n3", "--tenant", "a", "--key", "00" * 32, "--channels", '[[1,"a",""],[1,"b",""]]'),
            "twice",
        ),
        (("serve", "--listen", "1883"), "HOST:PORT"),
        (("serve", "--clock", "ntp"), "file:PATH"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value[:3]),
)
def test_refusals_are_one_line_and_status_2(filled: Path, arguments: tuple[str, ...], word: str) -> None:
    """And leave no trace."""
    done = kit.command(*arguments, "--data", filled)
    assert (done.returncode, done.stdout) == (2, "")
    assert word in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert [node["node"] for node in query.nodes(store.connect(filled))] == ["n1"]


def test_no_database(tmp_path: Path) -> None:
    """Reading makes none."""
    done = kit.command("nodes", "--data", tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])


def test_add_is_idempotent_and_keeps_no_key(tmp_path: Path) -> None:
    """Only a change makes a new version; K itself is nowhere in the folder."""
    with store.connect(tmp_path, create=True) as db:
        versions = [store.add_node(db, "n1", "acme", KEYS.key, CHANNELS) for _ in range(2)]
        assert versions == [1, 1]
        renamed = [(1, "light", "lx"), (2, "air.temperature", "degC")]
        assert store.add_node(db, "n1", "acme", KEYS.key, renamed) == 1
        assert store.add_node(db, "n1", "acme", bytes(32), renamed) == 1
        assert store.add_node(db, "n1", "acme", KEYS.key, renamed) == 1
        assert db.execute("SELECT kd FROM node").fetchall() == [(KEYS.kd,)]
        assert db.execute("SELECT kc FROM control_key").fetchall() == [(KEYS.kc,)]
        broker.write_config(db, tmp_path, "127.0.0.1", 1, 2, ["127.0.0.1"])
    db.close()
    for path in filter(Path.is_file, tmp_path.iterdir()):
        content = path.read_bytes()
        assert KEYS.key not in content and KEYS.key.hex().encode() not in content
        assert path.name.startswith("cloud.sqlite3-") or path.stat().st_mode & 0o077 == 0


def test_file_clock(tmp_path: Path) -> None:
    """Standing, running, and never read while it is being written."""
    path = tmp_path / "clock"
    path.write_bytes(struct.pack("<4q", 2, 1_700_000_000_123_000_000, 0, 0))
    clock = open_clock(f"file:{path}")
    assert clock.now_ms() == 1_700_000_000_123
    with path.open("r+b") as page:
        page.write(struct.pack("<4q", 4, 1_700_000_000_000_000_000, time.monotonic_ns() - 5_000_000_000, 1))
    assert 5_000 <= clock.now_ms() - 1_700_000_000_000 < 6_000
    with pytest.raises(ValueError, match="32 bytes"):
        short = tmp_path / "short"
        short.write_bytes(bytes(31))
        FileClock(short)


def test_file_clock_waits_out_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An odd seq is a page in the making."""
    path = tmp_path / "clock"
    path.write_bytes(struct.pack("<4q", 3, 0, 0, 0))
    clock = FileClock(path)

    def written(_: float) -> None:
        path.open("r+b").write(struct.pack("<4q", 4, 9_000_000, 0, 0))

    monkeypatch.setattr(time, "sleep", written)
    assert clock.now_ms() == 9


def test_alerts_go_first(tmp_path: Path) -> None:
    """Behind any backlog an alert stands at the head of the next commit, and a commit is bounded."""
    worker = ingest.Worker(store.connect(tmp_path, create=True), open_clock(None))
    backlog = [Msg(None, subject=f"v1.acme.n1.up.b.{index}") for index in range(300)]  # type: ignore[arg-type]
    alert = Msg(None, subject="v1.acme.n1.up.a")  # type: ignore[arg-type]
    worker._rest.queue.extend(backlog)
    worker._alerts.queue.append(alert)
    assert worker._next_batch() == [alert, *backlog[:255]]
    assert worker._next_batch() == backlog[255:]
