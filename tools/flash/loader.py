"""ESP32 boards in their ROM loader, through Espressif's esptool: one connection from chip check to reset."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import serial
from esptool import cmds
from esptool.logger import TemplateLogger, log
from esptool.util import FatalError

from tools.boards import Board
from tools.flash import FlashError, Refusal, WrongBoardError, espimage, ports
from tools.flash import partition_table as tables

_ATTEMPTS = 7

Progress = Callable[[int, int], None]


class _Quiet(TemplateLogger):
    """esptool's words go nowhere, its progress to `progress`; errors come as exceptions anyway."""

    def __init__(self) -> None:
        self.progress: Progress = lambda done, total: None

    def print(self, *args: Any, **kwargs: Any) -> None: ...
    def note(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...
    def stage(self, finish: bool = False) -> None: ...
    def set_verbosity(self, verbosity: str) -> None: ...

    def progress_bar(
        self, cur_iter: int, total_iters: int, prefix: str = "", suffix: str = "", bar_length: int = 30
    ) -> None:
        self.progress(cur_iter, total_iters)


# esptool has one logger for all, and takes another only once.
_QUIET = _Quiet()
log.set_logger(_QUIET)  # pyright: ignore[reportAttributeAccessIssue] -- a proxy for it


class Loader:
    """The chip on `port`, its stub running and its flash attached. A context manager: at its end the chip restarts."""

    def __init__(self, port: str, board: Board, baud: int = 460800) -> None:
        """Connects. Raises Refusal for another chip or too small a flash, FlashError if nobody answers."""
        self.port = port
        self.board = board
        ports.open_serial(port).close()  # says better than esptool why a port cannot be opened
        with self._words("no ESP32 answers; hold its BOOT button, press RESET, and run the same command again"):
            self._chip = cmds.detect_chip(port, connect_attempts=_ATTEMPTS)
        try:
            self._prepare(baud)
        except BaseException:
            self.close()
            raise

    def _prepare(self, baud: int) -> None:
        found = self._chip.CHIP_NAME
        if found != self.board.chip:
            said = f"is an {found}, but {self.board.name} has an {self.board.chip}"
            raise WrongBoardError(f"{self.port}: {said}; nothing was done")
        with self._words():
            self._chip = cmds.run_stub(self._chip)
            if baud > 115200:
                self._chip.change_baud(baud)
            cmds.attach_flash(self._chip)
            size = _bytes(cmds.detect_flash_size(self._chip))
        if size < self.board.flash_size:
            said = f"its flash has {size >> 10} KiB, {self.board.name} needs {self.board.flash_size >> 10} KiB"
            raise WrongBoardError(f"{self.port}: {said}; nothing was done")
        self.flash_size = size

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            with self._words():
                cmds.reset_chip(self._chip, "hard-reset")
        self.close()

    def close(self) -> None:
        """Gives the port back."""
        with contextlib.suppress(OSError):
            self._chip._port.close()

    def layout(self) -> bool | None:
        """Whether the chip's partition table is the board's; None for an erased one."""
        table = self.read(tables.ADDRESS, tables.SIZE)
        found = tables.decode(table)
        return None if found == () else found == self.board.partitions

    def read(self, at: int, length: int, progress: Progress | None = None) -> bytes:
        """`length` bytes of flash from `at` on; their MD5 is checked."""
        with self._words(), self._showing(progress):
            data = cmds.read_flash(self._chip, at, length, None, no_progress=progress is None)
        return data or b""

    def erase(self) -> None:
        """Erases the whole flash, which takes up to a minute."""
        with self._words():
            cmds.erase_flash(self._chip)

    def write(self, image: bytes, progress: Progress) -> bool:
        """Brings the flash to hold `image` from the board's offset on, verified by MD5 -> whether it was written."""
        at = espimage.offset(self.board)
        size = f"{self.board.flash_size >> 20}MB"
        wrote = []
        with self._words(), self._showing(lambda done, total: (wrote.append(done), progress(done, total))):
            cmds.write_flash(self._chip, [(at, image)], flash_size=size, skip_flashed=True)
        return bool(wrote)

    @contextlib.contextmanager
    def _showing(self, progress: Callable[[int, int], Any] | None) -> Iterator[None]:
        _QUIET.progress = progress or (lambda done, total: None)
        try:
            yield
        finally:
            _QUIET.progress = lambda done, total: None

    @contextlib.contextmanager
    def _words(self, silent: str = "") -> Iterator[None]:
        """What esptool raises, as one line. `silent`: what to say if the chip did not answer at all."""
        try:
            yield
        except FatalError as error:
            said = str(error).splitlines()[0].partition(". ")[0].rstrip(". ")
            if "No serial data received" in str(error) or "Failed to connect" in said:
                said = silent or "the chip stopped answering"
            raise FlashError(f"{self.port}: {said}" + ("" if silent else "; run the same command again")) from error
        except (serial.SerialException, OSError) as error:
            raise ports.lost(self.port, error) from error


def _bytes(size: str | None) -> int:
    """esptool's "4MB", "256KB", None -> bytes."""
    units = {"KB": 10, "MB": 20}
    return int(size[:-2]) << units[size[-2:]] if size else 0


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
