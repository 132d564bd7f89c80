"""The torture of the link, sampled; and the bugs it is there for, planted in copies of the cloud end and in a node."""

import shutil
from pathlib import Path

import pytest

from host_sim.faults import kinds
from tools.load.torture import Bench, Findings

ROOT = Path(__file__).resolve().parents[2]


def _planted(folder: Path, file: str, good: str, bad: str) -> Path:
    """A copy of the cloud end in which `good` is replaced by `bad`."""
    shutil.copytree(ROOT / "cloud", folder / "planted" / "cloud", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "planted" / "cloud" / file
    source = path.read_text()
    assert source.count(good) == 1, f"{file} has changed: {good!r}"
    path.write_text(source.replace(good, bad))
    return folder / "planted"


def test_nothing_is_lost_doubled_or_acknowledged_early(tmp_path: Path) -> None:
    """A fortieth of a section."""
    found = Bench(tmp_path, 2, 500, seed=1, every_s=1.5, kill_every_s=3.0, most_s=90).run()
    assert found.clean, found
    assert found.rows + found.given_up == found.frames == 1000
    assert found.given_up and sum(found.faults.values()) >= 3, found


def test_an_ack_before_the_commit_is_seen(tmp_path: Path) -> None:
    """Ingest that acknowledges what it has read, and commits it afterwards."""
    root = _planted(
        tmp_path, "ingest.py",
        "        try:\n            owed = await loop.run_in_executor",
        "        await self._early(client, arrivals)\n        try:\n            owed = await loop.run_in_executor",
    )  # fmt: skip
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


def test_a_forgotten_duplicate_is_seen(tmp_path: Path) -> None:
    """Ingest that takes what comes again for something new, in a table that lets it."""
    root = _planted(
        tmp_path, "transaction.py",
        "        elif row is not None or (not self.carve(cursor, data.seq, data.seq) and data.seq <= cursor.cum):",
        "        elif False:",
    )  # fmt: skip
    schema = root / "cloud" / "schema.py"
    table = "    lo INTEGER, hi INTEGER,\n    PRIMARY KEY (cursor, seq)) WITHOUT ROWID;"
    assert schema.read_text().count(table) == 1
    schema.write_text(schema.read_text().replace(table, "    lo INTEGER, hi INTEGER);"))
    stalls = {kinds.STALL: 2.0}  # longer than a node waits before it sends again
    found = Bench(tmp_path, 4, 1500, seed=3, root=root, ways=stalls, every_s=4.0, most_s=90).run()
    assert found.duplicates and not found.clean, found


def test_a_purge_without_a_gap_is_seen(tmp_path: Path) -> None:
    """A node that gives frames up and does not say so."""
    found = Bench(tmp_path, 1, 30, seed=4, silent_purge=True, most_s=60).run()
    assert found.lost and not found.clean, found


@pytest.mark.parametrize("name", ["lost", "duplicates", "wrong", "early_acks"])
def test_any_of_it_fails_a_section(name: str) -> None:
    """One is enough."""
    found = Findings()
    assert found.clean
    setattr(found, name, 1)
    assert not found.clean
