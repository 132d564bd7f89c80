"""Nodes in the unix VM: the firmware's own link, job by job (tools/benchmarks/vm_scripts/linknode.py)."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tools.catalogue import ROOT
from tools.load import frames

SCRIPT = ROOT / "tools" / "benchmarks" / "vm_scripts" / "linknode.py"
_HEAP = "512K"


def write_pool(path: Path, rows: int = frames.ROWS, count: int = frames.FRAMES) -> list[bytes]:
    """Write `count` frames of `rows` rows as the VM's nodes read them, and return them."""
    pool = [frames.frame(number, rows) for number in range(count)]
    path.write_bytes(b"".join(struct.pack("<H", len(each)) + each for each in pool))
    return pool


class Vm:
    """A node in a VM of its own, whose credentials lie in `folder`. Use as an asynchronous context manager."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self._folder = folder
        self._job = job
        self._rest: list[str] = []

    async def __aenter__(self) -> Vm:
        (self._folder / "job.json").write_text(json.dumps(self._job))  # an argument has room for 255 bytes
        path = ":".join(str(ROOT / each) for each in ("firmware", "lib"))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "micropython_unix", "-X", f"heapsize={_HEAP}", str(SCRIPT),
            cwd=self._folder, env=os.environ | {"MICROPYPATH": f"{path}:.frozen"},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def said(self) -> dict[str, Any] | None:
        """Return the next that it says, None when it has ended. RuntimeError if it ended badly."""
        while self._process.stdout is not None and (line := await self._process.stdout.readline()):
            try:
                said = json.loads(line)
            except ValueError:
                self._rest = [*self._rest[-20:], line.decode(errors="replace")]
                continue
            if said == {"ended": True}:
                return None
            return said
        # The VM's status is 0 even after a traceback.
        raise RuntimeError(f"a node ended with status {await self._process.wait()}: {''.join(self._rest)}")


async def run(folder: Path, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all that a node says whose credentials lie in `folder`."""
    found = []
    async with Vm(folder, job) as node:
        while (said := await node.said()) is not None:
            found.append(said)
    return found
