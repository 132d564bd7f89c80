"""What the cloud end commits, as it happens: its public command `cloud tail`, in a process of its own."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from host_sim.plan import ROOT

_END_S = 3.0


class Commits:
    """`committed(line)` is told every line of `cloud tail --json`, from the first commit on; `lost(why)` if the command
    ends before it is told to. What it has to complain of goes into the file `log`.
    """

    def __init__(
        self, data: Path, log: Path, committed: Callable[[dict[str, Any]], None], lost: Callable[[str], None]
    ) -> None:
        self._data = data
        self._log = log
        self._committed = committed
        self._lost = lost
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the command; 0 before and after."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Starts the command; the database must be there. It ends with whoever holds the other end of its output."""
        with self._log.open("w") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "cloud", "tail", "--data", str(self._data), "--from-start", "--json", cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._reading = asyncio.ensure_future(self._read(self._process))

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        while process.stdout is not None and (line := await process.stdout.readline()):
            self._committed(json.loads(line))
        status = await process.wait()
        if self._process is process:
            self._lost(f"cloud tail ended with status {status}; see {self._log}")

    async def stop(self) -> None:
        """Ends the command; returns when what was committed before has been told, or after seconds."""
        process, self._process = self._process, None
        if process is None or self._reading is None:
            return
        try:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
            await asyncio.wait_for(self._reading, _END_S)
        except asyncio.TimeoutError:
            pass
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        await process.wait()
