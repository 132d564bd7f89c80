"""Starts a VM as the ROM and `_boot.py` start a board: argv = node, line, clock file, flash image, folder of
boot.py and main.py.

main.py returning or raising leaves a real board at its REPL; here the supervisor is told, and ends the VM.
"""

import sys

import _chip
import ustruct

sys.path.remove("")  # the current directory: on a board that is littlefs, and code does not come from there here
node, line, clock, image, folder = sys.argv[1:6]
hello = _chip.connect(line, node, image)
_, ticks, rtc, boots, cause = ustruct.unpack_from("<QIqIB", hello, 0)


class _Boot:
    """What `machine` reports of this boot."""


_Boot.cause = cause
_Boot.unique_id = hello[25:31]
_Boot.rtc_memory = hello[31:]
sys.modules["_boot"] = _Boot

import _family  # noqa: E402

_family.begin(rtc)

import time  # noqa: E402

time._begin(ticks)

import _tasks  # noqa: E402

sys.modules["_asyncio"] = _tasks

import os  # noqa: E402
import socket  # noqa: E402

os._seed = b"%s %d %d " % (node.encode(), boots, ticks)
socket._CLOCK = clock
del hello

import _filesystem  # noqa: E402

_filesystem.mount()

try:
    for name in ("boot.py", "main.py"):
        with open(folder + "/" + name) as source:
            code = compile(source.read(), name, "exec")
        exec(code, {"__name__": "__main__"})
except BaseException as error:
    sys.print_exception(error)
_chip.leave(_chip.REPL, 0)
