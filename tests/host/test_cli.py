"""The command `fieldnode` as a person meets it: words, exit status, secrets; and as it is installed from a wheel."""

import ast
import json
import os
import shlex
import stat
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from replkit import ReplBoard

from tools import boards, catalogue
from tools.flash import Refusal, ports, wipe
from tools.flash.link import Link
from tools.flash.ports import Port

ROOT = Path(__file__).resolve().parent.parent.parent
NODE = ROOT / "nodes" / "greenhouse.toml"


def fieldnode(*words: str, status: int = 0, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", *words],
        cwd=cwd, capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


def python(
    *words: str, status: int = 0, cwd: Path = ROOT, told: str = "", path: str = str(ROOT)
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=60, input=told,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done


# The command, where nothing of the optional parts can be imported.
BLOCKED = ["cloud", "host_sim", "micropython_unix", "nats", "cryptography", "fastapi", "jinja2", "matplotlib"]
NO_CLOUD = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED})); from tools.cli import main; main()"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("deploy", "nodes/nothing.toml"), "nodes/nothing.toml: No such file or directory; give the path"),
        (("flash", str(NODE), "--fw", "nothing.bin"), "nothing.bin: No such file or directory"),
        (("backup", str(NODE), "x.bin", "--port", "/dev/nothing"), "/dev/nothing: there is no such port; ports found"),
        (("erase", str(NODE), "--port", "/dev/nothing"), "/dev/nothing: nothing was erased; confirm, or give --yes"),
        (("selftest", "--port", "/dev/nothing"), ": there is no"),
        (("selftest", "--port", "/dev/null"), "/dev/null is not a serial port; ports found: "),
        (("console", "--port", "/dev/null"), "/dev/null is not a serial port; ports found: "),
        (("console", "/dev/null", "-c", "status"), "/dev/null is not a serial port; ports found: "),
        (("console", "/dev/a", "--port", "/dev/b"), "fieldnode console: name the port once; see"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(words: tuple[str, ...], said: str) -> None:
    done = fieldnode(*words, status=2)
    assert said in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense",), "fieldnode: No such command 'nonsense'; see fieldnode --help"),
        (("--nonsense",), "fieldnode: No such option '--nonsense'; see fieldnode --help"),
        (("flash",), "fieldnode flash: Missing argument 'NODE'; see fieldnode flash --help"),
        (("flash", "x", "--baud", "fast"), "'fast' is not a valid integer; see fieldnode flash --help"),
        (("console", "--json"), "fieldnode console: --json goes with -c; see fieldnode console --help"),
        (("wear",), "fieldnode wear: name a node file, or --image; see fieldnode wear --help"),
        (("dump", "nothing"), "'nothing' does not exist; see fieldnode dump --help"),
    ],
)
def test_wrong_words_are_one_line_that_tells_where_to_read(words: tuple[str, ...], said: str) -> None:
    done = fieldnode(*words, status=2)
    assert said in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


@pytest.mark.parametrize("command", ["", "flash", "console", "dump", "wear"])
def test_help_is_given(command: str) -> None:
    assert f"Usage: fieldnode {command}" in fieldnode(*command.split(), "--help").stdout


def test_a_dry_run_tells_what_would_be_on_the_board(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(NODE.read_text())
    facts = json.loads(fieldnode("deploy", "--dry-run", "--json", str(tmp_path / "x.toml")).stdout)
    assert {"boot.py", "main.py", "node/app.mpy", "lib/board/__init__.mpy", "settings.json"} <= set(facts["files"])
    assert "lib/esp32_ports/__init__.mpy" in facts["files"] and facts["missing"] == ["key", "ca", "cert", "pkey"]
    assert not any("rp2" in name or "host_sim" in name for name in facts["files"])
    assert facts["bytes"] == sum(facts["files"].values())


def test_provisioning_keeps_secrets_to_their_owner_and_is_idempotent(tmp_path: Path) -> None:
    node = tmp_path / "x.toml"
    node.write_text(NODE.read_text())
    words = ("provision", str(node), "--data", str(tmp_path / "cloud"), "--json")
    first = json.loads(fieldnode(*words).stdout)
    folder = Path(first["identity"])
    assert (first["key"], first["certificate"]) == ("made", "made")
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(made) == {"key", "ca", "cert", "pkey"} and len(made["key"]) == 32
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    second = json.loads(fieldnode(*words).stdout)
    assert (second["key"], second["certificate"]) == ("kept", "kept")
    assert made == {path.name: path.read_bytes() for path in folder.iterdir()}
    renewed = json.loads(fieldnode(*words, "--renew").stdout)
    assert (renewed["key"], renewed["certificate"]) == ("kept", "made")
    assert made["cert"] != (folder / "cert").read_bytes() and made["ca"] == (folder / "ca").read_bytes()
    another = json.loads(fieldnode(*words[:3], str(tmp_path / "other"), "--json").stdout)
    assert (another["key"], another["certificate"]) == ("kept", "made")
    assert json.loads(fieldnode("deploy", "--dry-run", "--json", str(node)).stdout)["missing"] == []


def test_a_cloud_end_that_refuses_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(NODE.read_text())
    (tmp_path / "file").write_text("no folder")
    done = fieldnode("provision", str(tmp_path / "x.toml"), "--data", str(tmp_path / "file"), status=1)
    assert "the cloud end did not take greenhouse: " in done.stderr and done.stderr.count("\n") == 1


def test_a_cloud_end_elsewhere_needs_nothing_of_it_here(tmp_path: Path) -> None:
    """Here the key; there, by the command that was told, the certificate; here again what was brought back."""
    (tmp_path / "x.toml").write_text(NODE.read_text())
    here = ("-c", NO_CLOUD, "provision", str(tmp_path / "x.toml"), "--json")
    asked = json.loads(python(*here).stdout)
    assert (asked["key"], asked["certificate"]) == ("made", "none")
    said = shlex.split(asked["command"])
    there = python(*said[1:], "--data", str(tmp_path / "cloud"), cwd=tmp_path, told=asked["reads"] + "\n")
    assert "credentials written" in there.stdout
    brought = json.loads(python(*here, "--credentials", str(tmp_path / "greenhouse")).stdout)
    assert (brought["key"], brought["certificate"]) == ("kept", "made")
    folder = Path(brought["identity"])
    assert {path.name for path in folder.iterdir()} == {"key", "ca", "cert", "pkey"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    known = python("-m", "cloud", "nodes", "--json", "--data", str(tmp_path / "cloud")).stdout
    assert [each["node"] for each in json.loads(known)] == ["greenhouse"]
    # What the other way keeps, this one made: the same node, the same authority.
    again = fieldnode("provision", str(tmp_path / "x.toml"), "--data", str(tmp_path / "cloud"), "--json")
    assert json.loads(again.stdout)["certificate"] == "kept"


def test_without_the_cloud_ends_packages_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(NODE.read_text())
    (tmp_path / "cryptography.py").write_text("raise ModuleNotFoundError(\"No module named 'cryptography'\")\n")
    words = ("-m", "tools.cli", "provision", str(tmp_path / "x.toml"), "--data", str(tmp_path / "cloud"))
    done = python(*words, status=2, path=f"{tmp_path}{os.pathsep}{ROOT}")
    assert "the cloud end is not installed here (No module named 'cryptography'): pip install" in done.stderr
    assert done.stderr.count("\n") == 1


def test_credentials_that_cannot_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(NODE.read_text())
    words = ("provision", str(tmp_path / "x.toml"))
    assert "has no key: first run" in fieldnode(*words, "--credentials", str(tmp_path), status=2).stderr
    fieldnode(*words)
    assert "give the folder that `cloud add` has" in fieldnode(*words, "--credentials", str(tmp_path), status=2).stderr
    assert "--renew goes with --data" in fieldnode(*words, "--renew", status=2).stderr


@pytest.mark.needs("make")
def test_a_serial_port_in_the_environment_is_none_of_the_clouds() -> None:
    told = subprocess.run(
        ["make", "--just-print", "--old-file=.venv/stamp", "cloud", "ADDR=10.0.0.1"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, env=os.environ | {"PORT": "/dev/ttyUSB0"}, check=True,
    ).stdout  # fmt: skip
    assert "--listen 0.0.0.0:8883 " in told


def test_identities_are_never_committed() -> None:
    assert subprocess.run(["git", "check-ignore", "-q", "nodes/.identity/x/key"], cwd=ROOT, timeout=20).returncode == 0


ESP, PICO = Port("/dev/ttyUSB0", 0x10C4, "CP2102"), Port("/dev/ttyACM0", 0x2E8A, "Board in FS mode")
OTHER = Port("/dev/ttyACM1", 0x1234, "modem")


def test_the_board_is_found_by_its_family_or_what_is_there_is_told() -> None:
    esp32, pico_w = boards.load("esp32"), boards.load("pico_w")
    assert ports.find(esp32, lambda: [ESP, PICO, OTHER]) == "/dev/ttyUSB0"
    assert ports.find(pico_w, lambda: [ESP, PICO, OTHER]) == "/dev/ttyACM0"
    with pytest.raises(Refusal, match=r"a board of the rp2 family was not found; there is /dev/ttyUSB0 \(CP2102\):"):
        ports.find(pico_w, lambda: [ESP])
    with pytest.raises(Refusal, match="there is no serial port on USB: check the cable"):
        ports.find(pico_w, lambda: [])
    with pytest.raises(Refusal, match="several ports may be a board: .*ttyUSB0.*ttyACM0.*; name one with --port"):
        ports.find(None, lambda: [ESP, PICO])


WRITING = """
def _write(self, n, buf):
    self.file.seek(n * 4096)
    self.file.write(buf)
    self.file.flush()
Flash.writeblocks = _write
"""
COUNTS = "with open('boots', 'a') as f:\n f.write('x')\n"


def test_an_rp2_is_backed_up_erased_and_restored_through_its_prompt(tmp_path: Path) -> None:
    """Its firmware stays: only the blocks of the filesystem are within reach, and the firmware formats them anew. What
    is put back boots.
    """
    board = replace(boards.load("pico_w"), storage=(0x12C000, 64 * 4096))
    there = ReplBoard(tmp_path, machine="Raspberry Pi Pico W with RP2040", blocks=64)
    held: list[bytes] = []
    with (tmp_path / "modules" / "rp2.py").open("a") as module:
        module.write(WRITING)
    with there:
        with Link(there.port) as link:
            for name, text in {"key": "secret", "main.py": COUNTS}.items():
                link.run(f"with open({name!r}, 'w') as f:\n f.write({text!r})")
            link.restart()
        with Link(there.port, 10) as link:
            assert link.run("print(open('boots').read())").strip() == "x"
            before = there.image.read_bytes()
            data = wipe.read_rp2(link, board, lambda done, total: None)
        assert data == before and b"secret" in data
        with Link(there.port, 10) as link:
            wipe.rp2(link, board)
        with Link(there.port, 10) as link:
            assert link.run("import os\nprint(os.listdir())").strip() == "[]"
        assert b"secret" not in there.image.read_bytes()
        with Link(there.port, 10) as link, pytest.raises(KeyboardInterrupt):
            wipe.restore_rp2(link, board, data, cut_after(32))
        there.unplug()
        there.plug()
        with Link(there.port, 10) as link:
            assert link.run("import os\nprint(os.listdir())").strip() == "[]", "half a filesystem is worse than none"
            link.run("with open('junk', 'wb') as f:\n f.write(bytes(60000))")  # where the backup has blank blocks
            wipe.restore_rp2(link, board, data, lambda done, total: held.append(there.image.read_bytes()))
        assert held[-1] == data
        with Link(there.port, 10) as link:
            assert link.run("print(open('boots').read(), open('key').read())").strip() == "xx secret"


def cut_after(blocks: int) -> Callable[[int, int], None]:
    def update(done: int, total: int) -> None:
        if done >= blocks * 4096:
            raise KeyboardInterrupt

    return update


@pytest.mark.parametrize(
    ("node", "content"),
    [
        ("greenhouse", b"\xff" * 0x400000),
        ("greenhouse", b"\xff" * 0x1000 + b"\xe9"),
        ("cellar", bytes(848 * 1024)),
        ("cellar", b"12345678littlefs"),
    ],
)
def test_what_is_no_backup_of_the_board_is_refused_before_a_port_is_touched(
    tmp_path: Path, node: str, content: bytes
) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    words = ("restore", str(ROOT / f"nodes/{node}.toml"), str(tmp_path / "x.bin"), "--port", "/dev/nothing", "--yes")
    said = fieldnode(*words, status=2).stderr
    assert "x.bin: is no backup of an" in said and "/dev/nothing" not in said


POSIX_ONLY = {"fcntl", "termios", "pty", "tty", "pwd", "grp", "resource", "signal"}


def reached(start: Path) -> set[Path]:
    """The modules of tools/ that `start` brings along, at once or when they are needed."""
    found, ahead = set(), [start]
    while ahead:
        source = ahead.pop()
        if source in found:
            continue
        found.add(source)
        for line in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            names = [alias.name for alias in line.names] if isinstance(line, ast.Import) else []
            if isinstance(line, ast.ImportFrom) and line.module:
                names += [line.module, *(f"{line.module}.{alias.name}" for alias in line.names)]
            parts = [ROOT.joinpath(*name.split(".")) for name in names if name.partition(".")[0] == "tools"]
            files = [part.with_suffix(".py") for part in parts] + [part / "__init__.py" for part in parts]
            ahead += [file for file in files if file.exists()]
    return found


def test_what_flashes_and_deploys_imports_nothing_of_one_system_only() -> None:
    """So that it can run on Windows; what it brings along is by people who care for that."""
    sources = reached(ROOT / "tools" / "cli.py")
    assert {"console.py", "provision.py", "loader.py", "build.py"} <= {source.name for source in sources}
    for source in sources:
        for line in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            found = {alias.name for alias in line.names} if isinstance(line, ast.Import) else set()
            found |= {line.module} if isinstance(line, ast.ImportFrom) and line.module else set()
            assert not found & POSIX_ONLY, f"{source}: {found}"


@pytest.mark.beside
@pytest.mark.timeout(400)
def test_what_pip_installs_works_on_its_own(tmp_path: Path) -> None:
    """`pip install .` with its dependencies and nothing else into an empty environment; the checkout is far."""
    venv.create(tmp_path / "venv", with_pip=True)
    bin = tmp_path / "venv" / "bin"
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    env |= {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(*words: str | Path, timeout: int = 60) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(bin / "pip", "install", "-q", ROOT, timeout=300)
    assert str(ROOT) not in run(bin / "python", "-c", "import tools; print(tools.__file__)")
    assert "flash" in run(bin / "fieldnode", "--help") and "--fw" in run(bin / "fieldnode", "flash", "--help")
    (tmp_path / "mine.toml").write_text(run(bin / "fieldnode", "example"))
    found = json.loads(run(bin / "fieldnode", "deploy", "--dry-run", "--json", "mine.toml"))
    here = json.loads(fieldnode("deploy", "--dry-run", "--json", str(NODE)).stdout)
    assert found["files"] == here["files"]
    (carried,) = (tmp_path / "venv").glob("lib/python*/site-packages/tools/device")
    for board in catalogue.boards():
        assert {"board.toml", "image.toml"} <= {path.name for path in (carried / "boards" / board).iterdir()}


@pytest.mark.parametrize("name", ["cellar", "greenhouse"])
def test_an_example_is_a_node_file(name: str) -> None:
    assert fieldnode("example", name).stdout == (ROOT / "nodes" / f"{name}.toml").read_text()
    assert fieldnode("example").stdout == NODE.read_text()
