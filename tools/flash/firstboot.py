"""The first boot after a deploy: waits until the node's own console answers, and tells what it says."""

from __future__ import annotations

import json
import time
from typing import Any

import serial

from tools.flash import FlashError, ports

_ASK_S = 0.5  # between two questions: the node may still be starting, and its service window may be short
_BACK_S = 20
_STATUS, _VERSION = b"\rstatus --json\r\n", b"\rversion --json\r\n"
_PROMPT = b"\n>>> "
_KEPT = 12  # last lines that are shown when no answer came
_LOCKED = "is locked"  # what a console with a PIN says instead; `version` it answers all the same


def status(port: str, wait_s: float, line: serial.SerialBase | None = None) -> dict[str, Any]:
    """The answer to `status --json` on the node's console, within `wait_s`. FlashError tells what was seen instead.

    Of a console that is locked by a PIN: `{"console": "locked"}` and the answer to `version --json`.
    `line`: the port, if it is open already; it is closed here.
    """
    seen, question = b"", _STATUS
    end, asked = time.monotonic() + wait_s, 0.0
    try:
        while time.monotonic() < end:
            try:
                if line is None:
                    line = ports.open_serial(port, _BACK_S)
                line.timeout = 0
                if time.monotonic() - asked >= _ASK_S:
                    line.write(question)
                    asked = time.monotonic()
                seen += line.read(4096)
            except (serial.SerialException, OSError):
                # Native USB goes away when the node restarts or sleeps.
                line, asked = _closed(line), 0.0
                time.sleep(0.1)
                continue
            found = _answer(seen)
            if found is not None and found["ok"] is True:
                return found if question is _STATUS else {"console": "locked"} | found
            if found is not None and _LOCKED not in str(found.get("error")):
                raise FlashError(f"{port}: the node runs, and does not tell its status: {found.get('error')}")
            if found is not None and question is _STATUS:
                question, asked = _VERSION, 0.0
            words, stopped, _ = seen.partition(_PROMPT)
            if stopped:
                raise FlashError(f"{port}: the node does not run, Python's prompt came instead; {_told(words)}")
            time.sleep(0.02)
    finally:
        _closed(line)
    raise FlashError(f"{port}: the node's console gave no status within {wait_s:.0f} s; {_told(seen)}")


def as_text(found: dict[str, Any], port: str) -> str:
    """What `status` gave, for people."""
    lines = [f"  {key}: {'-' if value is None else value}" for key, value in found.items() if key != "ok"]
    if found.get("console") == "locked":
        lines.append(f"  it tells more after `unlock PIN`: fieldnode console {port}")
    return "\n".join(lines)


def _closed(line: serial.SerialBase | None) -> None:
    if line is not None:
        line.close()


def _answer(seen: bytes) -> dict[str, Any] | None:
    """The last whole line that is a JSON object with an `ok`, by which an answer is told from other lines."""
    for line in reversed(seen.decode("utf-8", "replace").split("\n")[:-1]):
        begin = line.find("{")
        if begin >= 0:
            try:
                found = json.loads(line[begin:])
            except ValueError:
                continue
            if isinstance(found, dict) and "ok" in found:
                return found
    return None


def _told(seen: bytes) -> str:
    lines = [line.strip() for line in seen.decode("utf-8", "replace").splitlines() if line.strip()]
    if not lines:
        return "it said nothing; it may have gone to sleep: press its RESET button and ask it with `fieldnode console`"
    return "it said: " + " | ".join(lines[-_KEPT:])
