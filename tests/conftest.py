"""What all tests share: the VM plugin, and programs that a test may need beside Python.

A test that runs a program from Debian says so with `@pytest.mark.needs("mosquitto")`. Where the program is
missing the test is skipped and the end of the run says what to install; with CI=true it fails instead, and so
does every other skip: there nothing is left out quietly.

A test of something that only its owner can give says so with `@pytest.mark.given("UMQTT", "the stock module")`: without
that environment variable it is left out, in CI too, and the end of the run says so.
"""

import os
import shutil

import pytest

pytest_plugins = ["beside", "vmtest", "pytester"]

CI = os.environ.get("CI") == "true"
# Daemons live in sbin, which is not on every user's path.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
# What takes longest, longest first: begun at the end, it would leave the other processors idle.
LONGEST = (
    "test_thread", "test_link_torture", "test_deploy", "test_flash_deploy", "test_storm", "test_flash_esp",
    "test_session", "test_cli", "test_policy", "test_cloud_attack", "test_cable", "test_pico", "test_rehearsal",
    "test_node_commands", "test_commands", "test_selftest", "test_bench_board", "test_ring", "test_cloud_pages",
    "test_cloud_auth", "test_cloud_serve", "test_cloud_boards", "test_cloud_workers", "test_ring_foreign", "test_link",
    "test_cloud_backup", "test_view", "test_node_app", "test_walls", "test_mqtt_broker", "test_mqtt_blocking",
)  # fmt: skip
MISSING = pytest.StashKey[dict[str, int]]()
NOT_GIVEN = pytest.StashKey[dict[tuple[str, str], int]]()


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist take files in our order; its own puts those with few tests last."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest files first; leave out the tests that want an environment variable which is not set."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
    wanting = []
    for item in items:
        mark = item.get_closest_marker("given")
        if mark and not os.environ.get(mark.args[0]):
            wanting.append(item)
            counts = config.stash.setdefault(NOT_GIVEN, {})
            counts[mark.args] = counts.get(mark.args, 0) + 1
    if wanting:
        items[:] = [item for item in items if item not in wanting]
        config.hook.pytest_deselected(items=wanting)


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


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node) -> None:
    """Take over what a worker of pytest-xdist left out: each collects every test, and runs its share."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[NOT_GIVEN] = {(variable, what): count for variable, what, count in output.get("not_given", [])}
    missing = node.config.stash.setdefault(MISSING, {})
    for package, count in output.get("missing", {}).items():
        missing[package] = missing.get(package, 0) + count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what is missing, where nobody can overlook it."""
    for (variable, what), count in config.stash.get(NOT_GIVEN, {}).items():
        terminalreporter.write_line(f"{count} tests not run: {variable} does not name {what}", red=True)
    for package, count in config.stash.get(MISSING, {}).items():
        terminalreporter.write_line(
            f"{count} tests not run for want of {package}: apt install {package}", red=True
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, let a run that skipped anything fail; a worker hands over what was left out."""
    stash = session.config.stash
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        not_given = [[*mark, count] for mark, count in stash.get(NOT_GIVEN, {}).items()]
        output |= {"not_given": not_given, "missing": stash.get(MISSING, {})}
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if CI and reporter and reporter.stats.get("skipped") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
