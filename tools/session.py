"""The four commands from a bare board to its readings, run against a simulated one: `python -m tools.session`.

A person's are in README.md. Run here are the same, with their addresses, paths and ports exchanged for those of a
bench: a bare ESP32 first in its boot ROM, where real esptool writes a stand-in for MicroPython's image, and, as soon as
the same command says that it starts, with that flash at its prompt, where real mpremote's transport finds it: a
pseudo-terminal has no line by which to reset a chip. And the real cloud end. The node file differs by the cloud's
address, a contact each minute, and a service window of 2 s. docs/pictures/session.svg shows what they said, with the
names exchanged back.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from host_sim.bench import BenchBoard, standin
from host_sim.bench.romloader import NorFlash, RomLoader
from tools import boards, nodefile
from tools.catalogue import ROOT

ADDRESS, NODE, PORT = "192.168.1.10", "nodes/greenhouse.toml", "/dev/ttyUSB0"
PAGE = "127.0.0.1:8080"
CLOUD, PROVISION, FLASH, ASK = COMMANDS = (
    f"make cloud ADDR={ADDRESS}",
    f"make provision NODE={NODE}",
    f"make flash NODE={NODE} PORT={PORT}",
    f"curl 'http://{PAGE}/api/nodes/greenhouse/readings?format=csv'",
)
PICTURE = ROOT / "docs" / "pictures" / "session.svg"
STARTS = "has its firmware and starts"  # what flash says when the chip has left its boot ROM
TITLE = "from a bare board to its readings; the board is simulated"
_HERE = "127.0.0.1"
_COLUMNS = 110
_STEP_S = 90
_UP = re.compile(r"port (\d+)$.*http://(\S+?)/ ", re.MULTILINE | re.DOTALL)


class SessionError(Exception):
    """A command failed; the text is what it said."""


class Session:
    """Runs the commands in `folder`. `said`: each with what it printed, as a person would see it. `look` is given the
    page's address while it is served.
    """

    def __init__(self, folder: Path, look: Callable[[str], None]) -> None:
        self.folder = folder
        self._look = look
        self.said: list[tuple[str, str]] = []
        self._port = folder / "port"
        self._node = folder / "greenhouse.toml"
        self._data = folder / "cloud-data"
        self._image = folder / "ESP32_GENERIC.bin"
        self._page = self._mqtt = ""

    async def run(self) -> None:
        """All four, in order. Raises SessionError."""
        board = boards.load(nodefile.load(ROOT / NODE).board)
        with self._cloud():
            self._node.write_text(self._as_changed((ROOT / NODE).read_text()))
            await self._step(PROVISION, f"DATA={self._data}")
            self._image.write_bytes(standin.esp_image(board))
            (self.folder / "board").mkdir()
            with RomLoader(board.chip, NorFlash(board.flash_size)) as rom:
                self._port.symlink_to(rom.port)
                flashing = await self._start(FLASH, f"FW={self._image}")
                told = await self._told(flashing, STARTS)
                self._port.unlink()
            (self.folder / "board" / "flash.bin").write_bytes(rom.flash.cells)
            async with BenchBoard(nodefile.load(self._node), self.folder / "board", self._port) as bench:
                told += await self._told(flashing)
                self.said.append((FLASH, self._shown(told)))
                await self._until_delivered(bench)
                await self._step(ASK)
                await asyncio.to_thread(self._look, f"http://{self._page}/")

    @contextlib.contextmanager
    def _cloud(self) -> Iterator[None]:
        """The first command, which runs until Ctrl-C."""
        words = self._words(CLOUD) + [f"DATA={self._data}", "MQTT_PORT=0", f"LISTEN={_HERE}", f"WEB={_HERE}:0"]
        process = subprocess.Popen(
            words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        try:
            text = ""
            for line in process.stdout or ():
                text += line
                if "back up" in line:
                    break
            up = _UP.search(text)
            if up is None:
                raise SessionError(f"{CLOUD}: {text}")
            self._mqtt, self._page = up.groups()
            self.said.append((CLOUD, self._shown(text)))
            yield
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)  # make passes on no Ctrl-C that is not the terminal's
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()

    async def _until_delivered(self, bench: BenchBoard) -> None:
        """The node's first contact is over: with its console asked for its status, it is awake for a while yet."""
        for _ in range(_STEP_S):
            done = await asyncio.to_thread(subprocess.run, self._words(ASK), cwd=ROOT, capture_output=True, text=True)
            if done.stdout.count("\n") > 1:
                return
            await asyncio.sleep(1)
        raise SessionError(f"no reading in {_STEP_S} s; the board is {bench.state}")

    async def _start(self, command: str, *more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._words(command), *more, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=os.environ | {"PYTHONUNBUFFERED": "1"}, start_new_session=True,
        )  # fmt: skip

    async def _told(self, process: asyncio.subprocess.Process, until: str | None = None) -> str:
        """What a command says: up to a line that holds `until`, or to its end. Raises SessionError if it fails."""
        told = ""
        try:
            while process.stdout and (line := await asyncio.wait_for(process.stdout.readline(), _STEP_S)):
                told += line.decode()
                if until is not None and until in told:
                    return told
            if until is not None or await process.wait():
                raise SessionError(told)
            return told
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise

    async def _step(self, command: str, *more: str) -> None:
        words = [*self._words(command), *more]
        done = await asyncio.to_thread(
            subprocess.run, words, cwd=ROOT, capture_output=True, text=True, timeout=_STEP_S, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise SessionError(f"{shlex.join(words)}: {done.stderr or done.stdout}")
        self.said.append((command, self._shown(done.stdout)))

    def _words(self, command: str) -> list[str]:
        """The command as it is run here. What make would install anew is there: this program runs from it."""
        here = {ADDRESS: _HERE, NODE: str(self._node), PORT: str(self._port), PAGE: self._page}
        words = shlex.split(command)
        for name, instead in here.items():
            words = [word.replace(name, instead) for word in words]
        if words[0] == "make":
            words[1:1] = ["--silent", "--no-print-directory", "--old-file=.venv/stamp"]
        else:
            words[1:1] = ["--silent", "--show-error", "--fail"]
        return words

    def _shown(self, text: str) -> str:
        """What a person would see."""
        identity = (f"{self._node.resolve().parent}/.identity", "nodes/.identity")
        there = [identity, (str(self._node), NODE), (str(self._port), PORT), (str(self._data), "cloud-data"),
                 (str(self._image), "ESP32_GENERIC.bin"), (f"{_HERE}  port {self._mqtt}", f"{ADDRESS}  port 8883"),
                 (self._page, PAGE)]  # fmt: skip
        for name, instead in there:
            text = text.replace(name, instead)
        return text.rstrip("\n")

    def _as_changed(self, text: str) -> str:
        """The node file as a person changes it: where the cloud is; and what makes the session short."""
        text = text.replace(f'host = "{ADDRESS}"', f'host = "{_HERE}"\nport = {self._mqtt}')
        return text.replace("= 3600 ", "= 60 ") + "\n[service]\nwindow = 2\n"


def perform(folder: Path, look: Callable[[str], None] = lambda page: None) -> list[tuple[str, str]]:
    """Runs the session in `folder`, which is empty -> each command with what it said. Raises SessionError."""
    session = Session(folder.resolve(), look)
    asyncio.run(session.run())
    return session.said


def picture(said: list[tuple[str, str]]) -> str:
    """As SVG."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for number, (command, text) in enumerate(said):
        console.print(Text.assemble(("$ ", "green"), (command, "bold")))
        console.print(Text(text + ("\n" if number + 1 < len(said) else "")))
    return console.export_svg(title=TITLE, unique_id="session")


@click.command()
@click.option("--into", type=click.Path(path_type=Path), default=PICTURE, show_default="docs/pictures/session.svg")
def main(into: Path) -> None:
    """Run the session and make its picture. Exit status 2 where that fails."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            into.write_text(picture(perform(Path(folder))), encoding="utf-8")
    except (SessionError, OSError, TimeoutError, subprocess.TimeoutExpired) as error:
        click.echo(f"session: {error}", err=True)
        sys.exit(2)
    click.echo(f"{into} {into.stat().st_size} bytes")


if __name__ == "__main__":
    main()
