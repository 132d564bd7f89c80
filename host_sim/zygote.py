"""Starts MicroPython VMs fast: a single-threaded process that has the VM loaded and forks one per request.

Run as a script with one end of a `SOCK_SEQPACKET` pair as its argument. A request is JSON `{"argv": [...], "path":
MICROPYPATH, "log": file that stdout and stderr are appended to}`; the answer is the child's pid as text. It imports
nothing but the VM and ends when its peer closes: forking a process with threads is an accident waiting to happen.
"""

import json
import os
import signal
import socket
import sys

from micropython_run import run_main


def child(request: dict) -> None:
    """Becomes the VM; never returns."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["MICROPYPATH"] = request["path"]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 1
    try:
        status = run_main(request["argv"])
    finally:
        os._exit(status or 0)


def serve(peer: socket.socket) -> None:
    """Forks until the peer closes, then ends whatever still runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    children: list[int] = []
    while True:
        data = peer.recv(65536)
        if not data:
            break
        pid = os.fork()
        if pid == 0:
            peer.close()
            child(json.loads(data))
        children.append(pid)
        del children[:-64]  # a handful runs at a time; the older ones are long gone
        peer.send(str(pid).encode())
    for pid in children:
        try:
            if os.readlink(f"/proc/{pid}/exe") == os.readlink("/proc/self/exe"):
                os.kill(pid, signal.SIGKILL)
        except OSError:
            pass


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
