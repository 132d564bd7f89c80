"""Starts MicroPython VMs fast: a single-threaded process whose own VM has loaded what a chip has built in, forked once
per boot.

Run as a script, with `-I -S`: one end of a `SOCK_SEQPACKET` pair, the folder of the VM's module, the heap in KiB,
MICROPYPATH. `bootstrap.py` runs in its VM and calls `wait` where the boots part; each request, the lines log, console,
argv.., makes a child that returns from there with stdout and stderr appended to `log` and its argv in the environment,
and is answered with the child's pid as text. Where `console` is not empty, stdin and stdout are connected to that Unix
socket. It ends when its peer closes.

Every page that parent or child writes after a fork is copied, so it imports next to nothing and lets the parent do
what can be done once.
"""

import ctypes
import os
import signal
import sys

ARGV = "FIELDNODE_ARGV"


class Zygote:
    """`peer`: descriptor of the socket that asks for VMs."""

    def __init__(self, peer: int) -> None:
        self._peer = peer
        self._logs: dict[str, int] = {}
        self._children: list[int] = []
        # A C function without arguments that returns an mp_obj_t; bootstrap.py calls it by its address.
        self._wait = ctypes.CFUNCTYPE(ctypes.c_size_t)(self.wait)
        self.address = ctypes.cast(self._wait, ctypes.c_void_p).value

    def wait(self) -> int:
        """Returns in a child, with an mp_obj_t of no meaning. In the zygote itself it forks until the peer closes."""
        try:
            self._fork()
            return 1
        except BaseException as error:  # nothing may pass through the VM's C code
            sys.excepthook(type(error), error, error.__traceback__)
            os._exit(1)

    def _fork(self) -> None:
        """Returns in a child, which is the VM of one boot then."""
        answer = b""
        while request := self._next(answer):
            log, console, argv = request.decode().split("\n", 2)
            if log not in self._logs:
                self._logs[log] = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            output = self._logs[log]
            pid = os.fork()
            if pid == 0:
                os.close(self._peer)
                os.dup2(output, 1)
                os.dup2(output, 2)
                if console:
                    _connect(console)
                os.putenv(ARGV, argv)
                return
            self._children.append(pid)
            del self._children[:-64]  # a handful runs at a time; the older ones are long gone
            answer = b"%d" % pid
        self._end()
        os._exit(0)

    def _next(self, answer: bytes) -> bytes:
        """Answers the last request, if there was one, and waits for the next; empty when the peer has gone."""
        try:
            if answer:
                os.write(self._peer, answer)
            return os.read(self._peer, 65536)
        except ConnectionError:
            return b""

    def _end(self) -> None:
        """Ends whatever still runs."""
        for pid in self._children:
            try:
                if os.readlink(f"/proc/{pid}/exe") == os.readlink("/proc/self/exe"):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                pass


def _connect(path: str) -> None:
    """Connects stdin and stdout to the Unix socket `path`."""
    import socket  # here, for few children need it

    with socket.socket(socket.AF_UNIX) as console:
        console.connect(path)
        os.dup2(console.fileno(), 0)
        os.dup2(console.fileno(), 1)


def main(peer: str, folder: str, heap_kb: str, path: str) -> None:
    """Never returns."""
    sys.path.append(folder)
    from micropython_run import run_main

    # A board without a cable: its serial port never has anything to read, where an ended file always has.
    silence, _ = os.pipe()
    os.dup2(silence, 0)
    os.putenv("MICROPYPATH", path)
    zygote = Zygote(int(peer))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 1
    try:
        status = run_main(["micropython", "-X", f"heapsize={heap_kb}K", "-m", "bootstrap", str(zygote.address)])
    finally:
        os._exit(status or 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
