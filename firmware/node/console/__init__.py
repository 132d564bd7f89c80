"""The serial console: a shell for a person with a cable, or a script, while the node runs on (README.md).

Imported with the first key. Ctrl-C twice, or one that comes with a
carriage return as mpremote sends it, raises KeyboardInterrupt through the node's loop: main.py ends, and MicroPython's
own REPL has the port.
"""

from .. import log


async def serve(node, stream):
    """Serves `stream` (see `shell.Console`) until it ends. Raises only KeyboardInterrupt."""
    from .shell import Console

    log.printing = False
    stream.interruptible(False)
    try:
        await Console(node, stream).run()
    finally:
        stream.interruptible(True)
        log.printing = True


async def attend(node):
    """Serves the port that MicroPython's REPL is on. Until that, at the first key, Ctrl-C is MicroPython's."""
    from .stdio import Stdio

    await serve(node, Stdio())
