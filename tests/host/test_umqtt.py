"""The stock umqtt.simple itself behind mqtt.umqtt_adapter, where UMQTT names its file: every test of
tests/device/test_umqtt_adapter.py, its hazards bare included, so that the stand-in is as bad as the original.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vmtest import parse_transcript

ROOT = Path(__file__).resolve().parents[2]
DEVICE = ROOT / "tests" / "device"
TESTS = DEVICE / "test_umqtt_adapter.py"


def _run(folder: Path, names: list[str]) -> dict[str, str]:
    """Run those functions with the umqtt of `folder`; return what failed and how."""
    path = ":".join(str(each) for each in (folder, ROOT / "firmware", ROOT / "lib", DEVICE, ".frozen"))
    # Run from a folder of its own: the one of the script comes first on the VM's path.
    runner = shutil.copy(DEVICE / "_runner.py", folder)
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", "-X", "heapsize=256K", runner, TESTS.stem, *names],
        env=os.environ | {"MICROPYPATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    transcript = parse_transcript(done.stdout.decode(errors="backslashreplace"), f"status {done.returncode}")
    failures = {name: transcript.outcome(name).failure for name in names}
    return {name: failure for name, failure in failures.items() if failure}


def _names() -> list[str]:
    lines = TESTS.read_text().splitlines()
    return [line[4 : line.index("(")] for line in lines if line.startswith("def test_")]


def _install(source: Path, folder: Path) -> Path:
    (folder / "umqtt").mkdir(parents=True)
    shutil.copy(source, folder / "umqtt" / "simple.py")
    return folder


@pytest.mark.given("UMQTT", "the path of the stock umqtt/simple.py (micropython-lib)")
def test_the_stock_module_is_contained(tmp_path: Path) -> None:
    """Every hazard is in the stock module as the stand-in has it, and none comes through the adapter."""
    source = Path(os.environ["UMQTT"])
    assert source.is_file(), f"UMQTT={source} is not a file"
    names = _names()
    assert len(names) > 20
    assert not _run(_install(source, tmp_path / "stock"), names)


def test_a_module_without_the_hazards_would_be_noticed(tmp_path: Path) -> None:
    """The module under test is the one that was given, not the stand-in that lies beside the tests."""
    tame = (DEVICE / "umqtt" / "simple.py").read_text().replace("self.sock.setblocking(True)", "pass")
    (tmp_path / "simple.py").write_text(tame)
    failures = _run(_install(tmp_path / "simple.py", tmp_path / "tame"), _names())
    assert "test_wait_msg_takes_the_timeout_away" in failures
