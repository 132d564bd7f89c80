"""Where the device's sources lie, and what a node file may name: the schema's settings, the boards, the drivers."""

from __future__ import annotations

import ast
import runpy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import platformdirs

_HERE = Path(__file__).resolve().parent
CHECKOUT = (_HERE.parent / "firmware").is_dir()
# Installed, the sources lie inside this package (pyproject.toml, force-include).
ROOT = _HERE.parent if CHECKOUT else _HERE / "device"
CACHE = Path(platformdirs.user_cache_dir("fieldnode", False))
BOARDS = ROOT / "boards"
DRIVERS = ROOT / "lib" / "drivers"
EXAMPLES = ROOT / "nodes"

# The device's own module, by its path: the host's sys.path stays free of the firmware.
schema = SimpleNamespace(**runpy.run_path(str(ROOT / "firmware" / "node" / "schema.py")))
console_pin = SimpleNamespace(**runpy.run_path(str(ROOT / "firmware" / "node" / "console" / "pin.py")))


@dataclass(frozen=True)
class DriverFacts:
    """What a driver's source says of itself (lib/drivers/README.md)."""

    name: str
    summary: str
    bus: str
    channels: tuple[tuple[str, str, int], ...]
    addresses: tuple[int, ...]


def boards() -> list[str]:
    """The names of the boards that exist: the folders of boards/ that hold a board package."""
    return sorted(folder.name for folder in BOARDS.glob("*") if (folder / "board").is_dir())


def drivers() -> dict[str, DriverFacts]:
    """The drivers that exist, by name, read from their source: host code does not run device code."""
    found = {}
    for source in sorted(DRIVERS.glob("*.py")):
        tree = ast.parse(source.read_text(encoding="utf-8"), str(source))
        for item in tree.body:
            if not (isinstance(item, ast.ClassDef) and item.name == "Driver"):
                continue
            facts = {
                target.id: ast.literal_eval(line.value)
                for line in item.body
                if isinstance(line, ast.Assign)
                for target in line.targets
                if isinstance(target, ast.Name)
            }
            summary = (ast.get_docstring(tree) or "").partition("\n")[0]
            found[source.stem] = DriverFacts(
                source.stem, summary, facts["BUS"], facts["CHANNELS"], facts.get("ADDRESSES", ())
            )
    return found
