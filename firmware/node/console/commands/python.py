"""Python beside the running node."""

import asyncio
import io
import sys
from collections import OrderedDict

from ..refused import Refused

_GLOBALS = {"asyncio": asyncio}  # given up with this module


async def python(console, words):
    """One expression, or a prompt until `exit`."""
    names = dict(_GLOBALS)
    names["node"] = console.node
    names["board"] = console.node.board
    if words:
        source = console.text.strip()[len("python") :].strip()  # quotes and all
        if source.endswith("--json"):
            source = source[: -len("--json")].rstrip()
        try:
            return OrderedDict(value=repr(await _run(console, source, names)))
        except (Exception, KeyboardInterrupt) as error:
            raise Refused("%s: %s" % (type(error).__name__, error))
    console.print("The node runs on; node, board and asyncio are there, await works, exit returns.")
    while True:
        source = await _source(console)
        if source in ("exit", "exit()", "quit"):
            return None
        if not source:
            continue
        console.remember(source)
        try:
            value = await _run(console, source, names)
        except (Exception, KeyboardInterrupt) as error:
            said = io.StringIO()
            sys.print_exception(error, said)  # pyright: ignore[reportArgumentType] -- the stub knows no StringIO
            for each in said.getvalue().rstrip().split("\n"):  # pyright: ignore[reportAttributeAccessIssue]
                console.print(each)
            continue
        if value is not None:
            names["_"] = value
            console.print(repr(value))


async def _source(console):
    """A line, or the lines of a block, which an empty one ends."""
    text = await console.read_line(">>> ")
    if not text or not text.rstrip().endswith(":"):
        return text
    lines = [text]
    while text:
        text = await console.read_line("... ")
        lines.append(text or "")
    return "\n".join(lines)


async def _run(console, source, names):
    """Its value, None for a statement. `await X` lets the loop run; anything else has the processor until it ends, or
    until Ctrl-C.
    """
    awaited = source.startswith("await ")
    console.stream.interruptible(True)
    try:
        try:
            code = compile(source[6:] if awaited else source, "<console>", "eval")
        except SyntaxError:
            if awaited:
                raise
            code = compile(source, "<console>", "exec")
        value = eval(code, names)
    finally:
        console.stream.interruptible(False)
    return await value if awaited else value
