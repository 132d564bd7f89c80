"""A bench with one simulated board on it: run a script as its main.py and read what it printed."""

import asyncio
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from host_sim import plan
from host_sim.clock import SimClock
from host_sim.fleet import Fleet
from host_sim.hardware import image
from host_sim.hardware.chip import CHIPS
from host_sim.node import Node, SimulationError
from host_sim.proxy import Proxy
from tools import boards, build

START_US = plan.START_MS * 1000


@dataclass
class Bench:
    """`devices`, `analog` and `levels` as `Chip` takes them; `networks` maps ssid to password; `upstream` is what
    `cloud.test` resolves to.
    """

    folder: Path
    devices: dict = field(default_factory=dict)
    analog: dict = field(default_factory=dict)
    networks: dict = field(default_factory=lambda: {"net": "password"})
    upstream: tuple[str, int] = ("127.0.0.1", 9)
    seed: int = 1
    board: str = "esp32"
    levels: dict = field(default_factory=dict)
    node: Node | None = None

    def run(self, script: str, seconds: float = 60.0, firmware: Path | None = None) -> str:
        """Powers the chip for `seconds` of simulated time with `script` as main.py; returns its console.

        A script that ends or raises stops at the REPL, which ends the run.
        """
        build.build()
        code = firmware or self.folder / "code"
        if firmware is None:
            code.mkdir(exist_ok=True)
            (code / "boot.py").write_text("")
            (code / "main.py").write_text(textwrap.dedent(script))
        console = self.folder / "console.log"
        console.unlink(missing_ok=True)
        asyncio.run(asyncio.wait_for(self._run(code, seconds), 60))
        return console.read_text() if console.exists() else ""

    async def _run(self, code: Path, seconds: float) -> None:
        board = boards.load(self.board)
        flash = image.open_flash(self.folder / "flash.bin", board)
        chip = CHIPS[board.chip]("bench", flash, self.seed, self.networks)
        chip.devices.update(self.devices)
        chip.analog.update(self.analog)
        chip.levels.update(self.levels)
        clock = SimClock(self.folder / "clock", START_US)
        async with Fleet(self.folder, clock, lambda _name: plan.module_path(board)) as fleet:
            proxy = Proxy(self.upstream, fleet.conductor)
            await proxy.start()
            self.node = node = fleet.add("bench", self.folder, chip, proxy, [code], {"cloud.test": proxy.port})
            try:
                await node.live(START_US, START_US + int(seconds * 1e6))
            except SimulationError as error:
                if "REPL" not in str(error):
                    raise
            finally:
                fleet.conductor.leave("bench")
