"""The cloud end as a black box: its public command, in a process of its own."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from host_sim.node import SimulationError
from host_sim.plan import ROOT


class CloudEnd:
    """The cloud end as a black box: its public command, in a process of its own."""

    def __init__(self, folder: Path, clock: Path, root: Path = ROOT, workers: int = 1) -> None:
        """Keeps its data in `folder`, follows the clock file `clock`; `root` holds the package `cloud`.

        `workers` is how many ingest.
        """
        self._root = root
        self._workers = workers
        self.data = folder / "cloud"
        self._command = [sys.executable, "-m", "cloud"]
        self._clock = clock
        self._log = folder / "cloud.log"
        self._process: subprocess.Popen[str] | None = None
        self._starting = threading.Lock()
        self._stopped = False
        self.ready: dict[str, Any] = {}

    def start(self, names: list[str]) -> None:
        """Returns when it takes connections under `names`; SimulationError if it does not come up."""
        with self._log.open("w") as log, self._starting:
            if self._stopped:
                return
            self._process = subprocess.Popen(
                [*self._command, "serve", "--until-eof", "--data", str(self.data), "--listen", "127.0.0.1:0"]
                + [word for name in names for word in ("--name", name)] + ["--clock", f"file:{self._clock}"]
                + (["--workers", str(self._workers)] if self._workers > 1 else []),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=self._root,
                start_new_session=True,
            )  # fmt: skip
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise SimulationError(f"cloud end did not start: {self._log.read_text().strip() or 'no word from it'}")
        self.ready = json.loads(line)

    @property
    def mqtt(self) -> tuple[str, int]:
        """Where its broker listens."""
        host, _, port = self.ready["mqtt"].rpartition(":")
        return host, int(port)

    def pids(self) -> dict[str, int]:
        """The processes as they are now: {"broker_pid": .., "ingest_pid": .., "ingest2_pid": ..}."""
        return json.loads((self.data / "run.json").read_text())

    def kill(self, what: str) -> int:
        """kill -9 of `ingest`, `ingest2`, `broker` or `auth`; returns the pid it had. The cloud end itself starts it
        again.
        """
        pid = self.pids()[f"{what}_pid"]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid

    def refused(self) -> int:
        """How often its database has refused ingest a write so far."""
        logs = (self.data / "cloud.log.1", self.data / "cloud.log")
        return sum(log.read_text().count("ingest: database: ") for log in logs if log.exists())

    def add(self, name: str, tenant: str, key: bytes, channels: list[list[Any]], credentials: Path) -> None:
        """Registers a node; what it needs for TLS is written into the folder `credentials`."""
        self._call(
            "add", name, "--tenant", tenant, "--key", key.hex(), "--channels", json.dumps(channels),
            "--credentials", str(credentials),
        )  # fmt: skip

    def _call(self, *words: str) -> str:
        done = subprocess.run(
            [*self._command, *words, "--data", str(self.data)],
            capture_output=True, text=True, cwd=self._root, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise SimulationError(f"cloud {words[0]}: {done.stderr.strip()}")
        return done.stdout

    def stop(self) -> None:
        """Ends it and what it started, within seconds; a start under way in another thread, too."""
        with self._starting:
            self._stopped = True
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
