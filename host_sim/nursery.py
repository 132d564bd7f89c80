"""Where VMs come from: the supervisor's side of the zygote."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


class Nursery:
    """Starts the zygote (`zygote.py`) and has it fork VMs; ends it with everything it forked."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._zygote = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("zygote.py")), str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        self._peer = ours

    async def fork(self, argv: list[str], path: str, log: Path) -> int:
        """A new VM with the module path `path`; stdout and stderr are appended to `log`. Returns its pid."""
        request = {"argv": argv, "path": path, "log": str(log)}
        loop = asyncio.get_running_loop()
        async with self._one_at_a_time:
            await loop.sock_sendall(self._peer, json.dumps(request).encode())
            pid = await loop.sock_recv(self._peer, 64)
        if not pid:
            raise OSError(f"the process that forks VMs has died; {log} may say why")
        return int(pid)

    def close(self) -> None:
        """The zygote ends when its peer is gone."""
        self._peer.close()
        try:
            self._zygote.wait(2)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()


def kill(pid: int) -> None:
    """kill -9; one that is gone already is well."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
