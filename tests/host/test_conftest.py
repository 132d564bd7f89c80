"""A missing program is skipped aloud at a desk and fails in CI."""

from pathlib import Path

import pytest

CONFTEST = (Path(__file__).parent.parent / "conftest.py").read_text()
SOURCE = "import pytest\n\n@pytest.mark.needs('no-such-tool', package='no-such')\ndef test_a():\n    pass\n"


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch):
    """Importing those that are installed would take most of a second in each test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    """Run `source` under a copy of the project's conftest."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(source)
    return pytester.runpytest_inprocess(*arguments)


def test_at_a_desk_the_test_is_skipped_and_the_package_named(pytester, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    result = run(pytester, SOURCE)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["1 tests not run for want of no-such: apt install no-such"])
    assert result.ret == pytest.ExitCode.OK


def test_in_ci_it_fails(pytester, monkeypatch):
    monkeypatch.setenv("CI", "true")
    run(pytester, SOURCE).assert_outcomes(errors=1)


def test_in_ci_any_skip_fails_the_run(pytester, monkeypatch):
    monkeypatch.setenv("CI", "true")
    result = run(pytester, "import pytest\n\ndef test_a():\n    pytest.skip('no reason')\n")
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_a_tool_that_is_there_is_used(pytester, monkeypatch):
    monkeypatch.setenv("CI", "true")
    run(pytester, SOURCE.replace("no-such-tool", "sh")).assert_outcomes(passed=1)


@pytest.mark.parametrize("ci", ["false", "true"])
def test_what_was_not_given_is_left_out_aloud(pytester, monkeypatch, ci):
    monkeypatch.setenv("CI", ci)
    monkeypatch.delenv("NO_SUCH", raising=False)
    source = SOURCE.replace("needs('no-such-tool', package='no-such')", "given('NO_SUCH', 'a thing')")
    result = run(pytester, source + "\ndef test_b():\n    pass\n")
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["1 tests not run: NO_SUCH does not name a thing"])
    assert result.ret == pytest.ExitCode.OK


def test_workers_hand_over_what_was_left_out(pytester, monkeypatch):
    pytester.makeini(f"[pytest]\npythonpath = {Path(__file__).parent.parent}")  # a worker is a process of its own
    monkeypatch.setenv("CI", "false")
    monkeypatch.delenv("NO_SUCH", raising=False)
    source = SOURCE + "\n@pytest.mark.given('NO_SUCH', 'a thing')\ndef test_b():\n    pass\n"
    result = run(pytester, source, "-p", "xdist", "-n", "2")
    lines = ["1 tests not run: NO_SUCH does not name a thing", "1 tests not run for want of no-such*"]
    result.stdout.fnmatch_lines(lines)


def test_what_was_given_is_used(pytester, monkeypatch):
    monkeypatch.setenv("NO_SUCH", "here")
    source = SOURCE.replace("needs('no-such-tool', package='no-such')", "given('NO_SUCH', 'a thing')")
    run(pytester, source).assert_outcomes(passed=1)
