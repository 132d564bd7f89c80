"""The transaction of ingest, in process and without a broker: what is taken, what an ACK says, and when."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cloudkit as kit
import pytest

from cloud import query, store, transaction
from cloud.clock import EPOCH_2020

KEYS = kit.NodeKeys(bytes(range(32)), "acme", "n1")
A, F = 0xAAAA, 0xFFFF
NOW_MS = (EPOCH_2020 + 200_000_000) * 1000
NONCE = b"nonce-01"


def payload(first: int, rows: int = 1) -> bytes:
    """A ring-2 payload with `rows` rows, one a minute, of which the first is journal row `first`."""
    values = [(200_000_000 + 60 * index, [first + index]) for index in range(rows)]
    return kit.frame_payload(first, rows, kit.codec_frame([(1, -2)], values))


def gap(ring: int, lo: int, hi: int, boot: int = 1, reason: int = 1) -> bytes:
    """A ring-1 payload: a gap."""
    return kit.event_payload(5, kit.gap_body(ring, lo, hi, reason, hi - lo + 1), boot)


class Ingest:
    """A database with one node, fed by hand."""

    def __init__(self, data: Path) -> None:
        self.db = store.connect(data, create=True)
        store.add_node(self.db, "n1", "acme", KEYS.key, [(1, "air.temperature", "degC")])
        self.nonce = NONCE

    def take(self, *messages: tuple[str, bytes], later_ms: int = 0) -> set[str]:
        """One batch of (lane, message)."""
        at_ms = NOW_MS + later_ms
        return transaction.take(self.db, [transaction.Arrival("acme", "n1", *pair, at_ms) for pair in messages])

    def birth(
        self,
        conn: int,
        a: Sequence[int] = (A, 1, 1),
        f: Sequence[int] = (F, 1, 1),
        boot: int = 1,
        **fields: Any,
    ) -> bytes:
        """A birth of rings (stream, oldest, next); the session's nonce becomes its nonce."""
        self.nonce = fields.pop("nonce", b"nonce%03d" % conn)
        rings = [(s, o, n) for s, o, n in (a, f)]
        return KEYS.birth(boot, conn, rings, nonce=self.nonce, **fields)

    def frames(self, *seqs: int, stream: int = F) -> None:
        """One batch of frames."""
        self.take(*(("t", KEYS.data(2, stream, seq, payload(seq))) for seq in seqs))

    def ack(self) -> dict[Any, Any]:
        """The ACK now, opened by the node's side."""
        message = transaction.ack(self.db, "n1", NOW_MS + 7)
        if message is None:
            raise LookupError("no session")
        opened = KEYS.open_ack(message, self.nonce)
        if opened is None:
            raise LookupError("tag of another session")
        return opened

    def state(self) -> dict[str, Any]:
        """What `cursors` says."""
        return query.cursors(self.db, "n1")

    def counted(self) -> dict[str, int]:
        """The counters that are not 0."""
        return {name: count for name, count in self.state()["counters"].items() if count}


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    """A fresh database."""
    return Ingest(tmp_path)


def test_ack_is_a_snapshot(ingest: Ingest) -> None:
    """cum, ranges, credit, clock and a growing ackno."""
    ingest.take(("s", ingest.birth(1)))
    first = ingest.ack()
    assert (first["ackno"], first["now"], first["ms"], first["flags"]) == (2, 200_000_000, 7, 0)
    ingest.frames(1, 2, 4, 5, 9)
    ack = ingest.ack()
    assert ack[2] == {"stream": F, "cum": 2, "credit": 12, "ranges": [(2, 2), (7, 1)]}
    assert ack["ackno"] == 4
    ingest.frames(3)
    assert (ingest.ack()[2]["cum"], ingest.ack()[2]["ranges"]) == (5, [(4, 1)])


def test_at_most_sixteen_ranges_within_16_bits(ingest: Ingest) -> None:
    """What an ACK cannot name, it leaves out."""
    ingest.take(("s", ingest.birth(1)))
    ingest.frames(*range(2, 60, 2), 70_000)
    assert ingest.ack()[2]["ranges"] == [(2 + 2 * index, 1) for index in range(16)]
    ingest.frames(*range(1, 60, 2))
    assert ingest.ack()[2] == {"stream": F, "cum": 59, "credit": 12, "ranges": []}


def test_no_session_no_ack(ingest: Ingest) -> None:
    """Data before any birth is kept; the birth tells what is missing."""
    ingest.frames(5)
    assert transaction.ack(ingest.db, "n1", NOW_MS) is None
    ingest.take(("s", ingest.birth(1, f=(F, 5, 7))))
    assert ingest.ack()[2]["cum"] == 5
    assert ingest.state()["2"]["gaps"] == [{"lo": 1, "hi": 4, "reason": 0}]


def test_duplicate_and_conflict(ingest: Ingest) -> None:
    """The first content stays; every copy is owed an ACK."""
    ingest.take(("s", ingest.birth(1)))
    ingest.frames(1)
    assert ingest.take(("b", KEYS.data(2, F, 1, payload(1)))) == {"n1"}
    assert ingest.counted() == {"duplicate": 1}
    for _ in range(2):
        assert ingest.take(("t", KEYS.data(2, F, 1, payload(77)))) == {"n1"}
    assert ingest.counted() == {"duplicate": 1, "conflict": 2}
    assert ingest.state()["2"]["conflicts"] == 2
    assert [reading.value for reading in query.readings(ingest.db, "n1")] == [1]
    assert [event["kind"] for event in query.alerts(ingest.db, "n1")] == ["conflict"]


def test_purged_records_are_duplicates(ingest: Ingest) -> None:
    """cum remembers what the table no longer holds."""
    ingest.take(("s", ingest.birth(1)))
    ingest.frames(1, 2, 3)
    ingest.db.execute("DELETE FROM record WHERE seq < 3")
    ingest.frames(2)
    assert (ingest.counted(), ingest.state()["2"]["rows"]) == ({"duplicate": 1}, 1)


def test_bad_tag_is_dropped_without_ack(ingest: Ingest) -> None:
    """Also a message sealed for another node or with another key, and one too short to carry a tag."""
    other = kit.NodeKeys(KEYS.key, "acme", "n2")
    good = KEYS.data(2, F, 1, payload(1))
    bad = [good[:-1] + bytes([good[-1] ^ 1]), other.data(2, F, 1, payload(1)), b"\x11\2", b""]
    assert ingest.take(*(("t", message) for message in bad)) == set()
    assert ingest.counted() == {"bad_tag": 4}
    assert "2" not in ingest.state()


def test_unknown_node_and_log_lane_leave_nothing(ingest: Ingest) -> None:
    """Neither is anything that ingest keeps."""
    message = KEYS.data(2, F, 1, payload(1))
    for tenant, node, lane in (("acme", "nobody", "t"), ("other", "n1", "t"), ("acme", "n1", "l")):
        assert transaction.take(ingest.db, [transaction.Arrival(tenant, node, lane, message, NOW_MS)]) == set()
    assert (ingest.counted(), "2" in ingest.state()) == ({}, False)


def test_malformed_but_authentic(ingest: Ingest) -> None:
    """Counted, not stored, acknowledged."""
    ingest.take(("s", ingest.birth(1)))
    assert ingest.take(("a", KEYS.data(2, F, 1, payload(1)))) == {"n1"}
    assert (ingest.counted(), ingest.state()["2"]["rows"]) == ({"malformed": 1}, 0)


@pytest.mark.parametrize(
    "bad",
    [b"", b"12345", kit.frame_payload(1, 2, payload(1)[6:]), payload(1)[:-1] + b"\0"],
    ids=["empty", "short", "other row count", "bad CRC"],
)
def test_undecodable_is_stored_flagged_and_acknowledged(ingest: Ingest, bad: bytes) -> None:
    """It must not block the node; queries step over it."""
    ingest.take(("s", ingest.birth(1)), ("t", KEYS.data(2, F, 1, bad)), ("t", KEYS.data(2, F, 2, payload(2))))
    assert ingest.ack()[2]["cum"] == 2
    assert ingest.counted() == {"undecodable": 1}
    assert [reading.journal_seq for reading in query.readings(ingest.db, "n1")] == [2]
    (stored,) = ingest.db.execute("SELECT payload FROM record WHERE seq = 1 AND fault IS NOT NULL").fetchone()
    assert stored == bad


def test_birth_redelivered_and_replayed(ingest: Ingest) -> None:
    """The same birth is the same session; an older one, or another with the same numbers, is ignored."""
    one, two = ingest.birth(1), ingest.birth(2)
    assert ingest.take(("s", one), ("s", two)) == {"n1"}
    assert ingest.take(("s", two)) == {"n1"}
    assert ingest.ack()["ackno"] == 4
    impostor = ingest.birth(2, nonce=b"impostor")
    ingest.nonce = b"nonce002"
    assert ingest.take(("s", one), ("s", impostor)) == set()
    assert ingest.ack()["ackno"] == 4
    assert ingest.counted() == {"stale_birth": 2}
    assert ingest.take(("s", ingest.birth(0, boot=2))) == {"n1"}
    assert ingest.ack()[1]["stream"] == A


def test_birth_of_a_new_stream(ingest: Ingest) -> None:
    """Counters start afresh with a formatted ring; a birth of the old one does not bring it back."""
    old = ingest.birth(9, boot=5)
    ingest.take(("s", old))
    ingest.take(("s", ingest.birth(1, a=(A + 1, 1, 1), f=(F + 1, 41, 50), boot=1, chip=3)))
    assert ingest.ack()[2] == {"stream": F + 1, "cum": 40, "credit": 12, "ranges": []}
    assert ingest.take(("s", old)) == set()
    assert ingest.state()["2"]["gaps"] == [{"lo": 1, "hi": 40, "reason": 0}]
    assert [event["kind"] for event in query.alerts(ingest.db, "n1")] == ["two_chips"]


def test_gap_by_birth_is_filled_by_a_late_record(ingest: Ingest) -> None:
    """oldest > cum + 1: what lies between is lost at the node, unless it comes after all."""
    ingest.take(("s", ingest.birth(1)))
    ingest.frames(1, 2, 5)
    ingest.take(("s", ingest.birth(2, f=(F, 10, 12))))
    assert ingest.ack()[2]["cum"] == 9
    assert ingest.state()["2"]["gaps"] == [{"lo": 3, "hi": 4, "reason": 0}, {"lo": 6, "hi": 9, "reason": 0}]
    ingest.frames(7)
    gaps = [(g["lo"], g["hi"]) for g in ingest.state()["2"]["gaps"]]
    assert (gaps, ingest.counted(), ingest.ack()[2]["cum"]) == ([(3, 4), (6, 6), (8, 9)], {"late": 1}, 9)


def test_gap_by_event(ingest: Ingest) -> None:
    """An event advances cum, its reason beats the birth's; a journal gap moves no cursor."""
    ingest.take(("s", ingest.birth(1)))
    ingest.frames(1)
    events = [gap(0, 1, 500), gap(1, 4, 6, reason=2), gap(2, 2, 3)]
    ingest.take(*(("e", KEYS.data(1, A, seq, event)) for seq, event in enumerate(events, 1)))
    ack = ingest.ack()
    assert (ack[1]["cum"], ack[2]["cum"]) == (6, 3)
    assert ingest.state()["1"]["gaps"] == [{"lo": 4, "hi": 6, "reason": 2}]
    ingest.take(("s", ingest.birth(2, (A, 1, 7), (F, 10, 12))), ("e", KEYS.data(1, A, 7, gap(2, 5, 6, reason=2))))
    reasons = [(g["lo"], g["hi"], g["reason"]) for g in ingest.state()["2"]["gaps"]]
    assert reasons == [(2, 3, 1), (4, 4, 0), (5, 6, 2), (7, 9, 0)]
    listed = [(event["ring"], event["lo"], event["readings"]) for event in query.alerts(ingest.db, "n1")]
    assert listed == [(0, 1, 500), (1, 4, 3), (2, 2, 2), (2, 5, 2)]


def test_a_gap_that_takes_in_earlier_ones_counts_their_records_once(ingest: Ingest) -> None:
    """The node had no answer to the first and copied it joined with what followed."""
    ingest.take(("s", ingest.birth(1)))
    ingest.frames(1)
    for seq, event in enumerate((gap(2, 2, 3), gap(2, 2, 6), gap(2, 4, 6), gap(2, 2, 9)), 1):
        ingest.take(("e", KEYS.data(1, A, seq, event)))
    found = [at for each in ingest.state()["2"]["gaps"] for at in range(each["lo"], each["hi"] + 1)]
    assert found == list(range(2, 10)) and ingest.ack()[2]["cum"] == 9


@pytest.mark.parametrize("seq", [1, 3, 5])
def test_a_gap_event_that_names_itself(ingest: Ingest, seq: int) -> None:
    """It came, so it is no part of the gap: first, amid and last of what it names, and the gap before it or after."""
    ingest.take(("s", ingest.birth(1, (A, 1, 6))), ("e", KEYS.data(1, A, seq, gap(1, 1, 5))))
    gaps = [(g["lo"], g["hi"]) for g in ingest.state()["1"]["gaps"]]
    assert {at for lo, hi in gaps for at in range(lo, hi + 1)} == {1, 2, 3, 4, 5} - {seq}
    assert (ingest.state()["1"]["rows"], ingest.ack()[1]["cum"]) == (1, 5)
    ingest.take(("e", KEYS.data(1, A, seq, gap(1, 1, 5))))
    assert ingest.counted() == {"duplicate": 1}


def test_gap_event_and_the_first_birth(ingest: Ingest) -> None:
    """What lies below the first oldest is missing, the event tells why; what is stored stays."""
    ingest.take(("s", ingest.birth(1, f=(F, 8, 12))))
    ingest.frames(9)
    ingest.take(("e", KEYS.data(1, A, 1, gap(2, 3, 10))))
    reasons = [(g["lo"], g["hi"], g["reason"]) for g in ingest.state()["2"]["gaps"]]
    assert reasons == [(1, 2, 0), (3, 7, 1), (8, 8, 1), (10, 10, 1)]
    assert ingest.ack()[2]["cum"] == 10


def test_a_record_that_the_first_birth_overtook_comes_in(ingest: Ingest) -> None:
    """Births go first, and an earlier contact's may be lost: the record that was under way fills its gap."""
    ingest.take(("s", ingest.birth(2, f=(F, 8, 12))))
    ingest.frames(5)
    gaps = [(g["lo"], g["hi"]) for g in ingest.state()["2"]["gaps"]]
    assert (gaps, ingest.counted(), ingest.ack()[2]["cum"]) == ([(1, 4), (6, 7)], {"late": 1}, 7)


def test_gap_of_frames_known_before_any_birth(ingest: Ingest) -> None:
    """It waits for the birth that says which stream it means."""
    ingest.take(("e", KEYS.data(1, A, 1, gap(2, 2, 3))))
    ingest.frames(1, 4)
    ingest.take(("s", ingest.birth(1, f=(F, 1, 5))))
    assert ingest.ack()[2]["cum"] == 4


def test_gap_of_a_former_frames_ring_releases_nothing_of_the_new_one(ingest: Ingest) -> None:
    """An event written before ring 2 was formatted arrives after."""
    ingest.take(("s", ingest.birth(1, boot=3)))
    ingest.take(("s", ingest.birth(1, boot=6, f=(F + 1, 1, 9))))
    ingest.take(("e", KEYS.data(1, A, 1, gap(2, 1, 5, boot=4))))
    assert ingest.ack()[2]["cum"] == 0
    ingest.take(("e", KEYS.data(1, A, 2, gap(2, 1, 5, boot=6))))
    assert ingest.ack()[2]["cum"] == 5


def test_a_ring_that_went_back_is_noticed(ingest: Ingest) -> None:
    """next <= cum: the node would refuse every ACK."""
    ingest.take(("s", ingest.birth(1)))
    ingest.frames(1, 2, 3)
    ingest.take(("s", ingest.birth(2, f=(F, 1, 2))), later_ms=60_000)
    assert [event["kind"] for event in query.alerts(ingest.db, "n1")] == ["rollback"]


def test_records_made_in_mid_contact_that_overtake_its_birth(ingest: Ingest) -> None:
    """Of two workers the other one committed first: no ring went back."""
    ingest.take(("s", ingest.birth(1)))
    ingest.frames(1)
    ingest.take(("t", KEYS.data(2, F, 2, payload(2))), later_ms=60_200)
    ingest.take(("s", ingest.birth(2, f=(F, 1, 2))), later_ms=60_000)
    assert query.alerts(ingest.db, "n1") == []
    assert ingest.ack()[2]["cum"] == 2


def test_nothing_is_kept_of_a_batch_that_fails(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction is all or nothing."""
    ingest.take(("s", ingest.birth(1)))

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk full")

    monkeypatch.setattr(transaction._Batch, "advance", fail)
    with pytest.raises(sqlite3.OperationalError):
        ingest.frames(1)
    monkeypatch.undo()
    assert (ingest.state()["2"]["rows"], ingest.ack()["ackno"]) == (0, 2)


def test_hold(ingest: Ingest) -> None:
    """A hold gives no credit, is newer than the ACK before it and older than the next one."""
    ingest.take(("s", ingest.birth(1)))
    message = transaction.ack(ingest.db, "n1", NOW_MS, hold=True)
    assert transaction.ack(ingest.db, "n1", NOW_MS, hold=True) == message
    opened = KEYS.open_ack(message or b"", ingest.nonce) or {}
    assert (opened["flags"], opened["ackno"], opened[1]["credit"], opened[2]["credit"]) == (1, 3, 0, 0)
    ingest.frames(1)
    assert ingest.ack()["ackno"] == 4


class Oracle:
    """What the database must hold in the end, by sets: records delivered, seqs given up."""

    def __init__(self) -> None:
        self.delivered: set[int] = set()
        self.given_up: set[int] = set()

    def cum(self) -> int:
        """All up to and including this are there or given up."""
        cum = 0
        while cum + 1 in self.delivered | self.given_up:
            cum += 1
        return cum

    def gaps(self) -> set[int]:
        """The seqs that are given up and did not come after all."""
        return self.given_up - self.delivered


@pytest.mark.parametrize("seed", range(60))
def test_any_order_any_copies_any_crash(tmp_path: Path, seed: int) -> None:
    """Shuffled, doubled, delivered again after a crash between commit and acknowledgement: the same database.

    Births come in order (a newer birth ends the older session); all else comes in any order around them. Checked
    after every commit: no seq that is neither stored nor given up is ever below cum.
    """
    rng = random.Random(seed)
    ingest = Ingest(tmp_path)
    oracle = Oracle()
    base = rng.choice((0, 0, 7))
    last = base + rng.randint(5, 40)
    seqs = range(rng.choice((1, base + 1)), last + 1)
    never = {seq for seq in seqs if rng.random() < 0.25}
    oldest = rng.randint(base + 1, last)
    queue: list[tuple[str, bytes, set[int], set[int]]] = []
    for seq in seqs:
        if seq not in never:
            queue.append(("tb"[rng.random() < 0.5], KEYS.data(2, F, seq, payload(seq)), {seq}, set()))
    for event in range(1, rng.randint(1, 5)):
        lo = rng.choice(seqs)
        hi = min(last, lo + rng.randint(0, 9))
        queue.append(("e", KEYS.data(1, A, event, gap(2, lo, hi)), set(), set(range(lo, hi + 1))))
    births = [
        ("s", ingest.birth(conn, f=(F, at, last + 1)), set(), set(range(1, at)))
        for conn, at in ((1, base + 1), (2, oldest))
    ]
    queue += [rng.choice(queue) for _ in range(rng.randint(0, 10)) if queue]
    rng.shuffle(queue)
    queue.insert(0, births[0])
    queue.insert(rng.randint(1, len(queue)), births[1])

    ingest.nonce = b"nonce001"
    while queue:
        size = rng.randint(1, 8)
        batch, rest = queue[:size], queue[size:]
        ingest.take(*((lane, message) for lane, message, _, _ in batch))
        if births[1] in batch:
            ingest.nonce = b"nonce002"
        for _, _, delivered, given_up in batch:
            oracle.delivered |= delivered
            oracle.given_up |= given_up
        assert ingest.ack()[2]["cum"] == oracle.cum()
        if rng.random() < 0.3:
            # A crash after the commit: the broker delivers the batch again, among what follows.
            again = [item for item in batch if item[0] != "s"]
            rest = again + rest if rng.random() < 0.5 else rest + again
            ingest.db.close()
            ingest.db = store.connect(tmp_path)
        queue = rest

    cursor = ingest.state()["2"]
    gaps = {seq for g in cursor["gaps"] for seq in range(g["lo"], g["hi"] + 1)}
    assert gaps == oracle.gaps()
    assert sum(g["hi"] - g["lo"] + 1 for g in cursor["gaps"]) == len(gaps)
    assert [reading.frame_seq for reading in query.readings(ingest.db, "n1")] == sorted(oracle.delivered)
    assert cursor["conflicts"] == 0


def test_a_revoked_node_is_not_heard(ingest: Ingest) -> None:
    """Whatever the broker still let through; admitted again it goes on where it was."""
    ingest.take(("s", ingest.birth(1)))
    ingest.frames(1)
    store.revoke_node(ingest.db, "n1")
    assert ingest.take(("t", KEYS.data(2, F, 2, payload(2)))) == set()
    assert (ingest.state()["2"]["rows"], ingest.counted()) == (1, {})
    store.add_node(ingest.db, "n1", "acme", KEYS.key, [])
    assert ingest.take(("t", KEYS.data(2, F, 2, payload(2)))) == {"n1"}
    assert ingest.ack()[2]["cum"] == 2
