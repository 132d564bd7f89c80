"""The host's end of the serial console against a scripted node on a pty, and the page of the node's commands."""

import contextlib
import json
import os
import pty
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tools import cli, console, console_page
from tools.console import DONE, LEAVE, NO_ANSWER, REFUSED, ConsoleError, Line, ask
from tools.flash import ports


class Node:
    """Answers at the pty behind `link`: `say(line)` is what it says to a line. Deaf, asleep, until `awake` is set."""

    def __init__(self, link: Path, say: Callable[[str], str], prompt: str = "n> ") -> None:
        self.link, self.say, self.prompt = link, say, prompt
        self.awake = threading.Event()
        self.awake.set()
        self.heard = b""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def plug(self) -> None:
        """The port appears."""
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self._ends.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.link.symlink_to(os.ttyname(self._slave))

    def pull(self) -> None:
        """The port goes, whoever has it open."""
        self.link.unlink()
        self._ends.set()
        self._thread.join(5)
        os.close(self._slave)
        os.close(self._master)

    def _run(self) -> None:
        held = b""
        os.set_blocking(self._master, False)
        while not self._ends.is_set():
            time.sleep(0.005)
            with contextlib.suppress(BlockingIOError, OSError):
                got = os.read(self._master, 256)
                if not self.awake.is_set():
                    continue
                self.heard += got
                held += got.replace(b"\x15", b"")
            while b"\r" in held:
                line, _, held = held.partition(b"\r")
                text = line.decode()
                os.write(self._master, f"{text}\r\n{self.say(text)}{self.prompt}".encode())


def answers(line: str) -> str:
    """A node that knows status and nothing else, and prints noise of its own."""
    if not line:
        return ""
    if line.endswith(" --json"):
        ok = line.startswith("status")
        answer = {"ok": True, "boot": 3} if ok else {"ok": False, "error": "unknown command"}
        return 'uplink: [1, 2]\r\n7\r\n{"level": "info", "line": "x"}\r\n' + json.dumps(answer) + "\r\n"
    return "boot    3\r\nboard   x\r\n" if line == "status" else "error: unknown command\r\n"


@contextlib.contextmanager
def plugged(folder: Path) -> Iterator[Node]:
    """A node whose port is there."""
    made = Node(folder / "port", answers)
    made.plug()
    try:
        yield made
    finally:
        if made.link.is_symlink():
            made.pull()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with plugged(tmp_path) as made:
        yield made


def told(node: Node, command: str, as_json: bool, timeout: float = 5.0) -> tuple[int, list[str]]:
    line = Line(str(node.link))
    shown: list[str] = []
    try:
        return ask(line, command, as_json, timeout, shown.append), shown
    finally:
        line.close()


def test_a_command_is_asked_and_its_answer_passed_on(node: Node) -> None:
    assert told(node, "status", False) == (DONE, ["boot    3", "board   x"])
    assert told(node, "nonsense", False) == (REFUSED, ["error: unknown command"])


def test_json_lines_are_told_from_all_else_and_give_the_exit_code(node: Node) -> None:
    code, shown = told(node, "status", True)
    assert code == DONE and [json.loads(line) for line in shown] == [
        {"level": "info", "line": "x"}, {"ok": True, "boot": 3},
    ]  # fmt: skip
    code, shown = told(node, "nonsense", True)
    assert code == REFUSED and json.loads(shown[-1])["error"] == "unknown command"


def test_half_a_line_at_the_node_is_cleared_first(node: Node) -> None:
    told(node, "status", False)
    assert node.heard.startswith(b"\x15\r") and node.heard.rstrip(b"\x15\r").endswith(b"\x15\rstatus")


@pytest.mark.beside
def test_a_sleeping_node_is_waited_for(tmp_path: Path) -> None:
    with plugged(tmp_path) as node:
        node.awake.clear()
        threading.Timer(1.2, node.awake.set).start()
        began = time.monotonic()
        assert told(node, "status", False, 20)[0] == DONE and time.monotonic() - began > 1.1


@pytest.mark.beside
def test_a_port_that_is_away_is_waited_for(tmp_path: Path) -> None:
    with plugged(tmp_path) as node:
        node.pull()
        threading.Timer(0.8, node.plug).start()
        assert told(node, "status", False, 20)[0] == DONE


@pytest.mark.beside
def test_what_was_seen_is_said_when_nothing_answers(tmp_path: Path) -> None:
    with plugged(tmp_path) as node:
        with pytest.raises(ConsoleError, match="nosuch: there is no such port; .*; that of a sleeping node comes back"):
            ask(Line(str(tmp_path / "nosuch")), "status", False, 0.5, print)
        node.awake.clear()
        with pytest.raises(ConsoleError, match="no prompt in 1 s; asleep, or no node: reset it"):
            told(node, "status", False, 1)
        node.awake.set()
        node.prompt = "login: "
        with pytest.raises(ConsoleError, match="no prompt in 1 s; last seen: 'login: login:'|last seen: 'login:'"):
            told(node, "status", False, 1)
        node.prompt = ">>> "
        with pytest.raises(ConsoleError, match="MicroPython's REPL, the node is stopped; press Ctrl-D"):
            told(node, "status", False, 5)


def test_a_port_that_is_busy_is_told_so(node: Node) -> None:
    other = Line(str(node.link))
    assert other.open()
    with pytest.raises(ConsoleError, match="port: another program has it open"):
        told(node, "status", False, 1)
    other.close()
    assert told(node, "status", False)[0] == DONE  # the same command again


@pytest.mark.beside
def test_a_cable_pulled_in_an_answer_is_told_and_the_same_command_again_works(tmp_path: Path) -> None:
    with plugged(tmp_path) as node:
        puller = threading.Timer(0.2, node.pull)

        def dies(line: str) -> str:
            if line:
                puller.start()
                time.sleep(0.05)
            return "half an answ" if line else ""

        node.say = dies
        with pytest.raises(ConsoleError):
            told(node, "log -f", True, 1.5)
        puller.join()
        node.say = answers
        node.plug()
        assert told(node, "status", True)[0] == DONE


def test_the_command_line_has_exit_codes_and_one_json_line_for_its_own_errors(node: Node, tmp_path: Path) -> None:
    run = CliRunner().invoke
    port = str(node.link)
    for there in ([port], ["--port", port]):
        done = run(console.main, [*there, "-c", "status", "--json"])
        assert done.exit_code == DONE and json.loads(done.output.splitlines()[-1])["boot"] == 3
    assert run(console.main, [port, "-c", "nonsense"]).exit_code == REFUSED
    away = run(console.main, [str(tmp_path / "nosuch"), "-c", "status", "--json", "--timeout", "0.3"])
    assert away.exit_code == NO_ANSWER and json.loads(away.output)["ok"] is False
    assert run(console.main, [port, "--json"]).exit_code == 2


def test_the_only_board_is_found(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports.list_ports, "comports", list)
    none = CliRunner().invoke(console.main, ["-c", "status"])
    assert none.exit_code == 2 and "a board was not found; there is no serial port on USB" in none.output
    monkeypatch.setattr(ports, "find", lambda board: str(node.link))
    assert CliRunner().invoke(console.main, ["-c", "status"]).exit_code == DONE


class Keyboard:
    """Types `script`: text, or seconds to wait; then Ctrl-]."""

    def __init__(self, *script: str | float) -> None:
        self._keys: list[str | float] = []
        for piece in script:
            self._keys += list(piece) if isinstance(piece, str) else [piece]

    def getkey(self) -> str:
        """The next key."""
        while self._keys:
            key = self._keys.pop(0)
            if isinstance(key, str):
                return key
            time.sleep(key)
        return LEAVE


@pytest.mark.beside
def test_the_terminal_passes_keys_and_opens_a_port_that_comes_back(tmp_path: Path) -> None:
    with plugged(tmp_path) as node:
        shown: list[str] = []
        threading.Timer(1.0, node.pull).start()
        threading.Timer(2.0, node.plug).start()
        keyboard = Keyboard(0.5, "status\n", 2.5, "nonsense\n", 0.5)
        console.terminal(Line(str(node.link)), keyboard, shown.append)
        screen = "".join(shown)
        assert "boot    3" in screen and "error: unknown command" in screen
        first, away, again = screen.index("open; Ctrl-]"), screen.index("waiting for it"), screen.rindex("open; Ctrl-]")
        assert first < screen.index("boot    3") < away < again < screen.index("error: unknown")


def test_a_character_that_comes_in_two_pieces_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [b"21 \xc2", b"\xb0C"]
    line = Line("loop://")
    monkeypatch.setattr(line, "read", lambda: pieces.pop(0) if pieces else b"")
    shown: list[str] = []
    console.terminal(line, Keyboard(0.3), shown.append)
    assert "21 \N{DEGREE SIGN}C" in "".join(shown)


def test_what_run_follows_has_whole_characters_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Port:
        pieces = [b"21 \xc2", b"\xb0C"]

        def write(self, data: bytes) -> None: ...

        def close(self) -> None: ...

        def read(self, size: int) -> bytes:
            if not self.pieces:
                raise KeyboardInterrupt
            return self.pieces.pop(0)

    monkeypatch.setattr(ports, "open_serial", lambda port, wait_s: Port())
    cli._follow("x", b"")
    assert capsys.readouterr().out == "21 \N{DEGREE SIGN}C"


def test_the_committed_page_is_fresh_and_names_every_command() -> None:
    page = console_page.PAGE.read_text(encoding="utf-8")
    assert page == console_page.page(), "stale: run make docs"
    for command in console_page.table.COMMANDS:
        assert f"| `{command.name}" in page and command.help in page


def test_check_tells_a_stale_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_page, "ROOT", tmp_path)
    monkeypatch.setattr(console_page, "PAGE", tmp_path / "README.md")
    run = CliRunner().invoke
    assert run(console_page.main, ["--check"]).exit_code == 1
    assert run(console_page.main).exit_code == 0 and run(console_page.main, ["--check"]).exit_code == 0


def test_every_handler_of_the_table_exists() -> None:
    names = [command.name for command in console_page.table.COMMANDS]
    assert len(names) == len(set(names))
    for command in console_page.table.COMMANDS:
        module, function = command.handler.split(".")
        source = (console_page.CONSOLE / "commands" / f"{module}.py").read_text(encoding="utf-8")
        assert f"async def {function}(console, words):" in source, command.name
