"""A database of an older schema becomes the present one, with all it held, unsent acknowledgements included."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import cloudkit as kit
import pytest

from cloud import downlink, query, schema, store, transaction
from cloud.clock import EPOCH_2020
from cloud.tail import Tail

KEYS = kit.NodeKeys(bytes(range(32)), "acme", "n1")
F = 0xFFFF
NOW_MS = (EPOCH_2020 + 200_000_000) * 1000


def frame(seq: int, quality: int = 2) -> bytes:
    """A ring-2 payload of two rows a minute apart, the second one earlier: a clock was set."""
    rows = [(1000 * seq + 60, [seq]), (1000 * seq, [seq + 1])]
    return kit.frame_payload(2 * seq, 2, kit.codec_frame([(1, -2)], rows, quality))


@pytest.fixture(params=[1, 2, 3, 4, 5, 6])
def version(request: pytest.FixtureRequest) -> int:
    """Each schema there was."""
    return request.param


@pytest.fixture
def old(version: int, tmp_path: Path) -> Path:
    """A folder with a database as the program of that schema left it: a node in a session, an alarm, frames 1, 3 (in
    uptime) and 5, and 2, which does not decode. Frame 5 was committed before the alarm and frame 3, which had arrived
    before it.
    """
    db = sqlite3.connect(store.database_path(tmp_path))
    db.executescript((Path(__file__).parent / f"cloud_schema_{version}.sql").read_text())
    assert db.execute("PRAGMA user_version").fetchone() == (version,)
    db.close()
    return tmp_path


def test_what_it_held_stays_and_its_times_are_known(old: Path) -> None:
    """Twice, for the second opening finds nothing to do."""
    for _ in range(2):
        with store.connect(old, create=True) as db:
            assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
            assert "password" not in [column[1] for column in db.execute("PRAGMA table_info(node)")]
            assert store.registration(db, "n1") == store.Registration(
                "acme", KEYS.kd, False, 0, ((1, "air.temperature", "degC"),)
            )
            frames = db.execute("SELECT seq, lo, hi FROM record WHERE cursor = 2 ORDER BY seq")
            spans = [(seq, lo and lo - EPOCH_2020, hi and hi - EPOCH_2020) for seq, lo, hi in frames]
            assert spans == [(1, 1000, 1060), (2, None, None), (3, None, None), (5, 5000, 5060)]
            assert [r.value for r in query.readings(db, "n1", None, EPOCH_2020 + 5000, EPOCH_2020 + 5001)] == [6]
            assert len(list(query.readings(db, "n1"))) == 6
            assert [(event["kind"], event["time_s"]) for event in query.alerts(db, "n1")] == [
                ("alarm", NOW_MS // 1000), ("undecodable", NOW_MS // 1000)
            ]  # fmt: skip
        db.close()


def test_the_session_goes_on(old: Path) -> None:
    """The ACK of before is the ACK of after, and the frame that was not sent yet is taken."""
    db = store.connect(old, create=True)
    message = transaction.ack(db, "n1", NOW_MS)
    assert message
    opened = KEYS.open_ack(message, b"nonce-01")
    assert opened
    assert (opened["ackno"], opened[2]["cum"], opened[2]["ranges"]) == (3, 3, [(2, 1)])
    arrival = transaction.Arrival("acme", "n1", "t", KEYS.data(2, F, 4, frame(4)), NOW_MS)
    assert transaction.take(db, [arrival]) == {"n1"}
    assert query.cursors(db, "n1")["2"]["cum"] == 5
    db.close()


def test_what_a_first_birth_had_overtaken_comes_in(tmp_path: Path) -> None:
    """Schema 6 counted a stream from its first birth's oldest: frame 3 came after that of 4, and was thrown away."""
    db = sqlite3.connect(store.database_path(tmp_path))
    db.executescript((Path(__file__).parent / "cloud_schema_6.sql").read_text())
    db.execute("INSERT INTO cursor VALUES (3, 1, 2, 65534, 9, 4, 0)")
    for seq in (4, 5, 8, 11):
        db.execute("INSERT INTO record VALUES (3, ?, x'', 0, NULL, ?, NULL, NULL)", (seq, frame(seq)))
    db.executemany("INSERT INTO gap VALUES (3, ?, ?, 1)", [(6, 7), (9, 9)])
    db.execute("INSERT INTO cursor VALUES (4, 1, 2, 65533, 2, 3, 0)")
    db.commit()
    db.close()
    db = store.connect(tmp_path)
    gaps = "SELECT lo, hi, reason FROM gap WHERE cursor = ? ORDER BY lo"
    assert db.execute(gaps, (3,)).fetchall() == [(1, 3, 0), (6, 7, 1), (9, 9, 1)]
    assert db.execute(gaps, (4,)).fetchall() == [(1, 2, 0)]
    assert db.execute("SELECT count(*) FROM gap WHERE cursor < 3").fetchone() == (0,)
    late = [transaction.Arrival("acme", "n1", "t", KEYS.data(2, 65534, seq, frame(seq)), NOW_MS) for seq in (3, 5)]
    transaction.take(db, late)
    assert db.execute("SELECT payload FROM record WHERE cursor = 3 AND seq = 3").fetchone() == (frame(3),)
    assert db.execute(gaps, (3,)).fetchall() == [(1, 2, 0), (6, 7, 1), (9, 9, 1)]
    assert db.execute("SELECT cum FROM cursor WHERE id = 3").fetchone() == (9,)
    assert dict(db.execute("SELECT name, count FROM counter"))["late"] == 1
    db.close()


def test_a_command_can_wait(old: Path) -> None:
    """The table is there, the present session's ACK says so, and the command is sealed for that session."""
    db = store.connect(old)
    number = downlink.enqueue(db, "n1", 1, b"", 3600, NOW_MS)
    opened = KEYS.open_ack(transaction.ack(db, "n1", NOW_MS) or b"", b"nonce-01")
    assert opened and opened["flags"] == 4
    sealed = downlink.seal_next(db, "n1", NOW_MS)
    assert sealed
    ttl_s = int.from_bytes(sealed.message[5:7], "little")
    assert sealed.message == KEYS.command(b"nonce-01", number, ttl_s, 1) and 3600 <= ttl_s < 3700
    db.close()


def test_when_it_was_heard_of_is_known(old: Path) -> None:
    """From the session's birth, until the next message."""
    db = store.connect(old)
    heard = "SELECT heard_ms FROM node"
    assert db.execute(heard).fetchone() == db.execute("SELECT arrived_ms FROM birth").fetchone()
    transaction.take(db, [transaction.Arrival("acme", "n1", "t", KEYS.data(2, F, 4, frame(4)), NOW_MS + 5000)])
    assert db.execute(heard).fetchone() == (NOW_MS + 5000,)
    db.close()


def test_the_commits_are_told_in_order(old: Path, version: int) -> None:
    """In that of commits where it was recorded, from schema 3 on, else in that of arrivals; then what comes."""
    tail = Tail(old, from_start=True)
    told = [(commit.kind, commit.seq) for commit in tail.poll()]
    begin = [("birth", None), ("frame", 1), ("undecodable", 2)]
    arrived = [("alarm", 1), ("frame", 3), ("frame", 5)]
    assert told == begin + (arrived if version < 3 else arrived[2:] + arrived[:2])
    db = store.connect(old)
    transaction.take(db, [transaction.Arrival("acme", "n1", "t", KEYS.data(2, F, 4, frame(4)), NOW_MS)])
    db.close()
    assert [(commit.kind, commit.seq) for commit in tail.poll()] == [("frame", 4)]


def test_the_schema_made_anew_is_the_one_migrated_to(old: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Table by table, column by column, and the indexes."""

    def layout(db: sqlite3.Connection) -> dict[str, set[tuple[object, ...]]]:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'index')")]
        return {name: {tuple(row[1:]) for row in db.execute(f"PRAGMA table_info({name})")} for name in names}

    def unordered(db: sqlite3.Connection) -> dict[str, set[tuple[object, ...]]]:
        return {name: {row[:4] for row in rows} for name, rows in layout(db).items()}

    fresh = store.connect(tmp_path_factory.mktemp("fresh"), create=True)
    migrated = store.connect(old, create=True)
    assert unordered(fresh) == unordered(migrated)
    fresh.close()
    migrated.close()


def test_a_reader_brings_it_up_to_date_too(old: Path) -> None:
    """And can write nothing afterwards."""
    db = store.connect_to_read(old)
    assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert len(list(query.readings(db, "n1"))) == 6
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM arrival")
    db.close()


def test_a_later_schema_is_refused(tmp_path: Path) -> None:
    """By all, and left as it is."""
    with store.connect(tmp_path, create=True) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    for connect in (store.connect, store.connect_to_read):
        with pytest.raises(store.StoreError, match="schema 99"):
            connect(tmp_path)
