"""The freeze manifests of boards/ against what a deploy copies."""

from pathlib import Path

import pytest
from manifestkit import Manifest

from tools import boards, build, catalogue, nodefile
from tools.flash import tree

# Where MicroPython keeps what the board's own image freezes: ports/esp32/boards/manifest.py,
# ports/rp2/boards/<board>/manifest.py, which the boards' mpconfigboard.cmake name.
STOCK = {"esp32": "boards/manifest.py", "rp2": "boards/{build}/manifest.py"}


def frozen(name: str, port: Path) -> Manifest:
    """What the board's manifest freezes, on top of a port whose own modules are `stock`."""
    board = boards.load(name)
    stock = port / STOCK[board.family].format(build=board.build)
    stock.parent.mkdir(parents=True)
    (stock.parent / "stock.py").touch()
    stock.write_text('module("stock.py")')
    manifest = Manifest({"PORT_DIR": port})
    manifest.include(str(catalogue.BOARDS / name / "manifest.py"))
    return manifest


@pytest.mark.parametrize("name", catalogue.boards())
def test_a_manifest_names_exactly_the_modules_that_a_deploy_copies(tmp_path: Path, name: str) -> None:
    build.build()
    node = nodefile.load(catalogue.ROOT / "nodes" / "cellar.toml", {"board": name})
    copied = {path.removeprefix("lib/") for path in tree.plan(node, {}) if path.endswith(".mpy")}
    found = frozen(name, tmp_path)
    assert found.files.pop("stock.py").source.is_file()
    assert {path.removesuffix(".py") + ".mpy" for path in found.files} == copied


@pytest.mark.parametrize("name", catalogue.boards())
def test_what_is_frozen_is_what_is_copied(tmp_path: Path, name: str) -> None:
    """The same sources, compiled the same way."""
    found = frozen(name, tmp_path)
    found.files.pop("stock.py")
    for path, (source, opt) in found.files.items():
        target = build.OUT / source.relative_to(build.ROOT).with_suffix(".mpy")
        assert target.is_file() and opt == build.OPTIMISE, path


def test_files_of_a_deploy_that_are_no_modules_are_not_frozen(tmp_path: Path) -> None:
    assert not {"boot.py", "main.py", "settings.json"} & set(frozen("pico_w", tmp_path).files)
