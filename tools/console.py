"""The host's end of the serial console.

    fieldnode console [PORT]                        a terminal; Ctrl-] leaves
    fieldnode console [PORT] -c "status" [--json]   one command and its answer

A port that vanishes, as native USB does while a board sleeps or resets, is waited for and opened again. The editor,
history and completion are the node's own (firmware/node/console/README.md); this end passes bytes. Works on Windows as
far as pyserial does; that is not tested.
"""

from __future__ import annotations

import codecs
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

from tools.flash import FlashError, ports

BAUD = 115200
LEAVE = "\x1d"  # Ctrl-]
_CLEAR = b"\x15\r"  # drops half a line, then asks for a prompt
_PROMPT = re.compile(rb"(?:^|[\r\n])[a-z0-9_-]{1,32}(?: \(locked\))?> $")
_REPL = re.compile(rb"(?:^|[\r\n])>>> $")
_KNOCK_S = 0.5
_POLL_S = 0.1
_ABSENT = "that of a sleeping node comes back"

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
        """Whether it is open now. Raises NotSerialError for what will never be."""
        if self._serial is None:
            try:
                self._serial = serial.serial_for_url(self.port, baudrate=BAUD, timeout=_POLL_S, exclusive=_exclusive())
            except (OSError, ValueError) as error:  # SerialException is an OSError
                why = ports.why_not(self.port, error, _ABSENT)
                self.fault = str(why)
                if isinstance(why, ports.NotSerialError):
                    raise why from error
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
        self.fault = f"{self.port}: it went away ({error})"
        self.close()


def _exclusive() -> bool | None:
    return None if sys.platform == "win32" else True


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
        raise ConsoleError(line.fault)
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
            raise ConsoleError(f"{line.port}: no answer, {timeout:g} s long" if line.open() else line.fault)
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
        was_open, decode = None, codecs.getincrementaldecoder("utf-8")("replace").decode
        while not leaving.is_set():
            got = line.read()
            is_open = line.open()
            if is_open != was_open:
                here = f"{line.port}: open; Ctrl-] leaves, return brings the prompt"
                show(f"\r\n--- {here if is_open else f'{line.fault}; waiting for it'} ---\r\n")
                was_open = is_open
            if got:
                show(decode(got))

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


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("place", metavar="[PORT]", required=False)
@click.option("--port", help="Serial port, such as COM3 or /dev/ttyACM0; found by itself if there is one only.")
@click.option("-c", "command", help="Run this command of the node and end.")
@click.option("--json", "as_json", is_flag=True, help="With -c: the answer as JSON, a line each.")
@click.option("--timeout", default=60.0, show_default=True, help="With -c: seconds to wait for a node that sleeps.")
def main(place: str | None, port: str | None, command: str | None, as_json: bool, timeout: float) -> None:
    """Talk to the node at PORT. Exit code with -c: 0 done, 1 refused by the node, 2 no answer."""
    if place is not None and port is not None:
        raise click.UsageError("name the port once")
    if command is None and as_json:
        raise click.UsageError("--json goes with -c")
    try:
        line = Line(place or port or ports.find(None))
        with contextlib.closing(line):
            if command is not None:
                sys.exit(ask(line, command, as_json, timeout, click.echo))
            line.open()  # what is no serial port is said before the screen is taken
            keyboard = Keyboard()
            keyboard.setup()
            try:
                terminal(line, keyboard, keyboard.write)
            finally:
                keyboard.cleanup()
    except (ConsoleError, FlashError) as error:
        click.echo(json.dumps({"ok": False, "error": str(error)}) if as_json else f"error: {error}", err=not as_json)
        sys.exit(NO_ANSWER)


if __name__ == "__main__":
    main()
