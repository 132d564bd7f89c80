"""ESP32 boards in their ROM loader, through Espressif's esptool: from the check of the chip to its reset.

esptool is a program of its own, run as `python -m esptool` and never imported (it is under the GPL); what it says is
read line by line. Between its runs the chip stays in its loader.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.boards import Board
from tools.flash import FlashError, Refusal, WrongBoardError, ports
from tools.flash import partition_table as tables

_ATTEMPTS = 7
_STAY, _LEAVE = "no-reset", "hard-reset"
# A pipe is no terminal: without these, lines would come late, and fail where the system's code page lacks the bar.
_ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
_CHIP = re.compile(r"Connected to (\S+) on ")
_SIZE = re.compile(r"Detected flash size: (\d+)([KM])B")
_PERCENT = re.compile(r"(?:Writing|Reading) .* (\d+(?:\.\d+)?)% ")
_ERROR = re.compile(r"A (fatal|serial exception) error occurred: (.*)")
_BUSY = re.compile(r"Could not exclusively lock|Access is denied")  # of POSIX, of Windows
_MUTE = "no ESP32 answers; hold its BOOT button, press RESET, and run the same command again"

Progress = Callable[[int, int], None]


def _nobody(done: int, total: int) -> None: ...


class Loader:
    """The chip on `port`, checked when the context is entered; at its end the chip restarts."""

    def __init__(self, port: str, board: Board, baud: int = 460800) -> None:
        self.port = port
        self.board = board
        self.flash_size = 0  # bytes, as the chip has it
        self._baud = baud

    def __enter__(self) -> Loader:
        """Raises Refusal for another chip or too small a flash, FlashError if nobody answers."""
        ports.open_serial(self.port).close()  # says better than esptool why a port cannot be opened
        said = self._esptool("flash-id", silent=_MUTE)
        try:
            self._check(said)
        except Refusal:
            self._esptool("flash-id", after=_LEAVE)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Refusal):
            self._esptool("flash-id", after=_LEAVE)

    def _check(self, said: str) -> None:
        chip, size = _CHIP.search(said), _SIZE.search(said)
        found = chip[1] if chip else "unknown chip"
        if found != self.board.chip:
            what = f"is an {found}, but {self.board.name} has an {self.board.chip}"
            raise WrongBoardError(f"{self.port}: {what}; nothing was done")
        self.flash_size = int(size[1]) << {"K": 10, "M": 20}[size[2]] if size else 0
        if self.flash_size < self.board.flash_size:
            what = f"its flash has {self.flash_size >> 10} KiB"
            needs = f"{self.board.name} needs {self.board.flash_size >> 10} KiB"
            raise WrongBoardError(f"{self.port}: {what}, {needs}; nothing was done")

    def layout(self) -> bool | None:
        """Whether the chip's partition table is the board's; None for an erased one."""
        table = self.read(tables.ADDRESS, tables.SIZE)
        found = tables.decode(table)
        return None if found == () else found == self.board.partitions

    def read(self, at: int, length: int, progress: Progress = _nobody) -> bytes:
        """`length` bytes of flash from `at` on; their MD5 is checked."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "flash.bin"
            self._esptool("read-flash", hex(at), hex(length), str(file), progress=progress, total=length)
            return file.read_bytes()

    def erase(self) -> None:
        """Erases the whole flash, which takes up to a minute."""
        self._esptool("erase-flash")

    def write(self, image: bytes, progress: Progress) -> bool:
        """Brings the flash to hold `image` from the board's offset on, verified by MD5 -> whether it was written."""
        options = ("--flash-size", f"{self.board.flash_size >> 20}MB", "--skip-flashed")
        return "skipping write" not in self._write(self.board.rom.offset, image, progress, *options)

    def write_all(self, content: bytes, progress: Progress) -> None:
        """Brings the flash to hold `content`, as `read` gave it, from its first byte on."""
        self._write(0, content, progress, *("--flash-size", "keep", "--flash-mode", "keep", "--flash-freq", "keep"))

    def _write(self, at: int, content: bytes, progress: Progress, *options: str) -> str:
        # The node's secrets may be in it: the folder is its owner's only, and the file goes with it.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "flash.bin"
            file.write_bytes(content)
            words = ("write-flash", *options, hex(at), str(file))
            return self._esptool(*words, progress=progress, total=len(content))

    def _esptool(
        self, *words: str, after: str = _STAY, progress: Progress = _nobody, total: int = 0, silent: str = ""
    ) -> str:
        """Runs esptool -> what it said. `silent`: what to say if the chip did not answer at all. Raises FlashError."""
        command = [sys.executable, "-m", "esptool", "--port", self.port, "--baud", str(self._baud)]
        command += ["--connect-attempts", str(_ATTEMPTS), "--after", after, *words]
        said = ""
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding="utf-8", errors="replace", env=os.environ | _ENVIRONMENT,
        )  # fmt: skip
        with process:
            try:
                for line in process.stdout or ():
                    said += line
                    if percent := _PERCENT.match(line):
                        progress(round(total * float(percent[1]) / 100), total)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise self._failed(said, silent)
        return said

    def _failed(self, said: str, silent: str) -> FlashError:
        """What esptool gave up for, as one line."""
        found = _ERROR.search(said)
        if found is None:
            last = (said.strip().splitlines() or ["no word from it"])[-1]
            return FlashError(f"{self.port}: esptool failed: {last}; run the same command again")
        kind, what = found[1], found[2].partition(". ")[0].rstrip(". ")
        if _BUSY.search(said):
            return ports.why_not(self.port, OSError(said))
        if kind == "serial exception" or what.startswith("Could not open"):
            return ports.lost(self.port, OSError(what))
        if "No serial data received" in what or "Failed to connect" in what:
            return FlashError(f"{self.port}: " + (silent or "the chip stopped answering; run the same command again"))
        return FlashError(f"{self.port}: {what}; run the same command again")


def flash(
    loader: Loader, image: bytes, may_erase: Callable[[], bool], say: Callable[[str], None], progress: Progress
) -> dict[str, Any]:
    """A whole image onto a chip; readings and files that lie in our own layout stay.

    `may_erase()` is asked before another layout is erased. Returns {"erased": bool, "written": bool, "seconds": float}.
    """
    began = time.monotonic()
    layout = loader.layout()
    if layout is False and not may_erase():
        raise Refusal(f"{loader.port}: holds something else than Fieldnode; with --erase all of it is erased")
    if not layout:
        # MicroPython formats its filesystem only where the first block is blank, and loops forever otherwise.
        say("erasing the flash" if layout is None else "erasing the flash, which holds another layout")
        loader.erase()
    written = loader.write(image, progress)
    say("written and verified" if written else "the chip holds this image already")
    return {"erased": not layout, "written": written, "seconds": round(time.monotonic() - began, 2)}
