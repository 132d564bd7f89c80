"""The shell: prompts, reads lines, runs their commands and prints the answers, as one task beside the node's others."""

import asyncio
import json
from collections import OrderedDict
from time import ticks_diff, ticks_ms

from .. import log
from ..modules import forget
from . import line
from .refused import Refused

_AT_ONCE_MS = 500  # a Ctrl-C that came with a carriage return before it is a program's, not a person's
_STALE_MS = 60000  # after so long a half line is nobody's any more
SESSION_MS = 600000  # the node stays awake so long for a line that may follow the last
_LOOK_MS = 5000
_CHUNK = 1  # bytes a read may take: what follows a Ctrl-C is for the REPL

# What only a command needs.
_PARSING = ("node.console.parse", "node.console.table", "node.console.complete")
_PRINTING = ("node.console.show", "node.console.decimal")
_SETTINGS = ("node.console.candidate", "node.console.keep", "node.schema")


class Leave(Exception):
    """The stream has ended."""


class Console:
    """`node`: the waking node (`node.app`). `stream` is where its person is:

    `await read(n)` -> 1..n bytes, b"" at its end; `write(bytes)`; `await drain()` lets them out; `interruptible(on)`:
    whether a Ctrl-C raises KeyboardInterrupt instead of being read.
    """

    def __init__(self, node, stream):
        self.node = node
        self.stream = stream
        self.locked = "pin" in node.settings
        self.tries = 0  # of the PIN, wrong ones in a row
        self.candidate = None  # settings that were changed and not saved (`candidate`), None while there are none
        self.text = ""  # the line whose command runs, as it was typed
        self._editor = line.Editor(stream.write)
        self._json = False
        self._noisy = 0  # lines in a row that were no text
        self._heard = ticks_ms()
        self._before = self._last = 0  # the last two bytes
        self._used = self._heard  # when a line was taken, or its command ended
        self._busy = False  # a command runs
        self._session = False  # a line was taken, and not long ago

    async def run(self):
        """Serves until the stream ends. A Ctrl-C that is meant for MicroPython leaves as KeyboardInterrupt."""
        self.print("")
        self.print("Console of %s; help lists the commands." % self.node.settings["node"])
        watch = asyncio.create_task(self._watch_session())
        try:
            while True:
                text = await self.read_line(self.prompt())
                if text is None:
                    continue
                self._busy = True
                await self.execute(text)
                self._busy = False
                self._used = ticks_ms()
        except Leave:
            pass
        finally:
            watch.cancel()
            self._end_session()

    async def _watch_session(self):
        """Lets the node sleep, and locks, when no line came for long: no port tells when its cable is pulled."""
        while True:
            await asyncio.sleep_ms(_LOOK_MS)
            if not self._busy and ticks_diff(ticks_ms(), self._used) > SESSION_MS:
                self._end_session()
                self.locked = "pin" in self.node.settings

    def _end_session(self):
        if self._session:
            self._session = False
            self.node.service.session = False

    def prompt(self):
        """What stands in front of a line."""
        return "%s%s> " % (self.node.settings["node"], " (locked)" if self.locked else "")

    # What commands use

    def print(self, text):
        """One line for people."""
        self.stream.write(text.encode())
        self.stream.write(b"\r\n")

    def emit(self, answer, text=None):
        """One of several answers of a command; the last one it returns. `text`: how people see it."""
        if self._json:
            self.print(json.dumps(answer))
        elif text is not None:
            self.print(text)
        else:
            from . import show

            for each in show.lines(answer):
                self.print(each)

    def answer(self, answer):
        """The last answer of a command: for programs it says that all went well."""
        if self._json:
            whole = OrderedDict(ok=True)
            whole.update(answer)
            answer = whole
        self.emit(answer)

    def remember(self, text):
        """Keeps a line for the up key."""
        self._editor.remember(text)

    async def pause(self, ms):
        """Waits at most `ms`; -> True if a key came, which is then gone."""
        try:
            await self._byte(ms)
        except asyncio.TimeoutError:
            return False
        return True

    async def secret(self, prompt):
        """A line that is not shown. Refused without one."""
        text = await self.read_line(prompt, hidden=True)
        if not text:
            raise Refused("nothing was given")
        return text

    async def read_line(self, prompt, hidden=False):
        """The next line. None for one that is not to be taken, which was then said."""
        editor = self._editor
        editor.begin(hidden)
        self._write_prompt(prompt)
        prompted = ticks_ms()
        armed = False
        while True:
            byte = (await self._byte())[0]
            if self._stale():
                self.print("")
                self.print("half a line was given up")
                editor.begin(hidden)
                self._write_prompt(prompt)
            got = editor.feed(byte)
            if got == line.MORE:
                await self.stream.drain()
            elif got == line.DONE:
                return self._taken()
            elif got == line.TAB:
                self._complete(prompt)
            elif got == line.END:
                return "exit"
            elif self._noisy:
                editor.begin(hidden)  # within noise a Ctrl-C is noise
                continue
            else:
                empty = editor.empty() and not self.locked
                with_return = self._before == 13 and ticks_diff(ticks_ms(), prompted) < _AT_ONCE_MS
                if empty and (armed or with_return):
                    self.print("")
                    raise KeyboardInterrupt
                self.print("^C" + ("  Ctrl-C again stops the node and leads to MicroPython." if empty else ""))
                editor.begin(hidden)
                self._write_prompt(prompt)
            armed = got == line.INTERRUPT

    # Reading

    async def _byte(self, ms=None):
        read = self.stream.read(_CHUNK)
        got = await (read if ms is None else asyncio.wait_for_ms(read, ms))
        if not got:
            raise Leave
        self._before, self._last = self._last, got[0]
        return got

    def _stale(self):
        """Whether what stands in the line is too old to belong to the byte that came now."""
        now = ticks_ms()
        stale = ticks_diff(now, self._heard) > _STALE_MS and not self._editor.empty()
        self._heard = now
        return stale

    def _taken(self):
        """The line's text; noise is said once, however many lines of it come."""
        try:
            text = self._editor.text()
        except ValueError as error:
            self._noisy += 1
            if self._noisy == 1:
                self.print("")
                self.print("error: %s" % error)
            return None
        self._noisy = 0
        self._used = ticks_ms()
        self._session = True
        self.node.serve()  # its window may have gone by meanwhile
        self.node.service.session = True
        self.print("")
        return text

    def _write_prompt(self, prompt):
        if self._noisy <= 1:
            self.stream.write(prompt.encode())

    def _complete(self, prompt):
        from .complete import complete

        more, candidates = complete(self, self._editor.before())
        self._tidy()
        self._editor.insert(more)
        if len(candidates) > 1 and not more:
            self.print("")
            self.print("  ".join(candidates))
            self._write_prompt(prompt)
            self._editor.show()

    # Running

    async def execute(self, text):
        """Runs one line and prints its answer. Whatever a command raises ends that command and no more."""
        self._json = "--json" in text.split()
        self.text = text
        try:
            handler, words = self._find(text)
            answer = await self._run(handler, words) if handler else None
        except (Refused, OSError, ValueError) as error:
            self._refuse(str(error) if isinstance(error, Refused) else "%s: %s" % (type(error).__name__, error))
        except Leave:
            raise
        except Exception as error:
            log.traceback(error)
            self._refuse("%s: %s; the log has it all" % (type(error).__name__, error))
        else:
            if handler:
                self.answer(answer or {})
        finally:
            self._tidy()
        await self.stream.drain()

    def _find(self, text):
        """(handler, words) of a line; handler None for an empty one."""
        from . import parse, table

        words = [word for word in parse.split(text) if word != "--json"]
        if not words:
            return None, words
        command, words = parse.find(words)
        if command.name not in table.SECRET:
            self.remember(text)
        if self.locked and command.name not in table.OPEN:
            raise Refused("the console is locked; unlock PIN")
        return command.handler, words

    async def _run(self, handler, words):
        module, _, function = handler.partition(".")
        for name in _PARSING:
            forget(name)
        name = "node.console.commands." + module
        try:
            __import__(name)
            return await getattr(getattr(self._commands(), module), function)(self, words)
        finally:
            forget(name)

    def _tidy(self):
        """Between two lines the console takes no more memory than it must: a contact needs it."""
        for name in _PARSING + _PRINTING:
            forget(name)
        if self.candidate is None:
            for name in _SETTINGS:
                forget(name)

    def _commands(self):
        from . import commands

        return commands

    def _refuse(self, why):
        if self._json:
            self.print(json.dumps(OrderedDict(ok=False, error=why)))
        else:
            self.print("error: " + why)
