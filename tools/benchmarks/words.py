"""What a contact's code takes in a heap of 64-bit words, as the simulation has, and of 32-bit words, as a board has."""

import os
import subprocess
import sys

from tests.vmtest import VM31_MODULE, install_vm31
from tools import build
from tools.benchmarks import Figure
from tools.build import ROOT

SECTION = "words"
PLACES = ["build/mpy/firmware", "build/mpy/lib"]

# What a chip's ports import is not there in the VM of 32-bit words; the modules are loaded, not run.
_PRELUDE = """
import gc, sys
class Anything:
    def __init__(self, *_): pass
    def __getattr__(self, name): return self
    def __call__(self, *_): return self
for name in "socket machine network ssl esp32 rp2 select".split():
    sys.modules[name] = Anything()
"""
_MODULES = "node.app node.alarms node.log node.session node.tls node.uplink mqtt mqtt.client mqtt.aio"


def _words64() -> int:
    """Bytes of heap that the modules stay in, in the unix port."""
    code = f"{_PRELUDE}gc.collect()\nbefore = gc.mem_alloc()\n"
    code += "".join(f"import {name}\n" for name in _MODULES.split())
    code += "gc.collect()\nprint(gc.mem_alloc() - before)\n"
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", "-X", "heapsize=2M", "-c", code],
        cwd=ROOT, env=os.environ | {"MICROPYPATH": ":".join([*PLACES, ".frozen"])},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


def _words32() -> int:
    """The same in the WebAssembly port, which collects garbage only between runs."""
    if wrong := install_vm31():
        raise RuntimeError(wrong)
    script = ROOT / "tools" / "benchmarks" / "words.mjs"
    done = subprocess.run(
        ["node", str(script), str(VM31_MODULE), ",".join(PLACES), _PRELUDE, *_MODULES.split()],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


def run() -> dict[str, Figure]:
    """Load the modules of a contact in both VMs."""
    build.build()
    return {
        "code64_kb": Figure.exact(_words64() / 1024, "KiB"),
        "code32_kb": Figure.exact(_words32() / 1024, "KiB"),
    }
