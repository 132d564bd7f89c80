"""What tests of the console share: a person at a stream of bytes, and a node of fakes behind it."""

import asyncio
import json
import os

import nodekit
from node import app
from node import settings as stored
from node.console.shell import Console
from nodekit import Adc, Board, Radio, fresh_disk, without_network
from nodekit import settings as made_settings

# One flash and one disk for all boards of a file, erased for each: the console imports its modules again and again,
# from source here, and that leaves no 40 KB in one piece.
_flash = nodekit.CutFlash(10)
_disk = nodekit.RamDisk()


def _erased(sectors):
    for sector in range(sectors):
        _flash.erase(sector)
    return _flash


nodekit.CutFlash = _erased
nodekit.RamDisk = lambda: _disk


class Stream:
    """`typed` goes in, one byte a read; `said` is what came out. Ends when it is closed and all was read."""

    def __init__(self):
        self.typed = bytearray()
        self.said = bytearray()
        self.closed = False
        self.interrupts = []
        self._come = asyncio.Event()

    def type(self, data):
        """The person's keys."""
        self.typed += data
        self._come.set()

    def close(self):
        """The cable is pulled."""
        self.closed = True
        self._come.set()

    async def read(self, n):
        """As Console wants it."""
        while not self.typed:
            if self.closed:
                return b""
            self._come.clear()
            await self._come.wait()
        got = bytes(self.typed[:1])
        self.typed = self.typed[1:]
        return got

    def write(self, data):
        """As Console wants it."""
        self.said += data

    async def drain(self):
        """As Console wants it."""
        await asyncio.sleep_ms(0)

    def interruptible(self, on):
        """As Console wants it."""
        self.interrupts.append(on)


class Service:
    """As node.service: somebody is there as long as there is a session, or a cable."""

    def __init__(self):
        self.session = False
        self.cable = True

    @property
    def active(self):
        """Whether the node must stay awake."""
        return self.session or self.cable

    async def window(self, attend):
        """None."""

    def knocked(self):
        """The console is there already."""
        return False

    def look(self):
        """The cable is where it was."""


class I2c:
    """Nobody answers but `addresses`."""

    def __init__(self, addresses):
        self._addresses = addresses

    def scan(self):
        """As machine.I2C."""
        return self._addresses


class ConsoleRadio(Radio):
    """Two networks are in reach, one of them `known`."""

    def scan(self):
        """As the port."""
        return [("far", -88, 6, True), ("x", -47, 1, False)]

    def signal(self):
        """As the port."""
        return -47


class Light:
    """Counts its flashes."""

    def __init__(self):
        self.flashes = 0

    def on(self):
        """Light."""
        self.flashes += 1

    def off(self):
        """Dark."""


class ConsoleBoard(Board):
    """Adds what only the console asks a board for."""

    name = "fake"

    def __init__(self, adcs):
        super().__init__(adcs)
        self.light = None
        self.the_radio = ConsoleRadio()

    def i2c(self, bus):
        """One bus."""
        if bus != "i2c0":
            raise ValueError("board: no bus %s; there are i2c0" % bus)
        return I2c([0x42])


class Desk:
    """A node that has begun, as it was deployed, and a console at it. `ask` is for programs, `say` for people."""

    def __init__(self, sensors=((34, 60), (35, 300)), limits=(), more=None):
        fresh_disk()
        self.adcs = {pin: Adc(1000 + pin) for pin, _ in sensors}
        self.board = ConsoleBoard(self.adcs)
        deployed = made_settings(sensors, limits)
        deployed.update(more or {})
        with open(stored.PATH, "w") as file:
            json.dump(deployed, file)
        self.deployed = self.file()
        without_network(lambda node: node.set_clock(200000000, 0) or True)
        self.boot()

    def boot(self):
        """A boot of the same board."""
        asyncio.new_event_loop()
        self.node = app.Node(self.board)
        self.node.begin()
        self.node.service = Service()
        self.stream = Stream()
        self.console = Console(self.node, self.stream)

    def during(self, talk, *beside):
        """Runs `talk`, a coroutine, with the console and the coroutines `beside` running."""

        async def main():
            tasks = [asyncio.create_task(each) for each in beside]
            tasks.append(asyncio.create_task(self.console.run()))
            await self.prompted(0)
            try:
                return await asyncio.wait_for(talk, 10)
            finally:
                for task in tasks:
                    task.cancel()

        return asyncio.run(main())

    async def prompted(self, start):
        """Waits for a prompt in what was said after `start`."""
        prompt = self.console.prompt().encode()
        while not bytes(self.stream.said[start:]).endswith(prompt):
            await asyncio.sleep_ms(1)
            prompt = self.console.prompt().encode()

    async def typing(self, data):
        """Types and waits for the next prompt; -> what was said meanwhile, text."""
        start = len(self.stream.said)
        self.stream.type(data)
        await asyncio.sleep_ms(0)
        await self.prompted(start)
        return bytes(self.stream.said[start:]).decode()

    def say(self, text):
        """What a person sees after typing `text` and return, echo and prompt taken off."""
        seen = self.during(self.typing(text.encode() + b"\r"))
        return seen.replace("\r\n", "\n").split("\n", 1)[1].rpartition("\n")[0]

    def ask(self, text):
        """The last answer to `text --json`, a dict."""
        return self.answers(text)[-1]

    def answers(self, text):
        """All of them; the last one, and no other, has "ok"."""
        lines = self.say(text + " --json").split("\n")
        answers = [json.loads(line) for line in lines]
        assert "ok" in answers[-1] and not [each for each in answers[:-1] if "ok" in each]
        return answers

    def refused(self, text):
        """Why; the same for a person and for a program."""
        answer = self.ask(text)
        assert answer["ok"] is False and len(answer) == 2, answer
        assert self.say(text) == "error: " + answer["error"]
        return answer["error"]

    def file(self):
        """settings.json as it stands."""
        with open(stored.PATH) as file:
            return json.load(file)

    def files(self):
        """What is in the filesystem."""
        return sorted(os.listdir(""))
