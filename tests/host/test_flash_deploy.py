"""A deploy by mpremote's own transport onto a board's filesystem: complete, minimal, and safe to interrupt anywhere."""

import base64
import contextlib
import hashlib
import json
import os
import select
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
import serial
from replkit import ReplBoard

from tools import boards, build, nodefile
from tools.flash import FlashError, Refusal, WrongBoardError, deploy, firmware, firstboot, tree
from tools.flash.link import Link
from tools.flash.progress import Report

ROOT = Path(__file__).resolve().parent.parent.parent
ESP32 = boards.load("esp32")
BOARD = b"""
class _Port:
    def prepare(self):
        with open('prepared', 'a') as file:
            file.write('x')
    def reset(self):
        import machine
        machine.reset()
class _Board:
    flash = power = _Port()
def build():
    return _Board
"""
FILES: dict[str, bytes] = {
    "boot.py": b"print('boot')\n",
    "main.py": b"import node.app\n",
    "node/app.py": b"import sys\nprint('node runs')\n" + b"# padding\n" * 300,
    "lib/board/__init__.py": BOARD,
    "lib/part/deep/data.bin": bytes(range(256)) * 12,
    "settings.json": b"{}",
    "key": bytes(range(32)),
}
SECOND = FILES | {"node/app.py": b"import sys\nprint('another')\n", "lib/new.py": b"x = 1\n"}


def bring(board: ReplBoard, files: dict[str, bytes] = FILES, wait_s: float = 0) -> dict:
    with Link(board.port, wait_s) as link:
        done = deploy.deploy(link, ESP32, files, Report(as_json=True))
        link.restart(deploy.RESTART)
    return done


def first_words(board: ReplBoard, files: dict[str, bytes], wait_s: float) -> dict:
    """Deploys and waits for the status of the first boot."""
    with Link(board.port) as link:
        deploy.deploy(link, ESP32, files, Report(as_json=True))
        return firstboot.status(board.port, wait_s, link.leave(deploy.RESTART))


def listing(board: ReplBoard) -> dict[str, bytes]:
    """Every file on the board, read by mpremote's own command."""
    with Link(board.port) as link:
        said = link.run(
            "import os, binascii\n"
            "def walk(folder):\n"
            " for entry in os.ilistdir(folder or '/'):\n"
            "  path = folder + entry[0]\n"
            "  if entry[1] & 0x4000:\n"
            "   walk(path + '/')\n"
            "  else:\n"
            "   print(path, str(binascii.b2a_base64(open(path, 'rb').read()), ''), end='')\n"
            "walk('')"
        )
    return {path: base64.b64decode(text) for path, text in (line.split(" ") for line in said.splitlines())}


def check(board: ReplBoard, files: dict[str, bytes]) -> None:
    """The board holds `files`, the manifest of just these, and the mark that its flash was prepared."""
    found = listing(board)
    assert found.pop("prepared")
    assert tree.parse_manifest(found.pop(tree.MANIFEST)) == tree.digests(files)
    assert found == files


@pytest.fixture
def board(tmp_path: Path):
    with ReplBoard(tmp_path) as made:
        yield made


def test_a_deploy_is_complete_and_a_second_one_copies_nothing(board: ReplBoard) -> None:
    first = bring(board)
    assert set(first["copied"]) == set(FILES) and first["bytes"] == sum(map(len, FILES.values()))
    check(board, FILES)
    began = time.monotonic()
    second = bring(board)
    assert time.monotonic() - began < 3
    assert second["copied"] == second["removed"] == [] and second["bytes"] == 0 and second["unchanged"] == len(FILES)
    check(board, FILES)


def test_only_what_changed_is_copied_and_what_is_no_longer_wanted_is_removed(board: ReplBoard) -> None:
    bring(board, SECOND)
    with Link(board.port) as link:
        link.run("with open('mine.txt', 'w') as f:\n f.write('of the user')")
    done = bring(board, FILES)
    assert set(done["copied"]) == {"node/app.py", "main.py"} and done["removed"] == ["lib/new.py"]
    found = listing(board)
    assert found.pop("mine.txt") == b"of the user" and "lib/new.py" not in found


def test_a_file_that_changed_on_the_board_is_put_right(board: ReplBoard) -> None:
    bring(board)
    with Link(board.port) as link:
        link.run("f = open('key', 'r+b')\nf.seek(5)\nf.write(b'!')\nf.close()")
    assert set(bring(board)["copied"]) == {"key", "main.py"}
    check(board, FILES)


def test_a_file_that_did_not_arrive_as_it_was_sent_takes_no_ones_place(board: ReplBoard) -> None:
    with Link(board.port) as link:
        deploy.probe(link)
        link.run("with open('key', 'w') as f:\n f.write('of before')")
        whole = hashlib.sha256(b"of now").hexdigest()
        put = f"with open('deploy.new', 'w') as f:\n f.write({{!r}})\n_put('key', {whole!r})\nprint(open('key').read())"
        assert link.run(put.format("oh now")).split("\r\n")[:1] == ["of before"]
        assert link.run(put.format("of now")).split("\r\n")[:2] == ["key", "of now"]
        link.run("_put = lambda name, digest: None")  # as if it were never whole
        with pytest.raises(FlashError, match="lib/x.py did not arrive as it was sent; run the same command again"):
            deploy._write(link, {"lib/x.py": b"pass"})


def test_the_cable_may_come_out_at_any_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power and port vanish at bytes spread over a whole deploy; the same command then finishes it."""
    monkeypatch.setattr("tools.flash.link._ANSWER_S", 3)  # the first time it vanishes before the board has answered
    (tmp_path / "whole").mkdir()
    with ReplBoard(tmp_path / "whole") as whole:
        bring(whole)
        bytes_of_all = whole.received
    cut = 0
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        with ReplBoard(folder) as board:
            board.cut_at = 20 + bytes_of_all * number // 6
            with pytest.raises(FlashError, match="run the same command again"):
                bring(board)
            cut += 1
        board.cut_at = None
        with board:
            ran = "main.py" in (there := listing(board))
            assert not ran or there["main.py"] == FILES["main.py"] and FILES.items() <= there.items()
            bring(board, wait_s=5)
            check(board, FILES)
    assert cut == 6


@pytest.mark.parametrize("part", [0.4, 0.9])
def test_a_changed_deploy_may_be_cut_and_then_replaced_by_another(tmp_path: Path, part: float) -> None:
    """Files of a deploy that never finished are known to the next one, though it is of other files."""
    with ReplBoard(tmp_path) as board:
        bring(board)
        began = board.received
        bring(board, SECOND)
        length = board.received - began
        bring(board)
        board.cut_at = board.received + int(length * part)
        with pytest.raises(FlashError):
            bring(board, SECOND)
    board.cut_at = None
    with board:
        bring(board, wait_s=5)
        check(board, FILES)


def test_no_watchdog_bites_while_files_are_copied(tmp_path: Path) -> None:
    """The node that runs has armed one that nobody feeds at a prompt; the deploy takes longer than it waits."""
    armed = FILES | {"main.py": b"import machine, time\nw = machine.WDT(1)\nwhile 1:\n w.feed()\n time.sleep(.1)\n"}
    slow = armed | {f"lib/part{n}.bin": bytes(4000) for n in range(40)}
    with ReplBoard(tmp_path, watchdog_s=1.0, blocks=512) as board:
        bring(board, armed)
        time.sleep(0.3)
        done = bring(board, slow)
        assert done["seconds"] > 1.5 * 1.0, "too fast to show anything"
        assert board.bites == 0


@pytest.mark.parametrize(
    ("machine", "ring", "said", "error"),
    [
        ("Raspberry Pi Pico W with RP2040", True, "answers as 'Raspberry Pi Pico W with RP2040'", WrongBoardError),
        ("Generic ESP32S3 module with ESP32S3", True, "but esp32 has an ESP32; nothing was done", WrongBoardError),
        ("Generic ESP32 module with ESP32", False, "first `fieldnode flash`", Refusal),
    ],
)
def test_a_board_that_does_not_fit_is_left_alone(
    tmp_path: Path, machine: str, ring: bool, said: str, error: type[FlashError]
) -> None:
    with ReplBoard(tmp_path, machine=machine, ring=ring) as board:
        with pytest.raises(error, match=said) as caught:
            bring(board)
        assert caught.value.status == 2
        assert listing(board) == {}


def test_a_full_filesystem_is_said_and_recovered_from(tmp_path: Path) -> None:
    """First what can be known ahead, then what only writing shows: blocks that small files leave half empty."""
    with ReplBoard(tmp_path, blocks=24) as board:
        with pytest.raises(Refusal, match=r"\d+ bytes to copy, \d+ free on the board; nothing was done"):
            bring(board, FILES | {"big.bin": bytes(100_000)})
        wide = FILES | {f"lib/part{n:02}.bin": bytes(2100) for n in range(25)}
        with pytest.raises(FlashError, match="filesystem is full"):
            bring(board, wide)
        bring(board, FILES)
        check(board, FILES)


def test_a_port_that_cannot_be_used_is_said_in_words(tmp_path: Path, board: ReplBoard) -> None:
    with pytest.raises(Refusal, match="there is no such port; ports found:") as caught:
        Link(str(tmp_path / "nothing")).open()
    assert caught.value.status == 2
    with Link(board.port), pytest.raises(FlashError, match="another program has it open"):
        Link(board.port).open()
    bring(board)


def test_a_board_that_says_nothing_is_told_from_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.flash.link._ANSWER_S", 0.5)
    _, slave = os.openpty()
    with pytest.raises(FlashError, match="does not answer; it may be asleep"):
        Link(os.ttyname(slave)).open()


def test_no_firmware_is_told_from_a_port_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `fieldnode run` goes by: only a board that answers otherwise than a fitting MicroPython is flashed."""
    with ReplBoard(tmp_path) as board:
        assert firmware.there(ESP32, board.port, None, 0)
        with Link(board.port), pytest.raises(FlashError, match="another program has it open"):
            firmware.there(ESP32, board.port, None, 0)
    with pytest.raises(Refusal, match="there is no such port"):
        firmware.there(ESP32, str(tmp_path / "nothing"), None, 0)
    for name, machine, ring in (("stock", "Generic ESP32 module with ESP32", False), ("other", "an RP2040", True)):
        (tmp_path / name).mkdir()
        with ReplBoard(tmp_path / name, machine=machine, ring=ring) as board:
            if name == "stock":
                assert not firmware.there(ESP32, board.port, None, 0)
            else:
                with pytest.raises(WrongBoardError):
                    firmware.there(ESP32, board.port, None, 0)
    monkeypatch.setattr("tools.flash.link._ANSWER_S", 0.5)
    _, slave = os.openpty()
    assert not firmware.there(ESP32, os.ttyname(slave), None, 0)


def test_a_port_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    board = ReplBoard(tmp_path)
    later = threading.Timer(0.5, board.plug)
    later.start()
    try:
        bring(board, wait_s=10)
        check(board, FILES)
    finally:
        later.join()
        board.unplug()


@contextlib.contextmanager
def slow_line(board: ReplBoard, folder: Path, delay_s: float) -> Iterator[str]:
    """A port at which all that the board says comes `delay_s` late."""
    master, slave = os.openpty()
    tty.setraw(slave)
    (folder / "slow").symlink_to(os.ttyname(slave))
    stopping = threading.Event()

    def carry() -> None:
        late: list[tuple[float, bytes]] = []
        with serial.Serial(board.port, timeout=0) as line:
            while not stopping.is_set():
                if select.select([master], [], [], 0.005)[0]:
                    line.write(os.read(master, 4096))
                if data := line.read(4096):
                    late.append((time.monotonic() + delay_s, data))
                while late and late[0][0] <= time.monotonic():
                    os.write(master, late.pop(0)[1])

    carrier = threading.Thread(target=carry)
    carrier.start()
    try:
        yield str(folder / "slow")
    finally:
        stopping.set()
        carrier.join()
        os.close(master)
        os.close(slave)


def test_answers_to_tries_that_were_given_up_confuse_nobody(board: ReplBoard, tmp_path: Path) -> None:
    """The board is slower than the first tries wait: their answers come when the next has already succeeded."""
    with Link(board.port):
        pass  # it has started
    with slow_line(board, tmp_path, 0.4) as port, Link(port) as link:
        assert link.run("print(6 * 7)").strip() == "42"


CONSOLE = b"""
import sys
print('booting')
while True:
    line = sys.stdin.readline().strip()
    if line == 'status --json':
        print('{"level": "info"}\\n{"ok": true, "node": "greenhouse", "reason": 4}\\n{"level": "info"}')
"""
REFUSES = b"""
import sys
while True:
    line = sys.stdin.readline().strip()
    if line == 'status --json':
        print('{"ok": false, "error": "%s"}')
    if line == 'version --json':
        print('{"ok": true, "firmware": "1"}')
"""


def test_the_first_boot_tells_the_nodes_own_status(board: ReplBoard) -> None:
    found = first_words(board, FILES | {"main.py": CONSOLE}, 10)
    assert found == {"ok": True, "node": "greenhouse", "reason": 4}


def test_a_locked_console_is_said_to_be_locked_and_any_other_refusal_is_no_good_first_boot(board: ReplBoard) -> None:
    locked = REFUSES % b"the console is locked; unlock PIN"
    found = first_words(board, FILES | {"main.py": locked}, 10)
    assert found == {"console": "locked", "ok": True, "firmware": "1"}
    with pytest.raises(FlashError, match="the node runs, and does not tell its status: MemoryError"):
        first_words(board, FILES | {"main.py": REFUSES % b"MemoryError"}, 10)


def test_a_status_is_told_without_what_only_programs_want() -> None:
    text = firstboot.as_text({"ok": True, "clock": None, "boot": 3}, "/dev/x")
    assert text == "  clock: -\n  boot: 3"
    text = firstboot.as_text({"console": "locked", "ok": True, "firmware": "1"}, "/dev/x")
    assert text.splitlines()[-1] == "  it tells more after `unlock PIN`: fieldnode console /dev/x"


def test_a_first_boot_that_fails_is_shown(board: ReplBoard) -> None:
    with pytest.raises(FlashError, match=r"the node does not run, .* it said: .*no module named 'node.missing'"):
        first_words(board, FILES | {"main.py": b"import node.missing\n"}, 3)


def test_the_whole_tree_of_a_node_goes_onto_a_board(tmp_path: Path) -> None:
    """What the command deploys, by the command; real mpremote then reads it back."""
    node_file = tmp_path / "greenhouse.toml"
    node_file.write_text((ROOT / "nodes" / "greenhouse.toml").read_text())
    command = [sys.executable, "-m", "tools.cli", "deploy", str(node_file), "--status-wait", "0", "--json"]
    with ReplBoard(tmp_path, run=False) as board:
        command += ["--port", board.port]
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 2
        assert "greenhouse has no key, ca, cert, pkey: first run `fieldnode provision" in refused.stderr
        identity = tmp_path / ".identity" / "greenhouse"
        identity.mkdir(parents=True)
        for name in tree.IDENTITY:
            (identity / name).write_bytes(name.encode() * 11)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        wanted = tree.plan(nodefile.load(node_file), {name: name.encode() * 11 for name in tree.IDENTITY}, build.OUT)
        assert set(json.loads(done.stdout)["copied"]) == set(wanted)
        assert listing(board) == wanted | {tree.MANIFEST: tree.manifest(tree.digests(wanted))}
        again = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout)
        assert again["copied"] == [] and again["seconds"] < 3
        shown = subprocess.run(
            [sys.executable, "-m", "mpremote", "connect", board.port, "resume", "sha256sum", "lib/board/__init__.mpy"],
            capture_output=True, text=True, timeout=30,
        )  # fmt: skip
        assert tree.digests(wanted)["lib/board/__init__.mpy"] in shown.stdout
