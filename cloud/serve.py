"""The supervisor: nats-server and the workers as children, which end when it ends.

The workers are the callout service, ingest, control and, if asked for, the web page.
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import json
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cloud import broker, pki, refusal, store
from cloud.child import Child, stdin_closed
from cloud.clock import EPOCH_2020, open_clock
from cloud.errors import CloudError
from cloud.log import Log, complain

_READY_S = 10.0
_POLL_S = 0.05
"""How often the registry is looked at for what the broker does not know."""
_PAUSE_S = 1.0
_ENFORCED = "[INF] registry enforced: "
_BROKER_READY = "Server is ready"
_RELOADED = "Reloaded server configuration"
_NOT_RELOADED = "Failed to reload server configuration"


class ServeError(CloudError):
    """The cloud cannot be started; the text says why, in one line."""


def free_port(host: str, port: int) -> int:
    """Return `port` if `host` can listen on it, or a free one for 0. Raises ServeError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        return probe.getsockname()[1]


def own_address() -> str | None:
    """Return the address by which this machine reaches others, or None without a network. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return probe.getsockname()[0]


class Supervisor:
    """The cloud in one data folder. `run` starts it and returns after SIGINT or SIGTERM."""

    def __init__(
        self, data: Path, listen: tuple[str, int], names: Sequence[str], clock: str | None, *,
        web: tuple[str, int] | None = None, workers: int = 1, until_eof: bool = False,
        announce: Callable[[dict[str, Any]], None] = lambda state: print(json.dumps(state), flush=True),
    ) -> None:  # fmt: skip
        """Build only. `listen` is where the nodes come in, `web` where the page is served, or None for no page.

        `names` are those by which nodes call; those of the present certificate stay good beside them, and the host
        of `listen` is one unless it stands for all addresses. `workers` is how many ingest. `announce` is given the
        state when all is up. With `until_eof` the end of standard input ends it too. Raises ServeError if a port is
        taken.
        """
        self._until_eof = until_eof
        self._data = data
        self._host = listen[0]
        self._given = set(names)
        self._names: set[str] = set()
        self._mqtt_port = free_port(*listen)
        self._web = None if web is None else (web[0], free_port(*web))
        self._client_port = free_port("127.0.0.1", 0)
        self._clock = clock
        self._workers = workers
        self._announce = announce
        self._registry = 0
        """The version of the registry that the broker knows and the callout service enforces."""
        self._enforced = 0
        """The version that the callout service has said it enforces."""
        self._loaded = b""
        """The configuration that the broker has."""
        self._tally = refusal.Tally()
        self._unpublished = False
        """run.json could not be written as things are now."""

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM.

        Raises ServeError if the broker does not come up, the folder is in use or the clock stands before 2020, which
        the wire cannot say.
        """
        unix_s = open_clock(self._clock).now_ms() // 1000
        if unix_s < EPOCH_2020:
            shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_s))
            raise ServeError(f"the clock shows {shown}, which is before 2020: set it, and start again")
        self._names = self._all_names()
        self._data.mkdir(parents=True, exist_ok=True)
        with (self._data / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ServeError(f"{self._data} is served by another process") from None
            (self._data / "run.json").unlink(missing_ok=True)
            self._db = store.connect(self._data, create=True)
            try:
                await self._serve()
            finally:
                (self._data / "run.json").unlink(missing_ok=True)
                self._db.close()

    def _all_names(self) -> set[str]:
        names = self._given | pki.server_names(self._data)
        try:
            anywhere = ipaddress.ip_address(self._host).is_unspecified
        except ValueError:
            anywhere = False
        if not anywhere:
            return names | {self._host}
        if not names:
            own = own_address()
            hint = f"; this machine has {own}" if own else ""
            raise ServeError(f"by which host name or address will nodes call? Say so with --name (make: ADDR=){hint}")
        return names | {"127.0.0.1"}

    async def _serve(self) -> None:
        self._registry = store.registry_version(self._db)
        try:
            config = self._configure()
        except ValueError as error:
            raise ServeError(f"no server certificate for {', '.join(sorted(self._names))}: {error}") from None
        self._loaded = config.read_bytes()
        log = Log(self._data / "cloud.log")
        noted = refusal.BrokerLog(self._tally)
        self._broker = Child(
            "broker", [broker.program(), "-c", str(config)], _BROKER_READY, log,
            heard=lambda line: noted.line(line, broker.SERVICE_USERS),
        )  # fmt: skip
        url = f"nats://127.0.0.1:{self._client_port}"
        alone = ["--alone"] if self._workers == 1 else []
        names = ["ingest", *(f"ingest{number}" for number in range(2, self._workers + 1))]
        self._ingest = [Child(name, self._command("ingest", "--url", url, *alone), "ready", log) for name in names]
        self._auth = Child("auth", self._command("auth", "--url", url), "ready", log, heard=self._auth_said)
        control = Child("control", self._command("control", "--url", url), "ready", log)
        self._children = {each.name: each for each in (self._broker, self._auth, *self._ingest, control)}
        if self._web is not None:
            hosts = [word for name in sorted(self._names) for word in ("--host", name)]
            command = self._command("web", "--listen", "{}:{}".format(*self._web), *hosts)
            self._children["web"] = Child("web", command, "ready", log)
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # a terminal that closes ends nothing
        tasks = [asyncio.create_task(self._start())]
        if self._until_eof:
            tasks.append(asyncio.create_task(stdin_closed()))
            tasks[-1].add_done_callback(lambda _: stop.set())
        try:
            for child in self._children.values():
                tasks.append(asyncio.create_task(child.run(self._publish_state)))
            tasks.append(asyncio.create_task(self._follow()))
            counts = store.connect(self._data)
            tasks.append(asyncio.create_task(refusal.keep_writing(self._tally, counts, open_clock(self._clock))))
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
            await asyncio.gather(*(child.end() for child in self._children.values()))

    def _command(self, name: str, *options: str) -> list[str]:
        command = [sys.executable, "-m", "cloud", name, "--data", str(self._data), *options]
        return command + (["--clock", self._clock] if self._clock else [])

    async def _start(self) -> None:
        """Wait for the children, then announce the state."""
        for child in self._children.values():
            try:
                await asyncio.wait_for(child.ready.wait(), _READY_S)
            except asyncio.TimeoutError:
                raise ServeError(f"{child.name} does not come up: {child.last or 'it says nothing'}") from None
        self._announce(self._state())

    def _auth_said(self, line: str) -> bool:
        version = line.removeprefix(_ENFORCED)
        if version == line or not version.isdecimal():
            return False
        self._enforced = int(version)
        return True

    async def _follow(self) -> None:
        """Keep the broker at the registry as it is, by looking at it: nobody has to tell, and no word can be lost."""
        while True:
            try:
                if self._unpublished:
                    self._publish_state()
                version = store.registry_version(self._db)
                if version != self._registry and await self._load(version):
                    self._registry = version
                    self._publish_state()
            except (OSError, sqlite3.OperationalError) as problem:
                self._broker.note(f"the registry is not loaded: {type(problem).__name__}: {problem}")
                await asyncio.sleep(_PAUSE_S)
            await asyncio.sleep(_POLL_S)

    async def _load(self, version: int) -> bool:
        """Have the broker know the tenants of the registry up to `version`; tell whether it does."""
        # When the broker loads its configuration it asks about every connected node again, one after the other, and
        # refuses those for whom nobody answers: so never without need, and only when the service has just spoken.
        if self._enforced < version or not self._auth.ready.is_set() or not self._broker.ready.is_set():
            return False
        wanted = self._configure().read_bytes()
        if wanted != self._loaded:
            # A broker that dies over it reads the new configuration when it is started again.
            told = self._broker.expect(_RELOADED, _NOT_RELOADED, _BROKER_READY)
            self._broker.signal(signal.SIGHUP)
            line = await told
            if _NOT_RELOADED in line:
                raise OSError(line)
            self._loaded = wanted
        return True

    def _configure(self) -> Path:
        return broker.write_config(
            self._db, self._data, self._host, self._mqtt_port, self._client_port, self._names
        )

    def _state(self) -> dict[str, Any]:
        web = {} if self._web is None else {"web": "{}:{}".format(*self._web)}
        return {
            "mqtt": f"{self._host}:{self._mqtt_port}",
            **web,
            "names": sorted(self._names),
            "pid": os.getpid(),
            **{f"{name}_pid": child.pid for name, child in self._children.items()},
            "registry": self._registry,
            "clock": self._clock,
        }

    def _publish_state(self) -> None:
        if self._broker.ready.is_set() and any(worker.ready.is_set() for worker in self._ingest):
            partial = self._data / "run.json.new"
            try:
                partial.write_text(json.dumps(self._state()))
                partial.replace(self._data / "run.json")
            except OSError as problem:
                if not self._unpublished:
                    complain(f"{self._data / 'run.json'} is not up to date: {problem}")
                self._unpublished = True
            else:
                self._unpublished = False


def announce(data: Path, registry: int, timeout_s: float = 20.0) -> bool:
    """Wait until a running cloud's broker knows the registry up to version `registry`; False if it did not in time.

    True at once if nothing serves `data`: it will read the registry when it starts.
    """
    deadline = time.monotonic() + timeout_s
    while is_served(data):
        with suppress(FileNotFoundError):
            if json.loads((data / "run.json").read_text())["registry"] >= registry:
                return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def clock_of(data: Path) -> str | None:
    """Return the --clock of the running cloud in the folder `data`; None for the system's, or if none runs."""
    if not is_served(data):
        return None
    try:
        return json.loads((data / "run.json").read_text()).get("clock")
    except FileNotFoundError:
        return None


def is_served(data: Path) -> bool:
    """Tell whether a supervisor runs on the folder `data`."""
    try:
        with (data / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
