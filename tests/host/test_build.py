"""The build keeps the tree, follows its sources, and what it makes runs in the VM."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tools.build import BuildError, build

SOURCES = {
    "firmware/boot.py": "",
    "firmware/main.py": "import node.app\n",
    "firmware/node/app.py": "import ring\nimport board\n\nboard.blink()\nring.fail()\n",
    "lib/ring/__init__.py": '"""Text."""\n\n\ndef fail():\n    raise ValueError("planned")\n',
    "boards/esp32/board/__init__.py": "def blink():\n    print('blinked')\n",
    "host_sim/chip/bootstrap.py": "",
    "host_sim/chip/esp32/machine.py": "",
    "host_sim/fleet.py": "",
}
TARGETS = {
    "firmware/boot.py",
    "firmware/main.py",
    "firmware/node/app.mpy",
    "lib/ring/__init__.mpy",
    "boards/esp32/board/__init__.mpy",
    "host_sim/chip/bootstrap.mpy",
    "host_sim/chip/esp32/machine.mpy",
    "manifest.json",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a small checkout."""
    for name, text in SOURCES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def listing(out: Path) -> set[str]:
    """Return the files under `out`, relative to it."""
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_the_tree_is_kept_and_nothing_else_is_built(root):
    build(root / "out", root=root)
    assert listing(root / "out") == TARGETS


def test_builds_of_one_process_do_not_meet(root):
    """As boards on one bench start; the manifest is what they all write."""
    with ThreadPoolExecutor(8) as pool:
        for turn in range(20):
            (root / "lib/ring/__init__.py").write_text(f"turn = {turn}\n")
            list(pool.map(lambda _: build(root / "out", root=root), range(8)))
    assert listing(root / "out") == TARGETS


def test_what_is_built_runs_in_the_vm_with_short_names_and_line_numbers(root):
    build(root / "out", root=root)
    path = [root / "out" / entry for entry in ("firmware", "lib", "boards/esp32")]
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", "-c", "import main"],
        env=os.environ | {"MICROPYPATH": ":".join(map(str, path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=20,
    )
    assert done.stdout.startswith("blinked\n")
    assert 'File "node/app.py", line 5, in <module>' in done.stdout
    assert 'File "ring/__init__.py", line 5, in fail' in done.stdout
    assert done.stdout.endswith("ValueError: planned\n")


def test_only_what_changed_is_built_again(root):
    out = root / "out"
    build(out, root=root)
    before = {name: (out / name).stat().st_mtime_ns for name in TARGETS - {"manifest.json"}}
    (root / "lib/ring/__init__.py").write_text("def fail():\n    pass\n")
    (root / "lib/ring/__init__.py").touch()
    (root / "firmware/node/app.py").touch()
    build(out, root=root)
    changed = {name for name, then in before.items() if (out / name).stat().st_mtime_ns != then}
    assert changed == {"lib/ring/__init__.mpy"}


def test_another_level_builds_all_again(root):
    build(root / "out", optimise=0, root=root)
    verbose = (root / "out/lib/ring/__init__.mpy").stat().st_size
    build(root / "out", optimise=3, root=root)
    assert (root / "out/lib/ring/__init__.mpy").stat().st_size < verbose


def test_what_lost_its_source_or_its_target_is_put_right(root):
    build(root / "out", root=root)
    (root / "firmware/node/app.py").unlink()
    (root / "out/firmware/main.py").unlink()
    build(root / "out", root=root)
    assert listing(root / "out") == TARGETS - {"firmware/node/app.mpy"}


def test_every_file_that_does_not_compile_is_named_in_one_line_and_leaves_no_target(root):
    out = root / "out"
    build(out, root=root)
    (root / "lib/ring/__init__.py").write_text("x = 1\nx = = 2\n")
    (root / "firmware/node/app.py").write_text("def f(:\n")
    with pytest.raises(BuildError) as caught:
        build(out, root=root)
    lines = str(caught.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["firmware/node/app.py:1", "lib/ring/__init__.py:2"]
    assert all("SyntaxError" in line for line in lines)
    assert listing(out) == TARGETS - {"firmware/node/app.mpy", "lib/ring/__init__.mpy"}
    (root / "lib/ring/__init__.py").write_text(SOURCES["lib/ring/__init__.py"])
    (root / "firmware/node/app.py").write_text(SOURCES["firmware/node/app.py"])
    build(out, root=root)
    assert listing(out) == TARGETS
