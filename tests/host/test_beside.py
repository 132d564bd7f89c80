"""Tests run side by side are told apart: each has its own result, arguments and folder."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
SOURCE = """
import threading, time
import pytest

together = threading.Barrier(3, timeout=10)

made = []

@pytest.fixture(scope="module", autouse=True)
def readied():
    made.append("ready")

@pytest.fixture(scope="module")
def shared():
    return []

@pytest.mark.beside
@pytest.mark.parametrize("number", [1, 2])
def test_waits(number, tmp_path, shared):
    assert made == ["ready"]
    together.wait()
    (tmp_path / "mine").touch(exist_ok=False)
    shared.append(number)
    assert number != 2, "two"

@pytest.mark.beside
def test_is_skipped_where_it_finds_out():
    together.wait()
    pytest.skip("for a reason")

def test_plain(shared):
    assert sorted(shared) == [1, 2]
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest((TESTS / "beside.py").read_text())
    pytester.makeini("[pytest]\nmarkers = beside")
    pytester.makepyfile(SOURCE)
    return pytester


def test_each_has_its_own_result_and_they_wait_together(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("-rA")
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    told = ["E*AssertionError: two", "PASSED *::test_waits?1?", "SKIPPED * for a reason", "FAILED *::test_waits?2?*"]
    result.stdout.fnmatch_lines(told)


def test_what_is_not_selected_is_not_begun(project: pytest.Pytester) -> None:
    source = SOURCE.replace("Barrier(3", "Barrier(1")
    project.makepyfile(source + "\n@pytest.mark.beside\ndef test_left_out(shared):\n    shared.append(3)\n")
    project.runpytest_inprocess("-k", "waits or plain").assert_outcomes(passed=2, failed=1, deselected=2)
