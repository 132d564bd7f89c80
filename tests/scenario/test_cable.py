"""The console at a cable: the host's tool, a pty, the board's own littlefs, its radio, the cloud end; then mpremote."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from benchkit import ROOT, deploy, mpremote, tree

from host_sim.bench import BenchBoard
from host_sim.cloudend import CloudEnd
from tools import nodefile
from tools.console import DONE, REFUSED, Line, ask

pytestmark = pytest.mark.beside

NODES = {"esp32": "greenhouse", "pico_w": "cellar"}


class Person:
    """Asks the node by the host's tool, as `fieldnode console -c` does."""

    def __init__(self, port: Path) -> None:
        self.line = Line(str(port))

    async def ask(self, command: str, code: int = DONE, timeout: float = 30) -> dict[str, Any]:
        """The last answer."""
        shown: list[str] = []
        got = await asyncio.to_thread(ask, self.line, command, True, timeout, shown.append)
        assert got == code, (command, shown)
        return json.loads(shown[-1])


@pytest.mark.parametrize("name", NODES)
def test_a_person_at_the_cable_and_then_mpremote(tmp_path: Path, name: str) -> None:
    asyncio.run(asyncio.wait_for(talk(tmp_path, name), 110))


async def talk(folder: Path, name: str) -> None:
    node = NODES[name]
    file = ROOT / f"nodes/{node}.toml"
    key = hashlib.sha256(f"bench {node}".encode()).digest()
    board = BenchBoard(
        nodefile.load(file), folder / "bench", folder / "port", blank=True, sleep_speed=20, flash_speed=50
    )
    cloud = CloudEnd(folder, board.clock.path)
    await asyncio.to_thread(cloud.start, ["127.0.0.1"])
    try:
        settings = {"cloud.host": "127.0.0.1", "cloud.port": cloud.mqtt[1], "service.window": 5}
        node_file = nodefile.load(file, settings)
        files = folder / "files"
        channels = [list(channel)[:3] for channel in node_file.channels()]
        await asyncio.to_thread(cloud.add, node, node_file.settings()["tenant"], key, channels, files)
        (files / "key").write_bytes(key)
        async with board:
            await deploy(board, tree(folder, node_file, files))
            await mpremote(board.port.link, "reset")
            person = Person(board.port.link)
            status = await person.ask("status")
            assert status["node"] == f"{node_file.settings()['tenant']}/{node}" and status["board"] == name
            assert await person.ask("nonsense", REFUSED) == {
                "ok": False, "error": "unknown command 'nonsense'; help lists them",
            }  # fmt: skip
            while (await person.ask("status"))["contact"] in (None, "under way"):  # it reports after its window
                await asyncio.sleep(0.2)
            readings = (await person.ask("read"))["readings"]
            assert {each["channel"] for each in readings} == {channel.name for channel in node_file.channels()}
            assert all(each["outcome"] == "ok" for each in readings)
            bus = node_file.settings()["sensors"][0]
            assert any(each["sensor"] == bus["name"] for each in (await person.ask("i2c scan"))["found"])
            known = [each for each in (await person.ask("wifi scan"))["networks"] if each["known"]]
            assert known and -90 < known[0]["signal_dbm"] < -30
            steps = (await person.ask("net ping"))["steps"]
            assert [each["step"] for each in steps] == ["radio", "name", "tcp", "tls and mqtt"]
            assert (await person.ask("send"))["contact"] == "complete"
            await person.ask("python node.contacts.begin()")
            meanwhile = 0
            while (await person.ask("status"))["contact"] == "under way":
                meanwhile += 1
            assert meanwhile >= 2, "the console was silent while a contact was under way"
            assert (await person.ask("queue"))["frames"] == 0
            await person.ask("config set report.interval 600")
            assert (await person.ask("config save"))["restart"] is False
            assert (await person.ask("python 6 * 7"))["value"] == "42"
            assert (await person.ask("status"))["failed_contacts"] == 0 and board.bites == 0
            person.line.close()
            # mpremote takes the port from the console, as from any program, and sees what was saved.
            stored = await mpremote(board.port.link, "exec", "print(open('settings.json').read())")
            assert json.loads(stored)["report"] == 600
            await mpremote(board.port.link, "reset")
            person = Person(board.port.link)
            version = await person.ask("version")
            assert version["changed_here"] is True
            assert (await person.ask("factory-reset --yes"))["settings"] == "as deployed"
            version = await person.ask("version")  # on native USB the port was away meanwhile
            assert version["changed_here"] is False and board.bites == 0
            person.line.close()
    finally:
        await asyncio.to_thread(cloud.stop)
