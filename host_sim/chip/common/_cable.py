"""A board at a cable, from _boot.py to the console: its own littlefs at `/`, boot.py and main.py from there, then the
REPL; Ctrl-D begins anew (shared/runtime/pyexec.c, ports/*/main.c).

The host's folders are gone once littlefs is mounted, so all that a chip has built in is imported before. Time is
paced by the supervisor (host_sim/bench) throughout.
"""

import sys

import _chip
import micropython
import uos
import vfs

_CTRL_C = 3
_NOTHING = 255
_BUILT_IN = ("machine", "_timer", "network", "ssl", "os", "time", "select", "socket", "asyncio", "random")


class _Micropython:
    """`micropython` whose `kbd_intr` tells the supervisor, for it is there that Ctrl-C is taken out of the stream."""


def begin(clock):
    """From here on the clock is the supervisor's, whatever the radio does."""
    _chip.pace(clock)
    _chip.free = _nothing


def _nothing():
    """A socket has gone; the clock goes on."""


def run(raw):
    """Never returns. `raw`: a soft reset out of the raw REPL, which leaves main.py out and is at the raw REPL again."""
    import _repl

    for name in _BUILT_IN:
        __import__(name)
    sys.modules["_timer"].kept = True
    if "rp2" in sys.path[1]:
        __import__("rp2")
        __import__("_radio_pins").kept = True
    else:
        __import__("esp32")
    _mount()
    for name in dir(micropython):
        if name[0] != "_":
            setattr(_Micropython, name, getattr(micropython, name))
    _Micropython.kbd_intr = staticmethod(interrupt_char)
    sys.modules["micropython"] = _Micropython
    micropython.kbd_intr(_CTRL_C)  # the last resort against code that never waits
    scope = {"__name__": "__main__"}
    interrupt_char(_CTRL_C)
    try:
        if _run("boot.py", scope) and not raw:
            _run("main.py", scope)
        interrupt_char(-1)
        _repl.run(scope, raw)
    except SystemExit:
        pass
    sys.stdout.write("MPY: soft reboot\n")
    _chip.leave(_chip.SOFT_RESET, 1 if _repl.raw else 0)


def interrupt_char(char):
    """The byte from the host that raises KeyboardInterrupt, -1 for none."""
    _chip.call(_chip.CONSOLE, _NOTHING if char < 0 else char)


def _mount():
    import _filesystem

    uos.chdir("/")
    vfs.umount("/")
    _filesystem.mount("/")
    sys.path[:] = ["", ".frozen", "/lib"]


def _run(name, scope):
    """Whether main.py may follow: a boot.py that is missing is as good as one that ended well."""
    try:
        uos.stat(name)
    except OSError:
        return True
    try:
        with open(name) as source:
            code = compile(source.read(), name, "exec")
        exec(code, scope)
        return True
    except SystemExit:
        raise
    except BaseException as error:
        sys.print_exception(error, sys.stdout)
        return False
