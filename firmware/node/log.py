"""The last lines the node said, kept in RAM for the console; each is printed as well, unless a console holds the port.

A line costs its own text and nothing more: the places are made once. Imported when there is something to say.
"""

import sys
from time import ticks_diff, ticks_ms

DEBUG, INFO, WARNING, ERROR = range(4)
LEVELS = ("debug", "info", "warning", "error")
_PLACES = 32
_LONGEST = 160  # characters of a line

_lines = [None] * _PLACES
_levels = bytearray(_PLACES)
_at = [ticks_ms()] * _PLACES
_said = 0  # lines since the boot
printing = True  # False while a console holds the port: it shows lines where they do not tear others


def say(level, text):
    """Keeps one line of `level` (DEBUG..ERROR) and drops the oldest for it."""
    global _said
    place = _said % _PLACES
    _lines[place] = text if len(text) <= _LONGEST else text[:_LONGEST]
    _levels[place] = level
    _at[place] = ticks_ms()
    _said += 1
    if printing:
        print(text)


def info(text):
    """What goes as it should, and is worth a line."""
    say(INFO, text)


def warning(text):
    """What went wrong and is provided for."""
    say(WARNING, text)


def traceback(error):
    """An exception that nothing expected, line by line."""
    for text in lines_of(error):
        say(ERROR, text)


def lines_of(error):
    """The traceback of an exception, a list of lines."""
    import io

    out = io.StringIO()
    sys.print_exception(error, out)  # pyright: ignore[reportArgumentType] -- the stub knows no StringIO
    return out.getvalue().rstrip().split("\n")  # pyright: ignore[reportAttributeAccessIssue]


def said():
    """How many lines there were since the boot: the number of the next one."""
    return _said


def oldest():
    """The number of the oldest line that is still kept."""
    return max(0, _said - _PLACES)


def line(number):
    """(level, seconds ago, text) of a line from oldest() up to said()."""
    place = number % _PLACES
    return _levels[place], max(0, ticks_diff(ticks_ms(), _at[place])) // 1000, _lines[place]
