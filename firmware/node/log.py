"""The last lines the node said, kept in RAM for the console; each is printed as well, unless a console holds the port.

Imported when there is something to say, and small: that is often when memory is short.
"""

import sys
from time import ticks_ms

LEVELS = ("debug", "info", "warning", "error")
DEBUG, INFO, WARNING, ERROR = range(4)
_KEPT = 32
_LONGEST = 160  # characters of a line

lines = []  # (level, ticks, text) of each line that is kept, the oldest first
said = 0  # lines since the boot, those that are not kept any more included
printing = True  # False while a console holds the port: it shows lines where they do not tear others


def say(level, text):
    """Keeps one line of `level` (DEBUG..ERROR) and drops the oldest for it."""
    global said
    if len(lines) == _KEPT:
        lines.pop(0)
    lines.append((level, ticks_ms(), text if len(text) <= _LONGEST else text[:_LONGEST]))
    said += 1
    if printing:
        print(text)


def warning(text):
    """What went wrong and is provided for."""
    say(WARNING, text)


def traceback(error):
    """An exception that nothing expected, line by line."""
    import io

    out = io.StringIO()
    sys.print_exception(error, out)  # pyright: ignore[reportArgumentType] -- the stub knows no StringIO
    for text in out.getvalue().rstrip().split("\n"):  # pyright: ignore[reportAttributeAccessIssue]
        say(ERROR, text)
