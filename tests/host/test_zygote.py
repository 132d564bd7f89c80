"""Every boot is a VM of its own, in which nothing of the node is loaded yet, and none outlives the supervisor."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from simkit import Bench

from tools.build import ROOT

# What a chip has built in, and what this simulation of one adds to it.
_BUILT_IN = {
    "__main__", "_asyncio", "_boot", "_chip", "_family", "_filesystem", "_machine", "_model", "_tasks", "array",
    "asyncio", "asyncio.core", "asyncio.event", "asyncio.funcs", "asyncio.lock", "asyncio.stream", "binascii",
    "bootstrap", "errno", "esp32", "hashlib", "io", "json", "machine", "os", "random", "select", "socket", "struct",
    "time",
}  # fmt: skip


def test_a_boot_finds_only_what_the_chip_has_built_in(tmp_path):
    out = Bench(tmp_path).run("import sys\nprint(' '.join(sys.modules))")
    assert set(out.splitlines()[0].split()) - _BUILT_IN == set()
    assert "machine" in out


def test_a_boot_leaves_nothing_to_the_next(tmp_path):
    """Not even in the chip's own modules, which the VMs share until they part."""
    out = Bench(tmp_path).run("""
        import machine, random
        print("left", getattr(machine, "left", None), end=" ")
        machine.left = "something"
        machine.deepsleep(1000)
    """, seconds=5)  # fmt: skip
    assert out.split() == ["left", "None"] * (out.count("left")) and out.count("left") > 2


def test_a_killed_supervisor_leaves_no_process(tmp_path):
    """Neither a zygote nor a VM, here one that never ends."""
    script = f"""
from pathlib import Path
from simkit import Bench
Bench(Path({str(tmp_path)!r})).run("print('up')\\nwhile True: pass")
"""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "host")])
    supervisor = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"PYTHONPATH": path})
    try:
        _until(lambda: (tmp_path / "console.log").exists() and "up" in (tmp_path / "console.log").read_text())
        group = _zygotes(supervisor.pid)
        assert len(group) == 1
    finally:
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
    _until(lambda: not _alive(group[0]))


def _zygotes(parent: int) -> list[int]:
    """The children of a process; each leads a session of its own, to which its VMs belong."""
    words = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(word) for word in words]


def _alive(session: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-s", str(session)], capture_output=True, text=True)
    return any(not line.startswith("Z") for line in done.stdout.split())


def _until(holds) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
