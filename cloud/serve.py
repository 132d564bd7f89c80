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
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cloud import broker, pki, refusal, store
from cloud.child import Child, stdin_closed
from cloud.clock import open_clock
from cloud.errors import CloudError

_READY_S = 10.0
_REPEAT_S = 1.0


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
        web: tuple[str, int] | None = None, until_eof: bool = False,
        announce: Callable[[dict[str, Any]], None] = lambda state: print(json.dumps(state), flush=True),
    ) -> None:  # fmt: skip
        """Build only. `listen` is where the nodes come in, `web` where the page is served, or None for no page.

        `names` are those by which nodes call; those of the present certificate stay good beside them, and the host
        of `listen` is one unless it stands for all addresses. `announce` is given the state when all is up. With
        `until_eof` the end of standard input ends it too. Raises ServeError if a port is taken.
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
        self._announce = announce
        self._registry = 0
        self._loaded = b""
        """The configuration that the broker has."""
        self._tally = refusal.Tally()

    async def run(self) -> None:
        """Serve until SIGINT or SIGTERM. Raises ServeError if the broker does not come up or the folder is in use."""
        self._names = self._all_names()
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
        log = self._data / "cloud.log"
        noted = refusal.BrokerLog(self._tally)
        self._broker = Child(
            "broker", [broker.program(), "-c", str(config)], "Server is ready", log,
            heard=lambda line: noted.line(line, broker.SERVICE_USERS),
        )  # fmt: skip
        url = f"nats://127.0.0.1:{self._client_port}"
        self._ingest = Child("ingest", self._command("ingest", "--url", url), "ready", log)
        self._auth = Child("auth", self._command("auth", "--url", url), "ready", log)
        control = Child("control", self._command("control", "--url", url), "ready", log)
        self._children = {"broker": self._broker, "auth": self._auth, "ingest": self._ingest, "control": control}
        if self._web is not None:
            hosts = [word for name in sorted(self._names) for word in ("--host", name)]
            command = self._command("web", "--listen", "{}:{}".format(*self._web), *hosts)
            self._children["web"] = Child("web", command, "ready", log)
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        reload = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, reload.set)
        tasks = [asyncio.create_task(self._start())]
        if self._until_eof:
            tasks.append(asyncio.create_task(stdin_closed()))
            tasks[-1].add_done_callback(lambda _: stop.set())
        try:
            for child in self._children.values():
                tasks.append(asyncio.create_task(child.run(self._publish_state)))
            tasks.append(asyncio.create_task(self._reload(reload)))
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

    async def _reload(self, wanted: asyncio.Event) -> None:
        """Give the broker the nodes registered since, whenever wanted."""
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                await asyncio.wait_for(self._enforce(), _READY_S)
            except asyncio.TimeoutError:
                self._broker.note(f"the node list is not enforced: {self._broker.last}; {self._auth.last}")
                wanted.set()
            self._publish_state()

    async def _enforce(self) -> None:
        """Have the broker know the tenants and the callout service cut off who is revoked."""
        # The broker asks about every connected node again when it loads its configuration, one after the other, and
        # refuses those for whom nobody answers: so never without need, and never while the service is away.
        await self._until_enforced()
        wanted = self._configure().read_bytes()
        if wanted != self._loaded:
            reloaded = self._broker.expect("eloaded server configuration")
            reloaded.clear()
            self._broker.signal(signal.SIGHUP)
            await reloaded.wait()
            self._loaded = wanted
            await self._until_enforced()

    async def _until_enforced(self) -> None:
        """Return when the callout service has said, from now on, that it enforces the node list as it is."""
        while True:
            version = store.registry_version(self._db)
            enforced = self._auth.expect(f"registry {version} is enforced")
            enforced.clear()
            if self._auth.ready.is_set():
                self._auth.signal(signal.SIGHUP)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(enforced.wait(), _REPEAT_S)
                self._registry = version
                return

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
        if self._broker.ready.is_set() and self._ingest.ready.is_set():
            partial = self._data / "run.json.new"
            partial.write_text(json.dumps(self._state()))
            partial.replace(self._data / "run.json")


def announce(data: Path, registry: int, timeout_s: float = 5.0) -> bool:
    """Have the broker of a running cloud know the registry up to version `registry`; False if it did not in time.

    True at once if nothing serves `data`: it will read the registry when it starts.
    """
    deadline = time.monotonic() + timeout_s
    asked = False
    while is_served(data):
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
