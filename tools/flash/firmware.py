"""MicroPython onto a board: which image, by which way, and whether it is there already."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tools.boards import Board
from tools.flash import FirmwareError, FlashError, Refusal, deploy, espimage, images, ports, uf2
from tools.flash.link import Link, SilentError
from tools.flash.progress import Report

_VOLUME_S = 30
_BOOT_ROM = "import machine\nmachine.bootloader()"
_VERSION = "import os\nprint(os.uname().version)"


def image(board: Board, file: Path | None, sha256: str | None, report: Report) -> tuple[bytes, str]:
    """The image to write and how it is called, checked before any port is touched. Raises Refusal, FlashError."""
    if file is not None:
        try:
            content = file.read_bytes()
        except OSError as error:
            raise Refusal(f"{file}: {error.strerror or error}") from error
        name = str(file)
    else:
        pin = images.pin(board)
        name = pin.url.rpartition("/")[2]

        def confirm(found: str) -> bool:
            report.say(f"{pin.url}\n  SHA-256 {found}\n  comes for the first time; compare it with another source.")
            return found == sha256.lower() if sha256 else report.confirm("Accept it and record it?")

        content = images.fetch(pin, lambda: report.bar(f"downloading {name}"), confirm)
    if board.family == "esp32":
        return espimage.prepare(content, board, name), name
    uf2.check(content, board, name)
    return content, name


def esp32(
    board: Board, port: str, content: bytes, name: str, erase: bool, baud: int, report: Report
) -> dict[str, Any]:
    """By Espressif's loader."""
    from tools.flash import loader

    with loader.Loader(port, board, baud) as chip:
        question = f"{port}: holds something else than Fieldnode. Erase all of it?"
        with report.bar(name) as update:
            done = loader.flash(chip, content, lambda: erase or report.confirm(question), report.say, update)
    return {"board": board.name, "port": port, "image": name, **done}


def rp2(
    board: Board, port: str | None, content: bytes, name: str, volume: Path | None, report: Report, wait_s: float = 0
) -> dict[str, Any]:
    """By the volume of its boot ROM, into which a board that runs MicroPython is sent first.

    `wait_s`: how long the port of such a board may be missing.
    """
    began = time.monotonic()
    facts: dict[str, Any] = {"board": board.name, "port": port, "image": name}
    place = uf2.find(board, volume)
    if place is None:
        device = port or ports.find(board)
        with Link(device, wait_s) as link:
            found = deploy.probe(link)
            deploy.fits(found, board, device)
            version = link.run(_VERSION).strip()
            mine = images.built(content)
            if mine is not None and version.startswith(mine):
                link.restart()
                report.say(f"{device}: holds this image already ({mine})")
                return facts | {"written": False, "seconds": round(time.monotonic() - began, 2)}
            report.say(f"{device}: has {version or found.release}; into its boot ROM")
            link.restart(_BOOT_ROM)
        place = uf2.find(board, volume, _VOLUME_S)
    if place is None:
        raise FlashError(
            f"no volume of a {board.chip} appeared; hold BOOTSEL while you plug it in, or name it with --volume, and "
            "run the same command again"
        )
    with report.bar(name) as update:
        uf2.copy(content, place, update)
    return facts | {"volume": str(place), "written": True, "seconds": round(time.monotonic() - began, 2)}


def there(board: Board, port: str | None, volume: Path | None, wait_s: float) -> bool:
    """Whether a board with a fitting MicroPython answers; its node is left interrupted.

    Refuses another board. A port that cannot be used says nothing of what is on the board, and raises FlashError.
    """
    if board.family == "rp2" and uf2.find(board, volume) is not None:
        return False
    device = port or ports.find(board)
    try:
        with Link(device, wait_s, pulse=board.family == "esp32") as link:
            deploy.fits(deploy.probe(link), board, device)
    except (SilentError, FirmwareError):
        return False
    return True
