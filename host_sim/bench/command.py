"""`python -m host_sim board`: a board on the bench until Ctrl-C, and what a hand does to it, typed line by line."""

import asyncio
import io
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click

from host_sim.bench.board import BenchBoard
from host_sim.hardware.chip import HOST_SUPPLY
from host_sim.node import SimulationError

HELP = "press PIN, release PIN, host, alone, off, on, state, quit"


async def live(board: BenchBoard) -> None:
    """Lives until `quit`, the end of standard input, which is a terminal's Ctrl-D, or SIGTERM. Where there is no
    standard input but a device that nobody types at, such as /dev/null, only signals end it.
    """
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _cancel, asyncio.current_task())
    async with board:
        click.echo(f"ready: {board.board.name} at {board.port.link}; {HELP}")
        async for line in _typed():
            words = line.split()
            if words == ["quit"]:
                return
            if words and not await _do(board, words):
                click.echo(f"board: {line.strip()!r} is none of: {HELP}")


def _cancel(task: "asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()


async def _typed() -> AsyncIterator[str]:
    """The lines of standard input. epoll(7) takes terminals, pipes and sockets, and neither files nor /dev/null."""
    try:
        fd = sys.stdin.fileno()
        mode = os.fstat(fd).st_mode
    except (AttributeError, io.UnsupportedOperation, OSError):  # it was closed
        mode, fd = stat.S_IFCHR, -1
    if stat.S_ISREG(mode):
        for line in sys.stdin:
            yield line
    elif stat.S_ISCHR(mode) and (fd < 0 or not os.isatty(fd)):
        await asyncio.get_running_loop().create_future()
    else:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            yield line.decode(errors="replace")


async def _do(board: BenchBoard, words: list[str]) -> bool:
    """Does one thing to the board; False for an unknown one."""
    match words:
        case ["press", pin] if pin.isdigit():
            board.chip.levels[int(pin)] = 0
        case ["release", pin] if pin.isdigit():
            board.chip.levels.pop(int(pin), None)
        case ["host"]:
            board.chip.levels[HOST_SUPPLY] = 1
        case ["alone"]:
            board.chip.levels[HOST_SUPPLY] = 0
        case ["off"]:
            await board.power_off()
        case ["on"]:
            board.power_on()
        case ["state"]:
            port = board.port.link if board.port.there else "no port"
            click.echo(f"{board.state}; {board.boots} boots, {board.wakes} wakes, {board.bites} by watchdog; {port}")
        case _:
            return False
    return True


def run(board: BenchBoard) -> int:
    """-> exit status."""
    try:
        asyncio.run(live(board))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0
    except (SimulationError, OSError) as error:
        click.echo(f"board: {error}", err=True)
        return 1
    return 0


def default_link(folder: Path) -> Path:
    """Where the port is found if nobody says."""
    return folder / "port"
