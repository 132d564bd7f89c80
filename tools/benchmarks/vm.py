"""What starting the MicroPython VM costs, the floor under every simulated wake and device test file."""

import os
import subprocess
import sys

from micropython_run import run_main

from tools.benchmarks import Figure, timed

SECTION = "vm"


def _exec() -> None:
    subprocess.run([sys.executable, "-m", "micropython_unix", "-c", "pass"], check=True)


def _fork() -> None:
    child = os.fork()
    if child == 0:
        run_main(["micropython", "-c", "pass"])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(f"vm.fork: the VM ended with wait status {status}")


def run() -> dict[str, Figure]:
    """Start the VM by exec of a new CPython, and by fork of one that has it loaded."""
    return {"exec_ms": timed(_exec), "fork_ms": timed(_fork, runs=25)}
