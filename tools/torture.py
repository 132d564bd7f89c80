"""The whole torture of the ring (tests/powercut/ringtorture.py): every operation, every tear, every second cut; of the
policy of a node's three rings (policytorture.py); and of rings in reserved blocks on a littlefs in use, and of the
making of these (tests/device/test_reservation_cuts.py, test_reservation_making.py).

    python -m tools.torture [--minutes 30] [--share 1.0] [--jobs 2] [--only page] [--fresh]

Runs in sections, each a part of a life in one geometry. What a section found is kept in build/torture.json; a run
goes on where the last one stopped, and begins anew when the ring's code or the torture has changed. Ends with a table,
and status 1 if anything was lost, wrong or unmountable, or 3 if sections are left for another run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "build" / "torture.json"
for folder in ("lib", "firmware", "tests/powercut"):
    sys.path.insert(0, str(ROOT / folder))

PARTS = 16  # sections of each
POLICY = "policy, "  # before a geometry's name
POLICY_SHARE = 0.15
"""A life of three rings has so many operations that all pairs of cuts would take a day."""
LITTLEFS = {"littlefs": ("test_reservation_cuts", "Torture"), "reservation": ("test_reservation_making", "Making")}
"""Beside the geometries; run in the MicroPython VM, which has the real littlefs."""
_IN_VM = "import json, random, %s as t; random.seed(%d); x = t.%s(%d, %d); x.run(); print(json.dumps(t.found(x)))"
_NODE = ("eviction", "framing", "journal", "store", "wire")
_MORE = {
    "policy": (*(f"firmware/node/{name}.py" for name in _NODE), "lib/codec/*.py", "tests/powercut/policytorture.py"),
    "littlefs": ("lib/reservation/*.py", "tests/device/test_reservation_cuts.py", "tests/device/lfskit.py"),
    "reservation": ("lib/reservation/*.py", "tests/device/test_reservation_making.py", "tests/device/lfskit.py"),
}
"""What decides beside the ring whether a section's result still holds."""


def version(*more: str) -> str:
    """Names the code under torture and the torture itself; `more`: further files of the repository."""
    digest = hashlib.sha256()
    torture = [ROOT / "tests" / "powercut" / name for name in ("ringtorture.py", "torncells.py")]
    for path in sorted([*ROOT.glob("lib/flashring/*.py"), ROOT / "lib" / "crc" / "__init__.py", *torture,
                        *ROOT.glob("host_sim/image/*.py"),
                        *(each for pattern in more for each in ROOT.glob(pattern))]):  # fmt: skip
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def version_of(name: str) -> str:
    """As `version`, for one section."""
    return version(*_MORE.get(re.split("[,:]", name)[0], ()))


def section(geometry: str, part: int, share: float, code: str) -> dict[str, Any]:
    """Runs one part of a geometry's life; returns what it found. `code`: its version, as it was when this began."""
    begun = time.monotonic()
    found = on_littlefs(geometry, part) if geometry in LITTLEFS else on_cells(geometry, part, share)
    return found | {
        "version": code, "seconds": time.monotonic() - begun,
        "day": time.strftime("%Y-%m-%d", time.gmtime()),
    }  # fmt: skip


def on_cells(geometry: str, part: int, share: float) -> dict[str, Any]:
    """Runs one part of the life of a ring, or of three and their policy."""
    import policytorture
    import ringtorture

    if geometry.startswith(POLICY):
        unit = policytorture.GEOMETRIES[geometry[len(POLICY) :]]
        life = policytorture.torture(unit, min(share, POLICY_SHARE), part, PARTS)
    else:
        life = ringtorture.torture(ringtorture.GEOMETRIES[geometry], share, part, PARTS)
    *_, (_, _, score) = life
    found = {key: getattr(score, key) for key in ("cuts", "lost", "wrong", "unmountable", "faults")}
    return found | {"kinds": dict(score.kinds)}


def on_littlefs(geometry: str, part: int) -> dict[str, Any]:
    """Runs one part of a life on littlefs."""
    folders = [ROOT / "firmware", ROOT / "lib", ROOT / "tests" / "device"]
    module, life = LITTLEFS[geometry]
    script = _IN_VM % (module, part, life, PARTS, part)
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", "-X", "heapsize=16M", "-c", script],
        env=os.environ | {"MICROPYPATH": os.pathsep.join([*map(str, folders), ".frozen"])},
        capture_output=True, text=True,
    )  # fmt: skip
    try:
        found = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise RuntimeError(f"{geometry}:{part}: {done.stdout[-1000:]}{done.stderr[-1000:]}") from None
    faults = [f"{key}: {line}" for key in ("lost", "wrong", "unmountable") for line in found[key]]
    return {
        "cuts": found["cuts"] + found["second"], "kinds": {"first": found["cuts"], "second": found["second"]},
        **{key: len(found[key]) for key in ("lost", "wrong", "unmountable")}, "faults": faults[:20],
    }  # fmt: skip


def load(share: float, fresh: bool) -> dict[str, Any]:
    """What earlier runs of the same code found."""
    known: dict[str, Any] = {"version": version(), "share": share, "sections": {}}
    if not fresh and RESULT.exists():
        kept = json.loads(RESULT.read_text())
        if kept.get("version") == known["version"] and kept.get("share") == share:
            kept["sections"] = {
                name: found for name, found in kept["sections"].items() if found["version"] == version_of(name)
            }
            return kept
    return known


def table(known: dict[str, Any], geometries: list[str]) -> Table:
    """A line for each geometry."""
    grid = Table("geometry", "sections", "cuts", "of them second", "lost", "wrong", "unmountable", "minutes")
    for geometry in [*geometries, "all"]:
        found = [each for name, each in known["sections"].items() if geometry in ("all", name.split(":")[0])]
        second = sum(count for each in found for kind, count in each["kinds"].items() if kind.startswith("second"))
        totals = [sum(each[key] for each in found) for key in ("cuts", "lost", "wrong", "unmountable")]
        whole = PARTS * (len(geometries) if geometry == "all" else 1)
        minutes = sum(each["seconds"] for each in found) / 60
        grid.add_row(geometry, f"{len(found)} of {whole}", f"{totals[0]:,}", f"{second:,}",
                     *map(str, totals[1:]), f"{minutes:.1f}")  # fmt: skip
    return grid


@click.command()
@click.option("--minutes", default=30.0, help="Start no section after so long.")
@click.option("--share", default=1.0, help="Of the first cuts that are followed, and of the second cuts after each.")
@click.option("--jobs", default=2, help="Processes.")
@click.option("--only", multiple=True, metavar="GEOMETRY", help="As in the table; may be given again.")
@click.option("--fresh", is_flag=True, help="Forget what earlier runs found.")
def main(minutes: float, share: float, jobs: int, only: tuple[str, ...], fresh: bool) -> None:
    """Torture the ring, or go on with it."""
    import policytorture
    import ringtorture

    known = load(share, fresh)
    policies = [POLICY + name for name in policytorture.GEOMETRIES]
    geometries = [*ringtorture.GEOMETRIES, *policies, *LITTLEFS]
    if unknown := [name for name in only if name not in geometries]:
        raise click.UsageError(f"there is no {unknown[0]!r}, but {', '.join(map(repr, geometries))}")
    versions = {geometry: version_of(geometry) for geometry in geometries}
    names = [f"{geometry}:{part}" for part in range(PARTS) for geometry in only or geometries]
    left = [name for name in names if name not in known["sections"]]
    begun = time.monotonic()
    console = Console()
    with ProcessPoolExecutor(jobs) as pool:
        running: dict[Future[dict[str, Any]], str] = {}
        while left or running:
            while left and len(running) < jobs and time.monotonic() - begun < 60 * minutes:
                name = left.pop(0)
                geometry, part = name.split(":")
                running[pool.submit(section, geometry, int(part), share, versions[geometry])] = name
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name = running.pop(future)
                known["sections"][name] = found = future.result()
                RESULT.parent.mkdir(exist_ok=True)
                RESULT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
                spent = [known["sections"][each]["seconds"] for each in names if each in known["sections"]]
                to_go = (len(names) - len(spent)) * sum(spent) / len(spent) / jobs
                console.print(f"{name}: {found['cuts']:,} cuts, {found['seconds']:.0f} s; "
                              f"{len(spent)} of {len(names)} sections, about {to_go / 60:.0f} min left")  # fmt: skip
                for fault in found["faults"]:
                    console.print(f"  {fault}", markup=False)
    console.print(table(known, geometries))
    if any(each[key] for each in known["sections"].values() for key in ("lost", "wrong", "unmountable")):
        raise SystemExit(1)
    if left:
        console.print(f"{len(left)} sections are left: run it again")
        raise SystemExit(3)


if __name__ == "__main__":
    main()
