"""What a run shows: in a terminal, where there is none, and to a program."""

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from host_sim import view
from host_sim.ledger import Figures, Ledger, NodeAccount
from host_sim.plan import START_MS, Plan, members
from host_sim.status import NodeStatus, Status, Strike
from host_sim.view import live, words
from host_sim.view.jsonl import JsonView
from host_sim.view.live import LiveView
from host_sim.view.plain import PlainView
from tools import nodefile

ROOT = Path(__file__).resolve().parents[2]
NOON = START_MS + 43_200_000
STRIKES = tuple(Strike(START_MS + 3_600_000 * hour, "power_cut", "greenhouse-1", f"cut {hour}") for hour in range(9))
FIGURES = Figures(due=3, taken=2, missed=Counter(reset=1), acknowledged=2)
BOOK = Ledger([NodeAccount("greenhouse-1", {"air.temperature": FIGURES})])
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def node(name: str = "greenhouse-1", **changes) -> NodeStatus:
    """One that has something in every column."""
    facts = {"board": "esp32", "at_ms": NOON + 60_000, "state": "sending", "taken": 12_345, "acknowledged": 12_000,
             "missed": 12, "alerts": 3, "faults": ("wifi_out",)}  # fmt: skip
    return NodeStatus(name, **{**facts, **changes})


def status(share: float = 0.25, strikes: int = 0, *nodes: NodeStatus, real_s: float = 10.0) -> Status:
    two = (node(), node("cellar-1", faults=(), state="asleep"))
    return Status(share, real_s, NOON, nodes or two, STRIKES[:strikes])


@pytest.fixture(scope="module")
def plan() -> Plan:
    files = [nodefile.load(ROOT / "nodes" / f"{name}.toml") for name in ("greenhouse", "cellar")]
    return Plan(members(files, 2), days=2.0, seed=7, faults="all")


def drawn(shown: Status, width: int = 80, height: int = 30) -> list[str]:
    """The lines of the live view, without colours and blanks at their ends."""
    text = io.StringIO()
    Console(width=width, file=text).print(live.screen(shown, "simulating", width, height))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_times_are_written_for_people():
    assert words.moment(NOON) == " 1 Jun 12:00" and words.moment(NOON + 7_000, seconds=True) == " 1 Jun 12:00:07"
    assert [words.duration(seconds) for seconds in (0, 7.4, 59.6, 754, 3723)] == [
        "0:00", "0:07", "1:00", "12:34", "1:02:03",
    ]  # fmt: skip
    assert words.pace(status(0.25)) == "0:30 left" and words.pace(status(0.01)) == ""
    assert words.pace(status(1.0)) == "0:10 in all"


@pytest.mark.parametrize("width", [80, 100, 132])
def test_everything_stands_on_a_screen_of_80_columns_and_more(width):
    lines = drawn(status(0.25, 9), width)
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("simulating") and lines[0].endswith(" 25%   1 Jun 12:00  0:30 left")
    row = next(line for line in lines if line.startswith("greenhouse-1"))
    assert row.split()[-7:] == ["sending", "345", "12,000", "12", "3", "wifi", "out"]
    assert "12:01" in row and "esp32" in row
    assert [line for line in lines if "power cut" in line] == [
        f" 1 Jun 0{hour}:00:00  power cut    greenhouse-1  cut {hour}" for hour in range(3, 9)
    ]
    assert "9 faults so far" in lines
    assert "…" not in "".join(lines)


def test_more_nodes_than_the_screen_has_rows():
    """Are counted; the strikes below stay in sight."""
    fleet = [node(f"node-{number}") for number in range(60)]
    lines = drawn(status(0.5, 9, *fleet), height=30)
    assert len(lines) <= 30 and "and 48 more" in lines and lines[-1].endswith("cut 8")


def test_a_word_tells_the_state_where_there_is_no_colour(monkeypatch):
    """NO_COLOR, https://no-color.org."""
    colours = {}
    for name in ("", "1"):
        monkeypatch.setenv("NO_COLOR", name)
        written = io.StringIO()
        console = Console(file=written, force_terminal=True, color_system="truecolor", width=80)
        console.print(live.screen(status(), "simulating", 80))
        text = written.getvalue()
        assert "sending" in text and "asleep" in text
        colours[name] = re.findall(r"\x1b\[(?:\d+;)*(?:3\d|9\d)m", text)
    assert colours[""] and not colours["1"]


def test_the_picture_is_an_svg_that_shows_the_same():
    tree = ElementTree.fromstring(live.export_svg(status(0.25, 2)))
    text = "".join(tree.itertext()).replace("\xa0", " ")
    assert tree.tag == "{http://www.w3.org/2000/svg}svg"
    assert "font-face" not in live.export_svg(status(0.25, 2)), "another host would be asked for a font"
    for part in ("greenhouse-1", "acknowledged", "12,000", "25%", "power cut", "cut 1", "wifi out"):
        assert part in text, part
    assert live.export_svg(status(0.25, 2)) == live.export_svg(status(0.25, 2))


def test_drawing_takes_its_share_and_no_more(monkeypatch, plan):
    """Of 40 updates in 10 s, as many are drawn as fit into 2% of the time; the last one always."""
    clock = [0.0]
    monkeypatch.setattr("host_sim.view.live.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("host_sim.view.live.time.process_time", lambda: cost[0])
    cost, drawn_at = [0.0], []
    shown = LiveView(Console(file=io.StringIO(), force_terminal=True, width=80))

    def draw(stage: str) -> None:
        cost[0] += 0.02
        drawn_at.append((clock[0], stage))

    monkeypatch.setattr(shown, "_draw", draw)
    for tick in range(41):
        clock[0] = tick / 4
        shown.update(status(tick / 41))
    shown.update(status(1.0))
    assert drawn_at == [(float(second), "simulating") for second in range(11)] + [(10.0, "balancing")]


def test_lines_for_a_log(plan):
    """One per twentieth of the way, one per strike; the ledger alone goes to standard output."""
    progress, results = io.StringIO(), io.StringIO()
    shown = PlainView(progress, results)
    shown.start(plan)
    for step in range(101):
        shown.update(status(step / 100, 2 if step >= 42 else 0))
    shown.update(status(1.0, 2))
    shown.finish(BOOK)
    lines = progress.getvalue().splitlines()
    assert lines[0] == "sim: 2 days, seed 7, faults all: greenhouse-1 (esp32), cellar-1 (pico_w)"
    shares = [line.split()[1] for line in lines if "%" in line]
    assert shares == [f"{5 * step}%" for step in range(1, 21)]
    assert lines[9:11] == [f"sim:  1 Jun 0{hour}:00:00  power cut  greenhouse-1  cut {hour}" for hour in (0, 1)]
    assert lines[5] == (
        "sim:  25%   1 Jun 12:00  taken 24690, acknowledged 24000, stored 690, missed 24, alerts 6  0:30 left"
    )
    assert results.getvalue().splitlines() == list(BOOK.lines())


def test_an_object_per_event(plan):
    stream = io.StringIO()
    shown = JsonView(stream)
    shown.start(plan)
    for tick in range(12):
        shown.update(status(tick / 12, 1 if tick >= 6 else 0, real_s=tick / 4))
    shown.update(status(1.0, 2, real_s=2.8))
    shown.finish(BOOK)
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["event"] for event in events] == [
        "started", "progress", "progress", "strike", "progress", "strike", "progress", "ledger", "finished",
    ]  # fmt: skip
    started, first, _, strike = events[:4]
    assert started["nodes"] == [{"name": "greenhouse-1", "board": "esp32"}, {"name": "cellar-1", "board": "pico_w"}]
    assert (started["seed"], started["faults"]) == (7, "all")
    assert started["end_ms"] - started["start_ms"] == 2 * 86_400_000
    assert first["nodes"][0] == {
        "name": "greenhouse-1", "board": "esp32", "at_ms": NOON + 60_000, "state": "sending", "taken": 12345,
        "acknowledged": 12000, "stored": 345, "missed": 12, "alerts": 3, "faults": ["wifi_out"],
    }  # fmt: skip
    assert strike == {"event": "strike", "t_ms": START_MS, "kind": "power_cut", "node": "greenhouse-1", "text": "cut 0"}
    assert events[-2]["balanced"] is True and events[-2]["nodes"]["greenhouse-1"]["totals"]["missed"] == {"reset": 1}
    assert events[-1] == {"event": "finished", "balanced": True, "seconds": 2.8}


@pytest.mark.parametrize(
    ("terminal", "term", "as_json", "plain", "expected"),
    [
        (True, "xterm", False, False, LiveView),
        (True, "dumb", False, False, PlainView),
        (True, "xterm", False, True, PlainView),
        (False, "xterm", False, False, PlainView),
        (True, "xterm", True, False, JsonView),
    ],
)
def test_the_view_fits_where_it_is_shown(monkeypatch, terminal, term, as_json, plain, expected):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", term)
    assert type(view.choose(as_json, plain)) is expected


# The command itself


class Started:
    """`python -m host_sim run` with one node for an hour and a half, in a folder of the test's; `terminal` is what it
    wrote to its terminal if it was given one for standard error."""

    def __init__(self, folder: Path, *options: str, terminal: bool = False) -> None:
        command = [sys.executable, "-m", "host_sim", "run", "--folder", str(folder), "--nodes", "1", "--days", "0.06"]
        command += ["--faults", "none"]
        self._master, slave = pty.openpty() if terminal else (-1, -1)
        self.process = subprocess.Popen(
            [*command, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=slave if terminal else subprocess.PIPE,
            text=True, start_new_session=True, env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"},
        )  # fmt: skip
        if terminal:
            os.close(slave)

    def read_terminal(self, until: str = "\0", patience_s: float = 60) -> str:
        """What comes until `until` comes, or to the end."""
        text, deadline = "", time.monotonic() + patience_s
        while until not in text and time.monotonic() < deadline:
            if select.select([self._master], [], [], 0.1)[0]:
                try:
                    text += os.read(self._master, 65536).decode(errors="replace")
                except OSError:
                    break  # Linux: nobody has the other end any more
        return text

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        if self._master >= 0:
            os.close(self._master)


@pytest.fixture
def started(tmp_path) -> Iterator:
    """Starts one run after another; none is left."""
    runs: list[Started] = []

    def start(*options: str, terminal: bool = False) -> Started:
        runs.append(Started(tmp_path / "run", *options, terminal=terminal))
        return runs[-1]

    yield start
    for run in runs:
        run.close()


def test_what_json_says_agrees_with_the_ledger(started):
    """Taken is what the world served, acknowledged what the database holds, to the last reading."""
    out, err = started("--json").process.communicate(timeout=60)
    events = [json.loads(line) for line in out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "started" and kinds[-3:] == ["progress", "ledger", "finished"] and err == ""
    totals = events[-2]["totals"]
    last = events[-3]["nodes"][0]
    assert events[-3]["share"] == 1 and totals["acknowledged"] > 0 and totals["lost"] == totals["degraded"] == 0
    assert (last["taken"], last["acknowledged"], last["stored"], last["missed"]) == (
        totals["taken"], totals["acknowledged"], totals["stored"], 0,
    )  # fmt: skip
    shares = [event["share"] for event in events if event["event"] == "progress"]
    assert len(shares) >= 2 and shares == sorted(shares)


def test_a_terminal_sees_it_live_and_gets_its_cursor_back(started):
    """The view goes to standard error; standard output has the result alone."""
    run = started(terminal=True)
    text = run.read_terminal()
    out, _ = run.process.communicate(timeout=20)
    assert run.process.returncode == 0
    assert out.splitlines()[0].startswith("greenhouse-1 due ") and "query greenhouse-1" in out
    assert text.count("simulating") >= 3 and "simulated" in text and "100%" in ANSI.sub("", text)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"


@pytest.mark.parametrize("moment", ["preparing", "simulating", "balancing"])
def test_ctrl_c_ends_it_with_a_word_at_any_time(started, moment):
    """While it prepares, simulates, makes up the ledger; nothing is left running, and no traceback."""
    run = started(terminal=True)
    before = run.read_terminal(moment)
    assert moment in before
    os.killpg(run.process.pid, signal.SIGINT)
    after = run.read_terminal()
    out, _ = run.process.communicate(timeout=20)
    assert run.process.returncode == 130 and out == ""
    assert ANSI.sub("", after).splitlines()[-1] == "sim: stopped" and "Traceback" not in after
    assert (before + after).rindex("\x1b[?25h") > (before + after).rindex("\x1b[?25l")


def test_it_ends_when_nobody_reads_its_json_any_longer(started):
    run = started("--json", "--days", "30")
    assert run.process.stdout and "started" in run.process.stdout.readline()
    run.process.stdout.close()
    assert run.process.wait(30) == 1
    assert run.process.stderr and run.process.stderr.read() == ""


def test_a_view_that_leaves_something_out_is_not_made() -> None:
    class Mute(view.View):
        def start(self, plan: Plan) -> None:
            pass

    with pytest.raises(TypeError, match="finish.*update"):
        Mute()  # pyright: ignore[reportAbstractUsage]
