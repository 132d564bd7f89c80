"""The exploration finds nothing wrong, and finds what is made wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from explore import Breach, Explorer, Message, Scenario, Worker, World
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from linkcloud import Cloud
from linknode import machine, wire
from scenarios import SAMPLED, WHOLE

from cloud import transaction

UNUSUAL = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
FOUND = {scenario.name: scenario for scenario in SAMPLED}


@pytest.fixture(autouse=True)
def quiet(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """The session says when a record was overwritten under it."""
    yield
    capsys.readouterr()


@pytest.mark.parametrize("scenario", SAMPLED, ids=lambda scenario: scenario.name)
def test_every_state_within_bounds(scenario: Scenario) -> None:
    explorer = Explorer(scenario)
    explorer.run()
    # Fewer would mean that something no longer happens at all.
    assert explorer.states > 500 and explorer.steps > explorer.states


def test_the_whole_is_never_less_than_the_sample() -> None:
    whole = {scenario.name: scenario for scenario in WHOLE}
    for sample in SAMPLED:
        for bound, least in vars(sample).items():
            assert bound in ("name", "clone") or getattr(whole[sample.name], bound) >= least, (sample.name, bound)


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=UNUSUAL)
def test_longer_paths_with_everything_in_them(data: st.DataObject) -> None:
    scenario = Scenario(
        "everything", alerts=6, frames=16, faults=12, cuts=4, kills=3, holds=3, lies=6, purges=2, overwrites=3,
        appends=4, workers=2, pulls=12,
    )  # fmt: skip
    choices = data.draw(st.lists(st.integers(0, 1 << 16), min_size=120, max_size=120))
    moves = iter(choices)
    Explorer(scenario).walk(lambda count: next(moves) % count, len(choices))


# Planted bugs. Each is a mistake that someone could make; the exploration must see it.


def _breach(scenario: Scenario, explorer: type[Explorer] = Explorer) -> str:
    with pytest.raises(Breach) as breach:
        explorer(scenario).run()
    assert breach.value.trace
    return breach.value.text


def test_release_on_the_brokers_word_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = machine.Session.sent

    def sent_and_released(self: Any, item: Any, now: int) -> None:
        sent(self, item, now)
        if item[1] is not None:
            item[1].ring.release(item[2])

    monkeypatch.setattr(machine.Session, "sent", sent_and_released)
    assert "never committed" in _breach(FOUND["drop, duplicate, reorder"])


def _refusal(self: Any, ack: Any, rings: Any, skip: str) -> str | None:
    """AckReader._refusal without one of its rules."""
    if ack.ackno <= self._ackno:
        return "old"
    for said in ack.rings:
        following = [after for ring, stream, after in rings if ring == said.ring and skip in ("stream", "")]
        following = following or [after for ring, stream, after in rings if (ring, stream) == (said.ring, said.stream)]
        if not following:
            return "stream"
        if skip != "future" and said.cum >= following[0]:
            return "future"
        if skip != "range" and any(first + length > following[0] for first, length in said.ranges):
            return "future"
    return None


@pytest.mark.parametrize("rule", ["stream", "future"])
def test_an_ack_that_is_believed_too_easily_is_found(monkeypatch: pytest.MonkeyPatch, rule: str) -> None:
    monkeypatch.setattr(wire.AckReader, "_refusal", lambda self, ack, rings: _refusal(self, ack, rings, rule))
    assert "released" in _breach(FOUND["forged, replayed and impossible messages"])


def test_a_tag_that_nobody_compares_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "equal", lambda a, b: True)
    assert "never committed" in _breach(FOUND["forged, replayed and impossible messages"])


def test_a_tag_that_ingest_does_not_check_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction.wire, "authentic", lambda *args: True)
    assert _breach(FOUND["forged, replayed and impossible messages"])


def test_cum_over_a_hole_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def advance(self: Any, cursor: Any) -> None:
        (top,) = self.db.execute("SELECT max(seq) FROM record WHERE cursor = ?", (cursor.id,)).fetchone()
        cursor.cum = max(cursor.cum, top or 0)
        self.db.execute("UPDATE cursor SET cum = ? WHERE id = ?", (cursor.cum, cursor.id))

    monkeypatch.setattr(transaction._Batch, "advance", advance)
    assert "which is not there" in _breach(FOUND["drop, duplicate, reorder"])


def test_a_purged_record_taken_in_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transaction._Batch, "carve", lambda *args: True)
    assert "purged record" in _breach(FOUND["purge, then replay"])


def test_a_cursor_that_knows_no_stream_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = transaction._Batch.cursor
    monkeypatch.setattr(
        transaction._Batch, "cursor", lambda self, node, ring, stream: cursor(self, node, ring, stream & 0xF0)
    )
    monkeypatch.setattr(transaction, "_ack_ring", _ack_ring_without_stream(transaction._ack_ring))
    assert _breach(FOUND["ring 2 formatted anew"])


def _ack_ring_without_stream(right: Any) -> Any:
    def ack_ring(db: Any, node: int, ring: int, stream: int, credit: int) -> Any:
        said = right(db, node, ring, stream & 0xF0, credit)
        return transaction.wire.AckRing(ring, stream, said.cum, said.credit, said.ranges)

    return ack_ring


def test_an_ack_before_the_commit_is_found() -> None:
    assert "never committed" in _breach(Scenario("ack first", alerts=2, frames=2, kills=1, ack_first=True))


class _Counting(Explorer):
    """Ingest numbers holds 1, 2, 3 after the last ackno. How many there were it knows of its own, and guesses from how
    often the broker has handed out a message: a world's memory has one entry for each time that one came again.
    """

    def _take(self, world: World, worker: Worker, batch: tuple[Message, ...]) -> tuple[World, Worker, bool]:
        holds = max(worker.memory, *(world.memory.count(message) for message in batch))
        cloud, owed = self.cloud.take(world.cloud, batch)
        if not owed:
            return world._replace(cloud=cloud), worker, owed
        world = self._passed(world, self.cloud.numbered(cloud, 1 + holds - transaction.ACKNO_STEP), owed)
        return self._became(world, worker, worker._replace(memory=0)), worker._replace(memory=0), owed

    def _hold(self, world: World, worker: Worker) -> tuple[World, bytes | None]:
        ack = self.cloud.ack(self.cloud.numbered(world.cloud, worker.memory), hold=True)
        return self._became(world, worker, worker._replace(memory=worker.memory + 1)), ack

    def _again(self, world: World, batch: tuple[Message, ...]) -> World:
        return super()._again(world._replace(memory=tuple(sorted((*world.memory, *batch)))), batch)


def test_a_hold_that_only_its_worker_knows_of_is_found() -> None:
    """It was once so: one worker refuses, another commits what that one has not seen, and its ACK is no newer."""
    scenario = FOUND["two workers, killed and refused"]
    assert (scenario.workers, scenario.holds, scenario.kills) == (2, 2, 1)
    assert "does not pass" in _breach(scenario, _Counting)
    alone = Scenario("one worker that lives", alerts=1, frames=2, holds=2)
    Explorer(alone).run()
    _Counting(alone).run()


def test_a_birth_that_is_not_repeated_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    due = machine.Session._birth_due
    monkeypatch.setattr(machine.Session, "_birth_due", lambda self: due(self) if self.state == machine.NEW else None)
    assert "waits for ever" in _breach(Scenario("hold", alerts=1, frames=1, faults=1, holds=1))


def test_an_acknowledged_record_that_a_backup_lost_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was once so: the exploration found it."""
    take = machine.Lane.take

    def take_and_keep(self: Any, said: Any) -> Any:
        before = self.acked
        ended = take(self, said)
        self.acked |= {seq for seq in before if seq > said.cum}
        return ended

    monkeypatch.setattr(machine.Lane, "take", take_and_keep)
    assert "waits for ever" in _breach(FOUND["backup restored"])


def test_nothing_sent_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pick = machine.Lane.pick
    monkeypatch.setattr(machine.Lane, "pick", lambda self, flying, waiting, now: pick(self, [], waiting, now))
    assert "no progress" in _breach(Scenario("loss", alerts=1, frames=2, faults=1))


# The two ends of the exploration are what they claim to be.


def test_a_state_of_the_cloud_comes_back_as_it_was() -> None:
    explorer = Explorer(FOUND["frame given up, and late in its gap"])
    explorer.run(3000)
    cloud: Cloud = explorer.cloud
    for state in range(0, len(cloud._states), 7):
        view = cloud.view(state)
        cloud._restore(0)
        cloud._restore(state)
        assert cloud._keep(view.ever, view.purged) == state


def test_a_node_thaws_to_what_was_frozen() -> None:
    explorer = Explorer(FOUND["cuts of the node"])
    explorer.run(3000)
    from linknode import _Waking

    frozen = {node for world in explorer._parent for node in world.nodes if node.session is not None}
    assert len(frozen) > 50
    for node in frozen:
        assert _Waking(node).state() == node
