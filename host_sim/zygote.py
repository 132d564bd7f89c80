"""Starts MicroPython VMs fast: a single-threaded process whose own VM has loaded what a chip has built in, forked once
per boot.

Run as a script: one end of a `SOCK_SEQPACKET` pair, the heap in KiB, MICROPYPATH. `bootstrap.py` runs in its VM and
calls `wait` where the boots part; each request, JSON `{"argv": [...], "log": file that stdout and stderr are appended
to}`, makes a child that returns from there, and is answered with the child's pid as text. It ends when its peer
closes. It imports next to nothing: forking a process with threads is an accident waiting to happen.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import traceback

from micropython_run import run_main

ARGV = "FIELDNODE_ARGV"  # a child's, for its VM: JSON


class Zygote:
    """`peer` asks for VMs."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._children: list[int] = []
        # A C function without arguments that returns an mp_obj_t; bootstrap.py calls it by its address.
        self._wait = ctypes.CFUNCTYPE(ctypes.c_size_t)(self.wait)
        self.address = ctypes.cast(self._wait, ctypes.c_void_p).value

    def wait(self) -> int:
        """Returns in a child, with an mp_obj_t of no meaning. In the zygote itself it forks until the peer closes."""
        try:
            _become(json.loads(self._fork()))
            return 1
        except BaseException:  # nothing may pass through the VM's C code
            traceback.print_exc()
            os._exit(1)

    def _fork(self) -> bytes:
        """Returns in a child, with its request."""
        with contextlib.suppress(ConnectionError):
            while request := self._peer.recv(65536):
                pid = os.fork()
                if pid == 0:
                    self._peer.close()
                    return request
                self._children.append(pid)
                del self._children[:-64]  # a handful runs at a time; the older ones are long gone
                self._peer.send(str(pid).encode())
        self._end()
        os._exit(0)

    def _end(self) -> None:
        """Ends whatever still runs."""
        for pid in self._children:
            try:
                if os.readlink(f"/proc/{pid}/exe") == os.readlink("/proc/self/exe"):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


def _become(request: dict) -> None:
    """This process is the VM of one boot now."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.environ[ARGV] = json.dumps(request["argv"])


def main(peer: str, heap_kb: str, path: str) -> None:
    """Never returns."""
    os.environ["MICROPYPATH"] = path
    zygote = Zygote(socket.socket(fileno=int(peer)))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = run_main(["micropython", "-X", f"heapsize={heap_kb}K", "-m", "bootstrap", str(zygote.address)])
    finally:
        os._exit(status or 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
