"""Starts a VM as the ROM and `_boot.py` start a board.

What a chip has built in is imported first, once, in the zygote; there `_host.wait()` waits, and returns in every VM
that is forked for a boot, whose `sys.argv` is: node, line, clock file, flash image, folder of boot.py and main.py. An
empty one stands for a board at a cable, which has them in its own flash (_cable.py).
The VM says hello and waits for its boot to begin, for which the supervisor keeps it ready. main.py returning or
raising leaves a real board at its REPL; here the supervisor is told, and ends the VM.
"""

import gc
import sys

import ustruct

sys.path.remove("")  # the current directory: on a board that is littlefs, and code does not come from there here


class _Boot:
    """What `machine` reports of this boot."""


sys.modules["_boot"] = _Boot

import _chip  # noqa: E402
import _family  # noqa: E402
import _host  # noqa: E402
import _tasks  # noqa: E402

sys.modules["_asyncio"] = _tasks

import asyncio  # noqa: E402, F401
import os  # noqa: E402
import socket  # noqa: E402
import time  # noqa: E402

import _filesystem  # noqa: E402
import machine  # noqa: E402, F401

# The VM looks through the whole path at every import of these, lest a file override them; a board's path is short.
for name in ("array", "binascii", "errno", "hashlib", "io", "json", "random", "struct"):
    sys.modules[name] = __import__(name)
# What is left to import is mostly the node's own, so its folders come first, the chip's after them.
sys.path.pop()
sys.path.reverse()
sys.path.append(".frozen")

gc.collect()  # what is built in leaves no garbage on a board
_host.wait(int(sys.argv[1]))
sys.argv[:] = _host.argv()
del sys.modules["_host"], _host

node, line, socket._CLOCK, image, folder = sys.argv[:5]
hello = _chip.connect(line, node, image)
if not folder:
    import _cable

    _cable.begin(socket._CLOCK)
_, ticks, rtc, boots, _Boot.cause = ustruct.unpack_from("<QIqIB", hello, 0)
_Boot.unique_id = hello[26 : 26 + hello[25]]
_Boot.kept = hello[26 + hello[25] :]  # memory that survives a reset
_family.begin(rtc)
time._begin(ticks)
os._seed = b"%s %d %d " % (node.encode(), boots, ticks)
del hello
if not folder:
    _cable.run(sys.argv[5] == "raw")
_filesystem.mount()

try:
    for name in ("boot.py", "main.py"):
        with open(folder + "/" + name) as source:
            code = compile(source.read(), name, "exec")
        exec(code, {"__name__": "__main__"})
except BaseException as error:
    sys.print_exception(error)
_chip.leave(_chip.REPL, 0)
