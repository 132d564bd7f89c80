"""The torture of the link: a million frames, and a way and a cloud end that fail all the time (tools/load/torture.py).

    python -m tools.linktorture [--minutes 30] [--frames 1000000] [--fresh]

Runs in sections, each with a seed, nodes and a cloud end of its own, every second one with two ingest workers. What a
section found is kept in build/linktorture.json; a run goes on where the last one stopped, and begins anew when the
link's code or the torture has changed. Ends with a table, and status 1 if anything was lost, doubled, wrong or
acknowledged before its commit, or if a kind of fault has never struck in the whole; 3 if sections are left for another
run.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tools.catalogue import ROOT
from tools.load.torture import CLOUD_FAULTS, PATH_FAULTS, Bench

RESULT = ROOT / "build" / "linktorture.json"
NODES = 8
SECTION = 40_000
"""Frames."""
_CODE = ("cloud/**/*.py", "firmware/node/*.py", "lib/mqtt/*.py", "host_sim/faults/*.py", "tools/load/*.py",
         "tools/benchmarks/vm_scripts/linknode.py")  # fmt: skip
COUNTS = ("frames", "rows", "given_up", "resent", "lost", "duplicates", "wrong", "early_acks", "unfinished")
BAD = ("lost", "duplicates", "wrong", "early_acks", "unfinished")


def version() -> str:
    """Names the code under torture and the torture itself."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _CODE for path in ROOT.glob(pattern)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def load(fresh: bool) -> dict[str, Any]:
    """What earlier runs of the same code found."""
    if not fresh and RESULT.exists():
        kept = json.loads(RESULT.read_text())
        if kept.get("version") == version():
            return kept
    return {"version": version(), "sections": {}}


def section(seed: int, frames: int = SECTION) -> dict[str, Any]:
    """One section; what it found."""
    with tempfile.TemporaryDirectory() as folder:
        workers = 2 - seed % 2
        found = Bench(Path(folder), NODES, frames // NODES, seed, workers=workers).run()
    more = {"workers": workers, "faults": dict(found.faults), "day": time.strftime("%Y-%m-%d", time.gmtime())}
    return vars(found) | more


def struck(sections: dict[str, dict[str, Any]]) -> Counter[str]:
    """How often each kind of fault struck in all sections together; 0 for one that never did."""
    faults = Counter(dict.fromkeys((*PATH_FAULTS, *CLOUD_FAULTS), 0))
    for each in sections.values():
        faults.update(each["faults"])
    return faults


def table(sections: dict[str, dict[str, Any]], whole: int) -> Table:
    """All sections together: what became of the frames, and what struck."""
    grid = Table("", "count", title=f"{len(sections)} of {whole} sections")
    for name in COUNTS:
        grid.add_row(name.replace("_", " "), f"{sum(each[name] for each in sections.values()):,}")
    shared = sum(each["frames"] for each in sections.values() if each["workers"] > 1)
    grid.add_row("frames to two workers", f"{shared:,}")
    grid.add_row("minutes", f"{sum(each['seconds'] for each in sections.values()) / 60:.0f}", end_section=True)
    faults = struck(sections)
    for kind in sorted(faults):
        grid.add_row(kind, f"{faults[kind]:,}")
    return grid


@click.command()
@click.option("--minutes", default=30.0, help="Start no section after so long.")
@click.option("--frames", default=1_000_000, help="Of the whole.")
@click.option("--fresh", is_flag=True, help="Forget what earlier runs found.")
def main(minutes: float, frames: int, fresh: bool) -> None:
    """Torture the link, or go on with it."""
    known = load(fresh)
    names = [str(seed) for seed in range(1, 1 + -(-frames // SECTION))]
    console = Console()
    begun = time.monotonic()
    for name in [name for name in names if name not in known["sections"]]:
        if time.monotonic() - begun > 60 * minutes:
            break
        found = known["sections"][name] = section(int(name))
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        spent = [each["seconds"] for each in known["sections"].values()]
        left = (len(names) - len(spent)) * sum(spent) / len(spent) / 60
        console.print(f"section {name}: {found['frames']:,} frames, {found['seconds']:.0f} s; "
                      f"{len(spent)} of {len(names)} sections, about {left:.0f} min left")  # fmt: skip
    done = {name: found for name, found in known["sections"].items() if name in names}
    console.print(table(done, len(names)))
    if any(each[name] for each in done.values() for name in BAD):
        raise SystemExit(1)
    if len(done) < len(names):
        console.print(f"{len(names) - len(done)} sections are left: run it again")
        raise SystemExit(3)
    if never := sorted(kind for kind, count in struck(done).items() if not count):
        console.print(f"never struck: {', '.join(never)}")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
