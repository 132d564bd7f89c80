"""Serial ports: which of them may be a board, and why one cannot be used."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import serial
from serial.tools import list_ports

from tools.boards import Board
from tools.flash import FlashError, Refusal

_RASPBERRY_PI, _ESPRESSIF = 0x2E8A, 0x303A
_BRIDGES = {0x10C4: "CP210x", 0x1A86: "CH34x", 0x0403: "FTDI"}
_FAMILIES = {_RASPBERRY_PI: ("rp2",), _ESPRESSIF: ("esp32",), **dict.fromkeys(_BRIDGES, ("esp32",))}


class Port(NamedTuple):
    """A serial port as the system names it, and what it says of itself."""

    device: str
    vid: int | None
    text: str


def attached() -> list[Port]:
    """The serial ports on USB."""
    return [
        Port(each.device, each.vid, each.description or "") for each in sorted(list_ports.comports()) if each.vid
    ]


def find(board: Board | None, ports: Callable[[], list[Port]] = attached) -> str:
    """The one port that may be `board` (any board, if None). Raises Refusal, which names what there is."""
    there = ports()
    likely = [port for port in there if board is None or board.family in _FAMILIES.get(port.vid or 0, ())]
    what = f"a board of the {board.family} family" if board else "a board"
    if not likely:
        found = ", ".join(f"{port.device} ({port.text})" for port in there) or "no serial port on USB"
        raise Refusal(f"{what} was not found; there is {found}: check the cable (some only charge), or give --port")
    if len(likely) > 1:
        found = ", ".join(f"{port.device} ({port.text})" for port in likely)
        raise Refusal(f"several ports may be {what}: {found}; name one with --port")
    return likely[0].device


def open_serial(port: str, wait_s: float = 0) -> serial.SerialBase:
    """Opens a port for us alone at 115,200 baud, after at most `wait_s` in which it may appear. Raises FlashError."""
    end = time.monotonic() + wait_s
    while True:
        try:
            return serial.serial_for_url(port, baudrate=115200, timeout=0, write_timeout=5, exclusive=True)
        except (OSError, ValueError) as error:
            if time.monotonic() >= end:
                raise why_not(port, error) from error
        time.sleep(0.05)


class NotSerialError(Refusal):
    """What was named is no serial port, and will not become one."""


def why_not(port: str, error: Exception, absent: str = "that of a sleeping node comes back: --wait 300") -> FlashError:
    """What opening `port` failed for, in words; `absent`: what to do about one that is not there."""
    number = getattr(error, "errno", None)
    said = str(error)
    if "Permission" in said or "Access is denied" in said or number == errno.EACCES:
        hint = "close the other program" if sys.platform == "win32" else "you may not open it: join the group dialout"
        return Refusal(f"{port}: {hint}, then run the same command again")
    if "exclusively lock" in said or number in (errno.EAGAIN, errno.EBUSY):
        return FlashError(f"{port}: another program has it open; close that one and run the same command again")
    if number in (errno.ENOTTY, errno.EISDIR, errno.ENODEV) or "Inappropriate ioctl" in said:
        return NotSerialError(f"{port} is not a serial port; ports found: {_found()}")
    if number == errno.ENOENT or sys.platform != "win32" and not os.path.exists(port):
        return Refusal(f"{port}: there is no such port; ports found: {_found()}; {absent}")
    return FlashError(f"{port}: {said}")


def _found() -> str:
    return ", ".join(each.device for each in attached()) or "none on USB"


def lost(port: str, error: Exception) -> FlashError:
    """A port that went away while it was in use."""
    return FlashError(
        f"{port}: the board is gone ({error}); put the cable back in and run the same command again"
    )
