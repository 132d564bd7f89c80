"""What all tests share: the VM plugin, and programs that a test may need beside Python.

A test that runs a program from Debian says so with `@pytest.mark.needs("mosquitto")`. Where the program is
missing the test is skipped and the end of the run says what to install; with CI=true it fails instead, and so
does every other skip: there nothing is left out quietly.
"""

import os
import shutil

import pytest

pytest_plugins = ["vmtest", "pytester"]

CI = os.environ.get("CI") == "true"
# Daemons live in sbin, which is not on every user's path.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
MISSING = pytest.StashKey[dict[str, int]]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or in CI fail, a test whose programs are not all there."""
    for mark in item.iter_markers("needs"):
        tool = mark.args[0]
        if shutil.which(tool, path=SEARCH):
            continue
        package = mark.kwargs.get("package", tool)
        missing = item.config.stash.setdefault(MISSING, {})
        missing[package] = missing.get(package, 0) + 1
        reason = f"{tool} is not installed (Debian: apt install {package})"
        if CI:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what is missing, where nobody can overlook it."""
    for package, count in config.stash.get(MISSING, {}).items():
        terminalreporter.write_line(
            f"{count} tests not run for want of {package}: apt install {package}", red=True
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, let a run that skipped anything fail."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if CI and reporter and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
