"""The supervisor: nats-server and one ingest worker as children, restarted when they die, ended when it ends.

Children end with the supervisor even if it is killed: on Linux by PR_SET_PDEATHSIG, set between fork and exec. The
worker also watches its standard input, on any system; elsewhere than on Linux nats-server outlives a supervisor that
was killed with SIGKILL, and keeps its port.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cloud import broker, store

_STEADY_S = 5.0
"""A child that lived this long is restarted at once; the pause doubles with each that did not."""
_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_READY_S = 10.0
_END_S = 1.0
_PR_SET_PDEATHSIG = 1


class ServeError(RuntimeError):
    """The cloud cannot be started; the text says why, in one line."""


def _die_with_parent() -> Callable[[], None] | None:
    """Return what a forked child calls before exec so that it dies with this process, or None if not on Linux."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def preexec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return preexec


class Child:
    """One supervised child process: started by `run`, started again whenever it dies."""

    def __init__(self, name: str, command: list[str], ready: str, log: Path) -> None:
        """`ready` is the text in a line of the child's output that says it is up."""
        self.name = name
        self.pid: int | None = None
        self.ready = asyncio.Event()
        self.lines = 0
        self.last = ""
        self._command = command
        self._ready_text = ready
        self._log = log
        self._process: Process | None = None
        self._preexec = _die_with_parent()
        self._watched: dict[str, asyncio.Event] = {}

    async def run(self, changed: Callable[[], None]) -> None:
        """Keep the child alive until cancelled; call `changed` whenever it has a new pid and is ready."""
        pause = _PAUSE_S
        while True:
            started = time.monotonic()
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=STDOUT,
                preexec_fn=self._preexec,
            )
            self.pid = self._process.pid
            await self._read(self._process, changed)
            code = await self._process.wait()
            self.ready.clear()
            self.note(f"{self.name} ended ({code}), starting it again")
            if time.monotonic() - started >= _STEADY_S:
                pause = _PAUSE_S
            else:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def expect(self, text: str) -> asyncio.Event:
        """Return an event that is set when a line of the child's output holds `text`."""
        return self._watched.setdefault(text, asyncio.Event())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child, if it lives."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def end(self) -> None:
        """End the child: SIGTERM, then after a second SIGKILL. `run` must have been cancelled."""
        if self._process is None or self._process.returncode is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), _END_S)
        except asyncio.TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()

    def note(self, line: str) -> None:
        """Append a line to the log."""
        with self._log.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {self.name}: {line}\n")

    async def _read(self, process: Process, changed: Callable[[], None]) -> None:
        if process.stdout is None:
            return
        while raw := await process.stdout.readline():
            self.last = raw.decode(errors="replace").rstrip()
            for text, event in self._watched.items():
                if text in self.last:
                    event.set()
            if self._ready_text in self.last:
                self.ready.set()
                changed()
            elif "[INF]" not in self.last:
                self.note(self.last)


def free_port(host: str, port: int) -> int:
    """Return `port` if `host` can listen on it, or a free one for 0. Raises ServeError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        return probe.getsockname()[1]


class Supervisor:
    """The cloud in one data folder. `run` starts it and returns after SIGINT or SIGTERM."""

    def __init__(
        self, data: Path, host: str, port: int, names: Sequence[str], clock: str | None, until_eof: bool = False
    ) -> None:
        """Build only. `names` are those by which nodes call, besides `host`. With `until_eof` the end of standard input
        ends it too. Raises ServeError if the port is taken.
        """
        self._until_eof = until_eof
        self._data = data
        self._host = host
        self._names = {host, *names}
        self._mqtt_port = free_port(host, port)
        self._client_port = free_port("127.0.0.1", 0)
        self._clock = clock
        self._registry = 0

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM. Raises ServeError if the broker does not come up or the folder is in use."""
        self._data.mkdir(parents=True, exist_ok=True)
        with (self._data / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServeError(f"{self._data} is served by another process") from None
            self._db = store.connect(self._data, create=True)
            try:
                await self._serve()
            finally:
                (self._data / "run.json").unlink(missing_ok=True)
                self._db.close()

    async def _serve(self) -> None:
        log = self._data / "cloud.log"
        try:
            config = self._configure()
        except ValueError as error:
            raise ServeError(f"no server certificate for {', '.join(sorted(self._names))}: {error}") from None
        self._broker = Child("broker", [broker.program(), "-c", str(config)], "Server is ready", log)
        url = f"nats://127.0.0.1:{self._client_port}"
        command = [sys.executable, "-m", "cloud", "ingest", "--data", str(self._data), "--url", url]
        command += ["--clock", self._clock] if self._clock else []
        self._ingest = Child("ingest", command, "ready", log)
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        reload = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        tasks = [asyncio.create_task(self._start())]
        if self._until_eof:
            tasks.append(asyncio.create_task(_stdin_closed()))
            tasks[-1].add_done_callback(lambda _: stop.set())
        try:
            tasks.append(asyncio.create_task(self._broker.run(self._publish_state)))
            tasks.append(asyncio.create_task(self._ingest.run(self._publish_state)))
            tasks.append(asyncio.create_task(self._reload(reload)))
            stopped = asyncio.create_task(stop.wait())
            pending = [stopped, *tasks]
            while not stopped.done():
                done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    pending.remove(task)
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(self._ingest.end(), self._broker.end())

    async def _start(self) -> None:
        """Wait for both children, then print the state as one line."""
        for child in (self._broker, self._ingest):
            try:
                await asyncio.wait_for(child.ready.wait(), _READY_S)
            except asyncio.TimeoutError:
                raise ServeError(f"{child.name} does not come up: {child.last or 'it says nothing'}") from None
        print(json.dumps(self._state()), flush=True)

    async def _reload(self, wanted: asyncio.Event) -> None:
        """Give the broker the nodes registered since, whenever wanted."""
        while True:
            await wanted.wait()
            wanted.clear()
            before = self._registry
            self._configure()
            reloaded = self._broker.expect("eloaded server configuration")
            reloaded.clear()
            self._broker.signal(signal.SIGHUP)
            try:
                await asyncio.wait_for(reloaded.wait(), _READY_S)
            except asyncio.TimeoutError:
                self._registry = before
                self._broker.note(f"configuration not reloaded: {self._broker.last}")
            self._publish_state()

    def _configure(self) -> Path:
        registry = store.registry_version(self._db)
        path = broker.write_config(
            self._db, self._data, self._host, self._mqtt_port, self._client_port, self._names
        )
        self._registry = registry
        return path

    def _state(self) -> dict[str, object]:
        return {
            "mqtt": f"{self._host}:{self._mqtt_port}",
            "pid": os.getpid(),
            "broker_pid": self._broker.pid,
            "ingest_pid": self._ingest.pid,
            "registry": self._registry,
        }

    def _publish_state(self) -> None:
        if self._broker.ready.is_set() and self._ingest.ready.is_set():
            partial = self._data / "run.json.new"
            partial.write_text(json.dumps(self._state()))
            partial.replace(self._data / "run.json")


async def _stdin_closed() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass


def announce(data: Path, registry: int, timeout_s: float = 5.0) -> bool:
    """Have the broker of a running cloud know the registry up to version `registry`; False if it did not in time.

    True at once if nothing serves `data`: it will read the registry when it starts.
    """
    deadline = time.monotonic() + timeout_s
    asked = False
    while _is_served(data):
        with suppress(FileNotFoundError):
            state = json.loads((data / "run.json").read_text())
            if state["registry"] >= registry:
                return True
            if not asked:
                os.kill(state["pid"], signal.SIGHUP)
                asked = True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _is_served(data: Path) -> bool:
    try:
        with (data / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
