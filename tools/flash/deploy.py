"""Brings the files of a node onto its board, copying only what changed.

Each file is written under another name, its hash compared, and renamed; main.py goes first and comes last. So whatever
moment the cable comes out, the board stays at its prompt, unarmed, and the same deploy again finishes the work.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.boards import Board
from tools.flash import FirmwareError, FlashError, Refusal, WrongBoardError, tree
from tools.flash.link import BoardError, Link
from tools.flash.progress import Report
from tools.flash.tree import LAST, MANIFEST, Tree

_CHUNK = 768  # bytes of a file in one line
_COMMAND = 2200  # characters sent at once, for a way there and back is dear; the board compiles them as a whole
_PREPARE_S = 120
_BACK_S = 20  # until a restarted board is at its port again
_MPY = 6
_NEW = "deploy.new"
_ENOSPC = 28

# Sent once per connection. Paths are relative: the root of the node's filesystem is where a board starts.
_HELPERS = """
import os, sys, hashlib
from binascii import a2b_base64 as _b, hexlify as _x
def _h(p):
 try:
  f = open(p, 'rb')
 except OSError:
  return ''
 h = hashlib.sha256()
 b = memoryview(bytearray(1024))
 while True:
  n = f.readinto(b)
  if not n:
   break
  h.update(b[:n])
 f.close()
 return _x(h.digest()).decode()
def _rm(p):
 try:
  os.remove(p)
 except OSError as e:
  if e.errno != 2:
   raise
def _put(p, d):
 if _h(NEW) == d:
  os.rename(NEW, p)
  print(p)
def _dirs(p):
 at = 0
 while True:
  at = p.find('/', at + 1)
  if at < 0:
   return
  try:
   os.mkdir(p[:at])
  except OSError as e:
   if e.errno != 17:
    raise
""".replace("NEW", repr(_NEW))
_PROBE = """
try:
 _m = os.uname().machine, os.uname().release
except AttributeError:
 _m = sys.implementation._machine, '.'.join(str(n) for n in sys.implementation.version[:3])
try:
 import esp32
 _r = bool(esp32.Partition.find(esp32.Partition.TYPE_DATA, label='ring'))
except ImportError:
 _r = None
try:
 with open('deploy.json', 'rb') as f:
  _f = f.read()
except OSError:
 _f = b''
_s = os.statvfs('')
print(repr((_m[0], _m[1], sys.implementation._mpy & 0xff, _r, _s[0] * _s[3], _f)))
"""
_PREPARE = "import board\nboard.build().flash.prepare()"
# The board's own way to restart says to the node why; the chip's where there is no board package yet.
RESTART = "try:\n import board\n board.build().power.reset()\nfinally:\n import machine\n machine.reset()"


@dataclass(frozen=True)
class Found:
    """What a board says of itself. `ring`: whether an ESP32 has our partition, None on others. `free`: bytes."""

    machine: str
    release: str
    mpy: int
    ring: bool | None
    free: int
    manifest: bytes


def probe(link: Link) -> Found:
    """Asks the board what it is, and gets it ready for what follows."""
    link.run(_HELPERS)
    return Found(*ast.literal_eval(link.run(_PROBE).strip()))


def fits(found: Found, board: Board, port: str) -> None:
    """Refuses another board than `board`, or one whose firmware cannot take what we copy."""
    chip = found.machine.rpartition(" ")[2]
    if chip != board.chip.replace("-", ""):
        said = f"answers as {found.machine!r}, but {board.name} has an {board.chip}"
        raise WrongBoardError(f"{port}: {said}; nothing was done")
    if found.mpy != _MPY:
        said = f"MicroPython {found.release} reads .mpy files {found.mpy}, not {_MPY}"
        raise FirmwareError(f"{port}: {said}; first `fieldnode flash`")
    if found.ring is False:
        said = "has no partition 'ring'; first `fieldnode flash`, which writes our partition table"
        raise FirmwareError(f"{port}: {said}")


def deploy(link: Link, board: Board, files: Tree, report: Report) -> dict[str, Any]:
    """Brings `files` onto the board behind the open `link`; it then waits at its prompt for RESTART.

    Returns {"copied": names, "removed": names, "bytes": int, "unchanged": int, "seconds": float}. Raises FlashError.
    """
    began = time.monotonic()
    found = probe(link)
    fits(found, board, link.port)
    wanted = tree.digests(files)
    there = _digests(link, [*wanted])
    known = tree.parse_manifest(found.manifest)
    changed = [name for name in wanted if there.get(name) != wanted[name]]
    removed = sorted(set(known) - set(wanted))
    size = sum(len(files[name]) for name in changed)
    if changed or removed or found.manifest != tree.manifest(wanted):
        if size > found.free:
            raise Refusal(f"{link.port}: {size} bytes to copy, {found.free} free on the board; nothing was done")
        halt(link)
        try:
            _bring(link, files, wanted, known, changed, removed, report)
        except BoardError as error:
            raise _full(link, error, size, found.free) from error
        if LAST not in changed:
            changed.append(LAST)
            size += len(files[LAST])
    return {
        "copied": changed, "removed": removed, "bytes": size, "unchanged": len(wanted) - len(changed),
        "seconds": round(time.monotonic() - began, 2),
    }  # fmt: skip


def halt(link: Link) -> None:
    """Restarts the board without main.py, so that nothing runs and no watchdog is armed while we copy."""
    link.run(f"_rm({LAST!r})")
    link.restart()
    end = time.monotonic() + _BACK_S
    link.open(_BACK_S)
    while link.run("print('_rm' in globals())").strip() == "True":
        link.close()  # it had not gone down yet
        if time.monotonic() >= end:
            raise FlashError(f"{link.port}: the board does not restart; press its RESET button and run the same again")
        time.sleep(0.2)
        link.open(_BACK_S)
    link.run(_HELPERS)


def _bring(
    link: Link, files: Tree, wanted: dict[str, str], known: dict[str, str], changed: list[str], removed: list[str],
    report: Report,
) -> None:  # fmt: skip
    # Until the end the manifest names all that was or will be ours: an interrupted deploy leaves nothing unowned.
    if not set(wanted) <= set(known):
        _write(link, {MANIFEST: tree.manifest(known | wanted)})
    copied = [name for name in changed if name != LAST]
    total = sum(len(files[name]) for name in copied)
    with report.bar("copying") as update:
        _write(link, {name: files[name] for name in copied}, lambda done: update(done, total))
    for name in removed:
        link.run(f"_rm({name!r})")
    link.run(f"_rm({_NEW!r})")
    _write(link, {MANIFEST: tree.manifest(wanted)})
    report.say("preparing the flash")
    link.run(_PREPARE, _PREPARE_S)
    _write(link, {LAST: files[LAST]})


def _digests(link: Link, names: list[str]) -> dict[str, str]:
    said = link.run(f"for _n in {names!r}:\n print(_h(_n))", 60)
    return dict(zip(names, said.split("\r\n"), strict=False))


def _write(link: Link, files: Tree, copied: Callable[[int], None] = lambda size: None) -> None:
    """Each file under another name, compared, renamed. `copied` is told how many bytes have arrived so far."""
    lines, ended, sent = [], [], 0

    def send() -> None:
        arrived = link.run("\n".join(lines)).splitlines()
        for name in ended:
            if name not in arrived:
                raise FlashError(f"{link.port}: {name} did not arrive as it was sent; run the same command again")
        copied(sent)
        lines.clear()
        ended.clear()

    for name, content in files.items():
        for line, size in _lines(name, content):
            if lines and sum(map(len, lines)) + len(line) > _COMMAND:
                send()
            lines.append(line)
            sent += size
        ended.append(name)
    if lines:
        send()


def _lines(name: str, content: bytes) -> Iterator[tuple[str, int]]:
    """The code that writes one file, with how many bytes of it each line brings. The last prints the file's name if it
    is whole.
    """
    yield f"_dirs({name!r})\nf = open({_NEW!r}, 'wb')\nw = f.write", 0
    for at in range(0, len(content), _CHUNK):
        chunk = content[at : at + _CHUNK]
        yield f"w(_b({base64.b64encode(chunk)!r}))", len(chunk)
    yield f"f.close()\n_put({name!r}, {hashlib.sha256(content).hexdigest()!r})", 0


def _full(link: Link, error: BoardError, size: int, free: int) -> FlashError:
    if error.last.startswith("OSError") and (f" {_ENOSPC}" in error.last or "ENOSPC" in error.last):
        return FlashError(
            f"{link.port}: the board's filesystem is full: {size} bytes to copy, {free} were free; remove files of "
            "your own from it, or `fieldnode erase`, and run the same command again"
        )
    return error


def as_text(result: dict[str, Any], port: str) -> str:
    """One line of what `deploy` did."""
    if not result["copied"] and not result["removed"]:
        return f"{port}: nothing changed, {result['unchanged']} files checked in {result['seconds']} s"
    gone = f", {len(result['removed'])} removed" if result["removed"] else ""
    return (
        f"{port}: {len(result['copied'])} files copied ({result['bytes']} bytes){gone}, "
        f"{result['unchanged']} unchanged, {result['seconds']} s"
    )


def dry_run(files: Tree) -> dict[str, Any]:
    """What a deploy would bring, without a board."""
    sizes = {name: len(content) for name, content in files.items()}
    return {"files": sizes, "bytes": sum(sizes.values())}


def dry_run_text(facts: dict[str, Any]) -> str:
    """The same, for people."""
    lines = [f"{size:8}  {name}" for name, size in sorted(facts["files"].items())]
    return "\n".join([*lines, f"{facts['bytes']:8}  in {len(lines)} files"])
