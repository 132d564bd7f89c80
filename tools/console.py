"""The host's end of the serial console.

    python -m tools.console PORT                        a terminal; Ctrl-] leaves
    python -m tools.console PORT -c "status" [--json]   one command and its answer

A port that vanishes, as native USB does while a board sleeps or resets, is waited for and opened again. The editor,
history and completion are the node's own (firmware/node/console/README.md); this end passes bytes. Works on Windows as
far as pyserial does; that is not tested.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import click
import serial
from serial.tools.miniterm import Console as Keyboard

BAUD = 115200
LEAVE = "\x1d"  # Ctrl-]
_CLEAR = b"\x15\r"  # drops half a line, then asks for a prompt
_PROMPT = re.compile(rb"(?:^|[\r\n])[a-z0-9_-]{1,32}(?: \(locked\))?> $")
_REPL = re.compile(rb"(?:^|[\r\n])>>> $")
_KNOCK_S = 0.5
_POLL_S = 0.1

DONE, REFUSED, NO_ANSWER = 0, 1, 2


class ConsoleError(Exception):
    """The node cannot be talked to; the text says what was seen and what to do."""


class Line:
    """One port, opened again whenever it comes back. `port`: a device name or a pyserial URL."""

    def __init__(self, port: str) -> None:
        self.port = port
        self._serial: Any = None
        self.fault = ""  # why it is not open

    def open(self) -> bool:
        """Whether it is open now."""
        if self._serial is None:
            try:
                self._serial = serial.serial_for_url(self.port, baudrate=BAUD, timeout=_POLL_S, exclusive=_exclusive())
            except (OSError, ValueError) as error:  # SerialException is an OSError
                self.fault = _why(error)
        return self._serial is not None

    def read(self) -> bytes:
        """What has come, b"" after a tenth of a second without, or while the port is away."""
        if not self.open() or self._serial is None:
            time.sleep(_POLL_S)
            return b""
        try:
            return self._serial.read(max(1, self._serial.in_waiting))
        except (OSError, TypeError) as error:  # pyserial: TypeError where another thread has closed it
            self._lost(error)
            return b""

    def write(self, data: bytes) -> bool:
        """Whether all of it went out."""
        if not self.open() or self._serial is None:
            return False
        try:
            self._serial.write(data)
            return True
        except OSError as error:
            self._lost(error)
            return False

    def close(self) -> None:
        """Lets go of the port."""
        if self._serial is not None:
            with contextlib.suppress(OSError):  # it is gone already
                self._serial.close()
            self._serial = None

    def _lost(self, error: Exception) -> None:
        self.fault = _why(error)
        self.close()


def _exclusive() -> bool | None:
    return None if sys.platform == "win32" else True


def _why(error: Exception) -> str:
    text = str(error)
    if "exclusively lock" in text or "Access is denied" in text:
        return "it is busy: another program has it open"
    if "No such file" in text or "FileNotFound" in text:
        return "it is not there"
    if "Permission" in text:
        return "you may not open it; on Linux, join the group dialout"
    return text


def ask(line: Line, command: str, as_json: bool, timeout: float, show: Callable[[str], None]) -> int:
    """Have the node run one command; `show` is given each line of its answer -> the exit code.

    `timeout`: seconds until the node must have shown a prompt, and seconds of silence until the answer is given up.
    Raises ConsoleError.
    """
    _find_prompt(line, timeout)
    line.write(command.encode() + (b" --json\r" if as_json else b"\r"))
    return _json_answer(line, timeout, show) if as_json else _text_answer(line, timeout, show)


def _find_prompt(line: Line, timeout: float) -> None:
    """Until the node's prompt is the last that was said; a node that sleeps is asked until it wakes."""
    seen, end, knock = b"", time.monotonic() + timeout, 0.0
    while time.monotonic() < end:
        if time.monotonic() >= knock:
            line.write(_CLEAR)
            knock = time.monotonic() + _KNOCK_S
        seen = (seen + line.read())[-4096:]
        if _PROMPT.search(seen):
            while line.read():  # prompts of earlier knocks
                pass
            return
        if _REPL.search(seen):
            raise ConsoleError(f"{line.port}: MicroPython's REPL, the node is stopped; press Ctrl-D there to start it")
    if not line.open():
        raise ConsoleError(f"{line.port}: {line.fault}")
    raise ConsoleError(
        f"{line.port}: no prompt in {timeout:g} s"
        + (f"; last seen: {_last(seen)}" if seen.strip() else "; asleep, or no node: reset it and try again")
    )


def _last(seen: bytes) -> str:
    return repr(seen.decode(errors="replace").strip().splitlines()[-1][-60:])


def _lines(line: Line, timeout: float, at_prompt: bool) -> Any:
    """The lines that come, without their ends; ends at a prompt if asked to. Raises ConsoleError after silence."""
    held, heard = b"", time.monotonic()
    while True:
        got = line.read()
        if got:
            heard = time.monotonic()
        elif time.monotonic() - heard > timeout:
            raise ConsoleError(f"{line.port}: {'no answer' if line.open() else line.fault}, {timeout:g} s long")
        held += got
        *whole, held = held.split(b"\n")
        yield from (each.decode(errors="replace").rstrip("\r") for each in whole)
        if at_prompt and _PROMPT.fullmatch(held):
            return


def _json_answer(line: Line, timeout: float, show: Callable[[str], None]) -> int:
    """Other lines, such as the echo or what the node prints, are passed over."""
    for text in _lines(line, timeout, at_prompt=False):
        try:
            answer = json.loads(text)
        except ValueError:
            continue
        if isinstance(answer, dict):
            show(text)
            if "ok" in answer:
                return DONE if answer["ok"] else REFUSED
    raise AssertionError("unreachable: _lines ends only by an exception")


def _text_answer(line: Line, timeout: float, show: Callable[[str], None]) -> int:
    code, echo = DONE, True
    for text in _lines(line, timeout, at_prompt=True):
        if not echo:
            show(text)
            code = REFUSED if text.startswith("error: ") else code
        echo = False
    return code


def terminal(line: Line, keyboard: Any, show: Callable[[str], None]) -> None:
    """Pass keys to the node and what it says to the screen until Ctrl-]. `keyboard`: as pyserial's miniterm has it."""
    leaving = threading.Event()

    def receive() -> None:
        was_open = None
        while not leaving.is_set():
            got = line.read()
            is_open = line.open()
            if is_open != was_open:
                notice = "open; Ctrl-] leaves, return brings the prompt" if is_open else f"{line.fault}; waiting for it"
                show(f"\r\n--- {line.port}: {notice} ---\r\n")
                was_open = is_open
            if got:
                show(got.decode(errors="replace"))

    reader = threading.Thread(target=receive, daemon=True)
    reader.start()
    try:
        while True:
            key = keyboard.getkey()
            if key == LEAVE:
                return
            line.write(key.replace("\n", "\r").encode())
    except KeyboardInterrupt:
        return
    finally:
        leaving.set()
        reader.join(2)
        line.close()


@click.command()
@click.argument("port")
@click.option("-c", "command", help="Run this command of the node and end.")
@click.option("--json", "as_json", is_flag=True, help="With -c: the answer as JSON, a line each.")
@click.option("--timeout", default=60.0, show_default=True, help="With -c: seconds to wait for a node that sleeps.")
def main(port: str, command: str | None, as_json: bool, timeout: float) -> None:
    """Talk to the node at PORT. Exit code with -c: 0 done, 1 refused by the node, 2 no answer."""
    line = Line(port)
    if command is None:
        if as_json:
            raise click.UsageError("--json goes with -c")
        keyboard = Keyboard()
        keyboard.setup()
        try:
            terminal(line, keyboard, keyboard.write)
        finally:
            keyboard.cleanup()
        return
    try:
        code = ask(line, command, as_json, timeout, click.echo)
    except ConsoleError as error:
        click.echo(json.dumps({"ok": False, "error": str(error)}) if as_json else f"error: {error}", err=not as_json)
        code = NO_ANSWER
    finally:
        line.close()
    sys.exit(code)


if __name__ == "__main__":
    main()
