"""Nodes in the unix VM: the firmware's own link, job by job (tools/benchmarks/vm_scripts/linknode.py)."""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
from collections.abc import AsyncIterator
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


async def run(folder: Path, job: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Yield what a node says whose credentials lie in `folder`, until it ends. RuntimeError if it ends badly."""
    path = ":".join(str(ROOT / each) for each in ("firmware", "lib"))
    vm = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "micropython_unix", "-X", f"heapsize={_HEAP}", str(SCRIPT), json.dumps(job),
        cwd=folder, env=os.environ | {"MICROPYPATH": f"{path}:.frozen"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    if vm.stdout is None or vm.stderr is None:
        raise RuntimeError("link: a VM without a voice")
    complaints = asyncio.ensure_future(vm.stderr.read())
    rest: list[str] = []
    try:
        while line := await vm.stdout.readline():
            try:
                said = json.loads(line)
            except ValueError:
                rest.append(line.decode(errors="replace"))
                continue
            yield said
        if await vm.wait():
            raise RuntimeError(f"link: a node ended with {vm.returncode}: {''.join(rest)}{(await complaints).decode()}")
    finally:
        if vm.returncode is None:
            with suppress(ProcessLookupError):
                vm.kill()
            await vm.wait()
        complaints.cancel()
