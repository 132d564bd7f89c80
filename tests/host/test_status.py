"""What a run says of itself: counted from outside, and ended with whatever was started for it."""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from cloudkit import NodeKeys
from simkit import Bench

from cloud import store, transaction
from host_sim.boot import Boot, State
from host_sim.commits import Commits
from host_sim.plan import DAY_MS, START_MS, Plan, members
from host_sim.status import LINGER_S, Collector, Strike
from host_sim.world.served import ServedLog
from tools import nodefile

MINUTE_MS = 60_000  # the interval of every sensor of the examples
GREENHOUSE, CELLAR = "greenhouse-1", "cellar-1"


@dataclass
class FakeNode:
    """What a collector asks of a node."""

    last_seen: int = START_MS * 1000
    state: State = "asleep"


class Watched:
    """A collector over a day of two nodes, whose real time stands still."""

    def __init__(self) -> None:
        files = [nodefile.load(f"nodes/{name}.toml") for name in ("greenhouse", "cellar")]
        self.now = 100.0
        self.collector = Collector(Plan(members(files, 2), days=1.0), lambda: self.now)
        self.nodes = {GREENHOUSE: FakeNode(), CELLAR: FakeNode()}
        self.written = []
        tapped = self.collector.tap(GREENHOUSE, lambda *value: self.written.append(value))
        self.serve = lambda t_ms: tapped(START_MS + t_ms, "air", "temperature", 2150, -2)

    def status(self, done: bool = False):
        return self.collector.status(self.nodes, done)

    def greenhouse(self, t_ms: int | None = None):
        if t_ms is not None:
            self.nodes[GREENHOUSE].last_seen = (START_MS + t_ms) * 1000
        return self.status().nodes[0]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_progress_is_that_of_the_slowest_node(watched):
    watched.collector.begin()
    watched.now += 5
    watched.nodes[GREENHOUSE].last_seen += DAY_MS * 1000
    watched.nodes[CELLAR].last_seen += DAY_MS * 250
    status = watched.status()
    assert (status.share, status.at_ms, status.real_s, status.left_s) == (0.25, START_MS + DAY_MS // 4, 5.0, 15.0)
    done = watched.status(done=True)
    assert (done.share, done.at_ms, done.left_s) == (1.0, START_MS + DAY_MS, 0.0)
    watched.nodes[CELLAR].last_seen = 0
    assert watched.status().share == 0.0 and watched.status().left_s is None


def test_taken_is_what_the_world_served_and_stored_what_is_not_committed(watched, tmp_path):
    for t_ms in (5_000, 60_000, 120_000):
        watched.serve(t_ms)
    watched.collector.committed({"node": GREENHOUSE, "ring": 2, "readings": 2})
    watched.collector.committed({"node": GREENHOUSE, "ring": 1, "readings": 0})
    watched.collector.committed({"node": "somebody-else", "ring": 2, "readings": 7})
    node = watched.greenhouse()
    assert (node.name, node.board, node.taken, node.acknowledged, node.stored, node.alerts) == (
        GREENHOUSE, "esp32", 3, 2, 1, 1,
    )  # fmt: skip
    assert len(watched.written) == 3 and watched.written[0] == (START_MS + 5_000, "air", "temperature", 2150, -2)
    assert watched.status().nodes[1].taken == 0
    with ServedLog(tmp_path / "served.csv") as log:
        watched.collector.tap(GREENHOUSE, log)(START_MS, "light", "voltage", 1, -3)
    assert (tmp_path / "served.csv").read_text().endswith(f"{START_MS},light,voltage,1,-3\n")


@pytest.mark.parametrize(
    ("moments", "missed"),
    [
        ((0, 60, 120, 180), 0),
        ((5, 58, 121, 179), 0),
        ((0, 60, 180), 1),
        ((0, 60, 63, 120), 0),  # one at once, after a restart
        ((0, 89), 0),
        ((0, 91), 1),
        ((0, 3600), 59),
    ],
)
def test_missed_is_what_passed_unmeasured_between_two_values(watched, moments, missed):
    for seconds in moments:
        watched.serve(1000 * seconds)
    assert watched.greenhouse(1000 * moments[-1]).missed == missed


def test_missed_grows_while_nothing_is_served_and_is_the_same_afterwards(watched):
    """From the first power-on, for every channel the node has; and not twice when values come again."""
    watched.collector.noted(GREENHOUSE, START_MS * 1000, "on")
    assert watched.greenhouse(80_000).missed == 0
    assert watched.greenhouse(600_000).missed == 4 * 9
    for channel in ("temperature", "humidity", "pressure"):
        watched.collector.tap(GREENHOUSE, lambda *_: None)(START_MS + 600_000, "air", channel, 1, 0)
    assert watched.greenhouse(600_000).missed == 4 * 9
    watched.collector.noted(GREENHOUSE, (START_MS + 600_000) * 1000, "on")
    assert watched.greenhouse(660_000).missed == 4 * 9 + 1  # the light is still not measured


def test_a_lost_supply_is_seen_though_it_is_back_in_no_time(watched):
    watched.nodes[GREENHOUSE].state = "sampling"
    watched.collector.noted(GREENHOUSE, START_MS * 1000, "off")
    watched.collector.noted(GREENHOUSE, START_MS * 1000 + 1, "on")
    assert watched.greenhouse().state == "off" and watched.status().nodes[1].state == "asleep"
    watched.now += LINGER_S
    assert watched.greenhouse().state == "sampling"


def test_faults_strike_show_and_pass(watched):
    collector = watched.collector
    collector.struck(START_MS + 1, "wifi_out", GREENHOUSE, "no network, 3 min")
    collector.struck(START_MS + 2, "broker_kill", "", "kill -9")
    collector.struck(START_MS + 3, "wifi_out", GREENHOUSE, "no network, 9 min")
    greenhouse, cellar = watched.status().nodes
    assert greenhouse.faults == ("wifi_out", "broker_kill") and cellar.faults == ("broker_kill",)
    collector.over("wifi_out", GREENHOUSE)
    collector.over("broker_kill", "")
    assert watched.status().nodes[1].faults == ("broker_kill",), "it lingers"
    watched.now += LINGER_S
    greenhouse, cellar = watched.status().nodes
    assert greenhouse.faults == ("wifi_out",) and cellar.faults == (), "the second one is not over"
    collector.over("wifi_out", GREENHOUSE)
    with pytest.raises(ValueError):
        collector.over("wifi_out", GREENHOUSE)
    assert watched.status().strikes == (
        Strike(START_MS + 1, "wifi_out", GREENHOUSE, "no network, 3 min"),
        Strike(START_MS + 2, "broker_kill", "", "kill -9"),
        Strike(START_MS + 3, "wifi_out", GREENHOUSE, "no network, 9 min"),
    )


class Telling:
    """A database with a node, and the command that tells of its commits, once it has told of the first."""

    def __init__(self, folder: Path) -> None:
        self.keys = NodeKeys(bytes(32), "acme", "n1")
        self.folder = folder
        self.told: list[str] = []
        self.lost: list[str] = []
        self.commits = Commits(
            folder, folder / "tail.log", lambda commit: self.told.append(commit["kind"]), self.lost.append
        )
        db = store.connect(folder, create=True)
        store.add_node(db, "n1", "acme", self.keys.key, [])
        db.close()

    def birth(self, contact: int) -> None:
        """Commits one."""
        db = store.connect(self.folder)
        birth = self.keys.birth(1, contact, [(1, 1, 1), (2, 1, 1)])
        transaction.take(db, [transaction.Arrival("acme", "n1", "s", birth, START_MS)])
        db.close()

    async def begin(self) -> int:
        """Returns its pid."""
        self.birth(1)
        await self.commits.start()
        while not self.told:
            await asyncio.sleep(0.01)
        return self.commits.pid


def test_the_command_that_tells_of_commits_ends_at_a_word(tmp_path, monkeypatch):
    """With what was said last; and at the second asking nothing happens."""
    monkeypatch.setattr("host_sim.commits._END_S", 60)
    telling = Telling(tmp_path)

    async def run() -> int:
        await telling.commits.stop()
        pid = await telling.begin()
        telling.birth(2)
        await telling.commits.stop()
        await telling.commits.stop()
        return pid

    pid = asyncio.run(asyncio.wait_for(run(), 20))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert telling.told == ["birth", "birth"] and telling.lost == [] and telling.commits.pid == 0
    assert (tmp_path / "tail.log").read_text() == ""


def test_one_that_hangs_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("host_sim.commits._END_S", 0.2)
    telling = Telling(tmp_path)

    async def run() -> int:
        pid = await telling.begin()
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.wait_for(telling.commits.stop(), 10)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid

    pid = asyncio.run(asyncio.wait_for(run(), 30))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_its_unexpected_end_is_told(tmp_path):
    """And where its complaint stands. Figures that stand still must not pass for true ones."""

    async def run() -> str:
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        commits = Commits(tmp_path / "nowhere", tmp_path / "tail.log", lambda _commit: None, lost.set_result)
        try:
            await commits.start()
            return await asyncio.wait_for(lost, 10)
        finally:
            await commits.stop()

    why = asyncio.run(run())
    assert "status 2" in why and str(tmp_path / "tail.log") in why
    assert "no database" in (tmp_path / "tail.log").read_text()


CONTACT = """
    import machine, network, socket, time
    if {rp2} and machine.reset_cause() == 3:
        machine.lightsleep(20_000)
    adc = machine.ADC(machine.Pin({pin}))
    adc.{read}()
    if machine.reset_cause() == 1:
        w = network.WLAN(network.STA_IF)
        w.active(True)
        w.connect("net", "password")
        while not w.isconnected():
            time.sleep_ms(50)
        s = socket.socket()
        s.connect(socket.getaddrinfo("cloud.test", 1883)[0][-1])
        time.sleep(2)
        s.close()
        getattr(w, "deinit", lambda: w.active(False))()
        adc.{read}()
        machine.reset() if {rp2} else machine.deepsleep(20_000)
    machine.deepsleep(900_000)
"""


@pytest.mark.parametrize("board", ["esp32", "pico_w"])
def test_what_a_node_does_is_seen_from_outside(tmp_path, monkeypatch, board):
    """A contact, deep sleep, a wake without the radio. An RP2 sleeps at the beginning of a boot."""
    seen: list[tuple[int, State]] = []
    request = Boot._request

    def watched(boot: Boot, op: int, arg: int, payload: bytes, now: int) -> None:
        request(boot, op, arg, payload, now)
        if not boot.ending.done() and seen[-1:] != [(id(boot), boot.state)]:
            seen.append((id(boot), boot.state))

    monkeypatch.setattr(Boot, "_request", watched)
    rp2 = board == "pico_w"
    pin = 26 if rp2 else 34
    bench = Bench(tmp_path, board=board, analog={pin: Still()})
    bench.run(CONTACT.format(rp2=rp2, pin=pin, read="read_u16" if rp2 else "read_uv"))
    states = [state for _, state in seen]
    assert states[:4] == ["sampling", "connecting", "sending", "sampling"]
    assert states[4:] == (["asleep", "sampling"] if rp2 else ["sampling"])
    assert bench.node and bench.node.state == "asleep"


class Still:
    """A voltage that does not change."""

    def read_uv(self, now_ms: float) -> int:
        return 1_000_000


def test_a_node_without_supply_is_off(tmp_path):
    bench = Bench(tmp_path)
    bench.run("pass")
    node = bench.node
    assert node
    heard = []
    node.noted = lambda at, event: heard.append((at, event))
    node._power = (tmp_path / "power.csv").open("a")
    for event, state in (("off", "off"), ("on", "asleep"), ("sleep", "asleep")):
        node._note(7_000, event, "")
        assert node.state == state
    node._power.close()
    assert heard == [(7_000, "off"), (7_000, "on"), (7_000, "sleep")]
