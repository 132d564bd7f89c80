"""The torture of the link, sampled; and the bugs it is there for, planted in copies of the cloud end and in a node."""

import shutil
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from tools import linktorture
from tools.load.torture import CLOUD_FAULTS, PATH_FAULTS, Bench, Findings

ROOT = Path(__file__).resolve().parents[2]


def _planted(folder: Path, *changes: tuple[str, str, str]) -> Path:
    """A copy of the cloud end with changes (file, what stands there once, what stands there then)."""
    shutil.copytree(ROOT / "cloud", folder / "planted" / "cloud", ignore=shutil.ignore_patterns("__pycache__"))
    for file, good, bad in changes:
        path = folder / "planted" / "cloud" / file
        source = path.read_text()
        assert source.count(good) == 1, f"{file} has changed: {good!r}"
        path.write_text(source.replace(good, bad))
    return folder / "planted"


@pytest.mark.beside(3)
@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_lost_doubled_or_acknowledged_early(tmp_path: Path, workers: int) -> None:
    """A fortieth of a section."""
    found = Bench(tmp_path, 2, 500, seed=1, every_s=1.5, kill_every_s=3.0, most_s=90, workers=workers).run()
    assert found.clean, found
    assert found.rows + found.given_up == found.frames == 1000
    assert found.given_up and sum(found.faults.values()) >= 3, found


@pytest.mark.beside(3)
def test_an_ack_before_the_commit_is_seen(tmp_path: Path) -> None:
    """Ingest that acknowledges what it has read, and commits it afterwards."""
    commit = "        try:\n            owed = await loop.run_in_executor"
    root = _planted(tmp_path, ("ingest.py", commit, f"        await self._early(client, arrivals)\n{commit}"))
    with (root / "cloud" / "ingest.py").open("a") as file:
        file.write('''

async def _early(self, client, arrivals):
    """As if everything up to the highest seq were committed."""
    highest = {}
    for arrival in arrivals:
        if arrival.lane in "tb":
            seq = wire.parse_data(arrival.message, arrival.lane).seq
            highest[arrival.tenant, arrival.node] = max(seq, highest.get((arrival.tenant, arrival.node), 0))
    for (tenant, node), seq in highest.items():
        row = self._db.execute(
            "SELECT kd, ackno, nonce, stream2 FROM node JOIN birth ON birth.id = session WHERE name = ?", (node,)
        ).fetchone()
        if row is not None:
            kd, ackno, nonce, stream = row
            message = wire.encode_ack(
                flags=0, ackno=ackno + 1, now_ms=0, config=0, rings=[wire.AckRing(2, stream, seq, 12)],
                key=kd, tenant=tenant, node=node, nonce=nonce,
            )
            await client.publish(f"v1.{tenant}.{node}.dn.ack", message)
    await client.flush()
    await asyncio.sleep(0.1)


Worker._early = _early
''')
    found = Bench(tmp_path, 2, 60, seed=2, root=root, most_s=60).run()
    assert found.early_acks and not found.clean, found


# As if the broker never heard that a message was taken: it delivers each one twice.
TWICE = (
    "ingest.py", "                await message.ack()",
    "                await (message.nak() if message.metadata.num_delivered == 1 else message.ack())",
)  # fmt: skip
# Ingest that takes what comes again for something new.
NEW_EACH_TIME = (
    "transaction.py",
    "        elif row is not None or not (filled := self.carve(cursor, data.seq, data.seq)) "
    "and data.seq <= cursor.cum:",
    "        elif False:",
)  # fmt: skip


@pytest.mark.parametrize("forgetful", [False, True])
def test_a_forgotten_duplicate_is_seen(tmp_path: Path, forgetful: bool) -> None:
    """Where each message comes twice, and only if ingest forgets."""
    root = _planted(tmp_path, TWICE, *([NEW_EACH_TIME] if forgetful else []))
    bench = Bench(tmp_path, 1, 40, seed=3, root=root, every_s=40.0, kill_every_s=60.0, most_s=10)
    bench.admit()
    with closing(sqlite3.connect(bench.database)) as db:
        # The table as it is would not let it.
        columns = db.execute("SELECT group_concat(name) FROM pragma_table_info('record')").fetchone()[0]
        db.executescript(f"DROP TABLE record; CREATE TABLE record ({columns}); PRAGMA wal_checkpoint")
    found = bench.run()
    assert bool(found.duplicates) == forgetful != found.clean, found


@pytest.mark.beside(3)
def test_a_purge_without_a_gap_is_seen(tmp_path: Path) -> None:
    """A node that gives frames up and does not say so."""
    found = Bench(tmp_path, 1, 30, seed=4, silent_purge=True, most_s=60).run()
    assert found.lost and not found.clean, found


@pytest.mark.parametrize("name", ["lost", "duplicates", "wrong", "early_acks", "unfinished"])
def test_any_of_it_fails_a_section(name: str) -> None:
    """One is enough."""
    found = Findings()
    assert found.clean
    setattr(found, name, 1)
    assert not found.clean


ALL_STRUCK = dict.fromkeys((*PATH_FAULTS, *CLOUD_FAULTS), 1)


def test_a_kind_that_never_struck_fails_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is, and it is named; one section of all is enough for each, and none is missed before the last."""

    def run(frames: int, *sections: set[str]) -> tuple[int, str]:
        found = {
            str(seed): vars(Findings(1, 1, seconds=1.0)) | {"workers": 1, "faults": dict.fromkeys(struck, 1)}
            for seed, struck in enumerate(sections, 1)
        }
        monkeypatch.setattr(linktorture, "load", lambda fresh: {"sections": found})
        said = CliRunner().invoke(linktorture.main, ["--minutes", "0", "--frames", str(frames)])
        return said.exit_code, said.output

    assert {"auth_kill", "half_open", "disk_full"} < set(ALL_STRUCK)
    two, kinds = 2 * linktorture.SECTION, set(ALL_STRUCK)
    for missing in sorted(kinds):
        status, said = run(two, kinds - {missing}, kinds - {missing})
        assert status == 1 and f"never struck: {missing}\n" in said, said
        assert run(two, kinds - {missing}, {missing})[0] == 0
    assert run(two, {"stall"})[0] == 3


def test_sections_are_kept_and_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one found can be written down, read back and put into the table; a second run does it no more."""
    monkeypatch.setattr(linktorture, "RESULT", tmp_path / "kept.json")
    section = partial(linktorture.section, frames=80)
    monkeypatch.setattr(linktorture, "section", lambda seed: section(seed) | {"faults": ALL_STRUCK})
    monkeypatch.setattr(linktorture, "NODES", 1)
    said = [CliRunner().invoke(linktorture.main, ["--frames", str(linktorture.SECTION)]) for _ in range(2)]
    assert [each.exit_code for each in said] == [0, 0], said[0].output
    assert "section 1: 80 frames" in said[0].output and "section 1" not in said[1].output
    assert "1 of 1 sections" in said[1].output and "early acks" in said[1].output
