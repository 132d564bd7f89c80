"""The four commands from a bare board to its readings, run against a simulated one: `python -m tools.session`.

A person's are in README.md. Run here are the same, in a copy of this checkout, with their addresses and ports exchanged
for those of a bench: a bare ESP32 first in its boot ROM, where real esptool writes the image, and, as soon as the same
command says that it starts, with that flash at its prompt, where real mpremote's transport finds it: a pseudo-terminal
has no line by which to reset a chip. And the real cloud end. The image is a stand-in for MicroPython's, downloaded from
this program by the copy's pin, and its hash confirmed at a terminal. The node file differs by the cloud's address, a
contact each minute, and a service window of 2 s. docs/pictures/session.svg shows what they said, with the names
exchanged back.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree

import click
from rich.console import Console
from rich.text import Text

from host_sim.bench import BenchBoard, standin
from host_sim.bench.romloader import NorFlash, RomLoader
from tools import boards, nodefile
from tools.catalogue import ROOT
from tools.flash import images

ADDRESS, NODE, PORT = "192.168.1.10", "nodes/greenhouse.toml", "/dev/ttyUSB0"
PAGE = "127.0.0.1:8080"
CLOUD, PROVISION, FLASH, ASK = COMMANDS = (
    f"make cloud ADDR={ADDRESS}",
    f"make provision NODE={NODE}",
    f"make flash NODE={NODE} PORT={PORT}",
    f"curl 'http://{PAGE}/api/nodes/greenhouse/readings?format=csv'",
)
SITE = "http://stand-in.example"  # shown in the place of the address whence the image comes
QUESTION = "[y/N]:"  # of the image's hash
PICTURE = ROOT / "docs" / "pictures" / "session.svg"
STARTS = "has its firmware and starts"  # what flash says when the chip has left its boot ROM
TITLE = "from a bare board to its readings; the board is simulated"
_HERE = "127.0.0.1"
_COLUMNS = 110
_STEP_S = 90
_UP = re.compile(r"port (\d+)$.*http://(\S+?)/ ", re.MULTILINE | re.DOTALL)


_LEFT_OUT = (".git", ".venv", ".*_cache", "__pycache__", ".identity", "build", "cloud-data", "docs", "tests")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


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
        self._checkout = folder / "fieldnode"
        self._node = self._checkout / NODE
        self._page = self._mqtt = self._site = ""

    async def run(self) -> None:
        """All four, in order. Raises SessionError."""
        board = boards.load(nodefile.load(ROOT / NODE).board)
        shutil.copytree(ROOT, self._checkout, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        with self._cloud(), self._pinned(board):
            self._node.write_text(self._as_changed((ROOT / NODE).read_text()))
            await self._step(PROVISION)
            (self.folder / "board").mkdir()
            with RomLoader(board.chip, NorFlash(board.flash_size)) as rom:
                self._port.symlink_to(rom.port)
                flashing, terminal = await self._start(FLASH)
                told = await self._told(flashing, QUESTION)
                os.write(terminal, b"y\n")
                told += "y\n" + await self._told(flashing, STARTS)
                os.close(terminal)
                self._port.unlink()
            (self.folder / "board" / "flash.bin").write_bytes(rom.flash.cells)
            async with BenchBoard(nodefile.load(self._node), self.folder / "board", self._port) as bench:
                told += await self._told(flashing)
                self.said.append((FLASH, self._shown(told)))
                await self._until_delivered(bench)
                await self._step(ASK)
                await asyncio.to_thread(self._look, f"http://{self._page}/")

    @contextlib.contextmanager
    def _pinned(self, board: boards.Board) -> Iterator[None]:
        """While the copy's pin is of a stand-in that is served here. It goes by a name of its own in any cache."""
        pin = images.pin(board)
        name = f"stand-in-for-{pin.url.rpartition('/')[2]}"
        folder = self.folder / "site"
        folder.mkdir()
        (folder / name).write_bytes(standin.esp_image(board))
        with ThreadingHTTPServer((_HERE, 0), functools.partial(_Quiet, directory=str(folder))) as server:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
            self._site = f"http://{_HERE}:{server.server_port}"
            path = self._checkout / "boards" / board.name / "image.toml"
            path.write_text(f'version = "{pin.version}"\nurl = "{self._site}/{name}"\noffset = {pin.offset}\n')
            try:
                yield
            finally:
                server.shutdown()

    @contextlib.contextmanager
    def _cloud(self) -> Iterator[None]:
        """The first command, which runs until Ctrl-C."""
        words = self._words(CLOUD) + ["MQTT_PORT=0", f"LISTEN={_HERE}", f"WEB={_HERE}:0"]
        process = subprocess.Popen(
            words, cwd=self._checkout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
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
            done = await asyncio.to_thread(subprocess.run, self._words(ASK), capture_output=True, text=True)
            if done.stdout.count("\n") > 1:
                return
            await asyncio.sleep(1)
        raise SessionError(f"no reading in {_STEP_S} s; the board is {bench.state}")

    async def _start(self, command: str) -> tuple[asyncio.subprocess.Process, int]:
        """The command, and the terminal at which it asks, the caller's to close."""
        terminal, there = os.openpty()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words(command), cwd=self._checkout, stdin=there, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1", "XDG_CACHE_HOME": str(self.folder / "cache")},
            )  # fmt: skip
        finally:
            os.close(there)
        return process, terminal

    async def _told(self, process: asyncio.subprocess.Process, until: str | None = None) -> str:
        """What a command says: until it holds `until`, or to its end. Raises SessionError if it fails."""
        told = ""
        try:
            while process.stdout and (said := await asyncio.wait_for(process.stdout.read(4096), _STEP_S)):
                told += said.decode()
                if until is not None and until in told:
                    return told
            if until is not None or await process.wait():
                raise SessionError(told)
            return told
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise

    async def _step(self, command: str) -> None:
        words = self._words(command)
        done = await asyncio.to_thread(
            subprocess.run, words, cwd=self._checkout, capture_output=True, text=True, timeout=_STEP_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise SessionError(f"{shlex.join(words)}: {done.stderr or done.stdout}")
        self.said.append((command, self._shown(done.stdout)))

    def _words(self, command: str) -> list[str]:
        """The command as it is run here. What make would install anew is there: this program runs from it."""
        here = {ADDRESS: _HERE, PORT: str(self._port), PAGE: self._page}
        words = shlex.split(command)
        for name, instead in here.items():
            words = [word.replace(name, instead) for word in words]
        if words[0] == "make":
            words[1:1] = ["--silent", "--no-print-directory", "--old-file=.venv/stamp", f"PY={sys.executable}"]
        else:
            words[1:1] = ["--silent", "--show-error", "--fail"]
        return words

    def _shown(self, text: str) -> str:
        """What a person would see."""
        there = [(f"{self._checkout}/", ""), (str(self._port), PORT), (self._site or SITE, SITE),
                 (f"{_HERE}  port {self._mqtt}", f"{ADDRESS}  port 8883"), (self._page, PAGE)]  # fmt: skip
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


def keys(text: str) -> list[str]:
    """The keys of the status at the end of what `make flash` says."""
    return re.findall(r"^  (\w+): ", text.partition(STARTS)[2], re.MULTILINE)


def drawn(svg: str) -> list[tuple[str, str]]:
    """What `picture` was made of: each command with what it said, as far as a line is wide."""
    rows: dict[float, str] = {}
    for place in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        if "session-title" not in place.get("class", ""):
            rows[float(place.get("y", 0))] = rows.get(float(place.get("y", 0)), "") + (place.text or "").rstrip("\n")
    lines = "\n".join(rows[y].replace("\xa0", " ").rstrip() for y in sorted(rows))
    parts = [part.partition("\n") for part in re.split(r"^\$ ", lines, flags=re.MULTILINE)[1:]]
    return [(command, text.rstrip("\n")) for command, _, text in parts]


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
