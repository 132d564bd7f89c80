"""The report: its figures are those of the files, its drawings lose no extremes, and a bad file is one clear line."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cloudkit
import pytest
import reportkit as kit
from click.testing import CliRunner

from cloud import store, transaction
from host_sim.report import __main__ as command
from host_sim.report import begin, make, words
from host_sim.report.cloud import Fetching
from host_sim.report.recovery import recovery, slowest
from host_sim.report.run import KINDS, Fault, Point, ReportError, Wear, load
from host_sim.report.thin import missing, segments, thin
from host_sim.report.work import work

REPORT = Path(words.__file__).parent


class Page(HTMLParser):
    """What stands where: every table as rows of {data-label: text}, drawings by label, addresses, tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[dict[str, str]]] = []
        self.drawings: list[tuple[str, str]] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.sections: list[str] = []
        self._cell: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append({})
        elif tag in ("td", "th"):
            self._cell = found.get("data-label", "") or ""
            self.tables[-1][-1].setdefault(self._cell, "")
        elif tag == "svg":
            self.drawings.append((found["class"] or "", found["aria-label"] or ""))
        elif tag == "section":
            self.sections.append(found["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._cell is not None:
            self.tables[-1][-1][self._cell] += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report."""
    folder = kit.write_run(tmp_path_factory.mktemp("report"))
    assert make(folder) == (folder / "report.html", [])
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_the_figures_are_those_of_the_ledger(run: Path, page: Page) -> None:
    """Of every node, of the total, of every channel."""
    ledger = json.loads((run / "ledger.json").read_text())
    by_node = {name: entry["totals"] for name, entry in ledger["nodes"].items()} | {"total": ledger["totals"]}
    by_channel = {
        f"{node} {name}": figures
        for node, entry in ledger["nodes"].items()
        for name, figures in entry["channels"].items()
    }
    for table, wanted in zip(page.tables[:2], (by_node, by_channel), strict=True):
        assert [row[""] for row in table[1:]] == list(wanted)
        for row in table[1:]:
            figures = wanted[row[""]]
            for word in ("due", "taken", "acknowledged", "stored", "degraded", "lost", "duplicates", "unexplained"):
                assert int(re.sub(r"\D", "", row[word])) == figures[word], (row, word)
            reasons = "".join(f"{reason} {count}" for reason, count in figures["missed"].items())
            assert row["missed"] == f"{sum(figures['missed'].values())}{reasons}"
            assert row["verdict"] == "balanced"


def test_sections_stand_in_order_and_every_channel_has_its_drawing(page: Page) -> None:
    """For a screen and for a phone; and nothing comes from elsewhere."""
    assert page.sections == ["ledger", "channels", "backlog", "faults", "work", "wear"]
    for node in kit.NODES:
        for channel in ("air.temperature", "light.voltage"):
            label = f"{node} {channel}: served by the world and held by the database"
            assert [css for css, text in page.drawings if text == label] == ["wide", "phone"]
        for what in ("backlog over time", "readings taken and acknowledged over time"):
            assert [css for css, text in page.drawings if text == f"{node}: {what}"] == ["wide", "phone"]
        assert sum(f"{node}: erases" in text for _, text in page.drawings) == 2
    assert {address[0] for address in page.addresses if address != "data:,"} == {"#"}
    assert not page.tags & {"script", "img", "iframe", "object"}
    assert "link" in page.tags


def test_a_page_is_self_contained_and_small(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|//[a-z]", text)
    assert len(text) < 400_000
    assert not re.search(r"NaN|None|nan ", text)
    assert "<use" not in text  # what it names has lost its id


def test_headline(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<h1 class="good">Balanced</h1>', text)
    tiles = dict(re.findall(r"<div><dt>([^<]*)</dt><dd>([^<]*)", text[: text.index("<nav")]))
    wanted = {"simulated": "6 h", "nodes": "2", "seed": "7", "faults": "default ", "real time": "33.4 s"}
    assert tiles == wanted


def test_what_the_ledger_found_is_listed(tmp_path: Path) -> None:
    """The words come out as they are, whatever is in them."""
    folder = kit.write_run(tmp_path)
    ledger = json.loads((folder / "ledger.json").read_text())
    ledger["balanced"] = ledger["nodes"]["green-1"]["balanced"] = False
    ledger["totals"].update(unexplained=1)
    ledger["nodes"]["green-1"]["totals"].update(unexplained=1, balanced=False)
    ledger["nodes"]["green-1"]["faults"] = ["row 7 (value <b>12</b>) stands for nothing that was served"]
    (folder / "ledger.json").write_text(json.dumps(ledger))
    text = make(folder).path.read_text(encoding="utf-8")
    assert '<h1 class="bad">NOT BALANCED</h1>' in text
    assert "row 7 (value &lt;b&gt;12&lt;/b&gt;) stands for nothing that was served" in text
    rows = Page(text).tables[0][1:]
    assert [row["verdict"] for row in rows] == ["NOT BALANCED", "balanced", "NOT BALANCED"]


def test_faults_with_their_recovery(page: Page) -> None:
    """A power cut until the next reading, all else until the next record of each node."""
    assert [list(row.values()) for row in page.tables[2][1:]] == [
        ["1 Jun 01:00:00", "power cutat flash operation 3", "green-1", "an instant", "7 s"],
        ["1 Jun 02:00:00", "Wi-Fi out", "green-1", "59 min", "1 min 3 s"],
        ["1 Jun 04:30:00", "broker kill", "cloud end", "1 min", "green-1 29 min 3 scellar-1 39 min 3 s"],
        ["1 Jun 05:50:00", "clock jump", "cellar-1", "an instant", "not within the run"],
    ]


def test_a_record_committed_while_a_fault_lasts_is_no_recovery(run: Path) -> None:
    nodes = load(run).nodes
    at = kit.START_MS + 2 * kit.HOUR
    fault = Fault(at, at + kit.HOUR + 3_000, "stall", "green-1", "")
    assert recovery(fault, nodes) == {"green-1": 2 * kit.HOUR}
    late = Fault(at, kit.START_MS + 5 * kit.HOUR + 5 * kit.MINUTE, "db_locked", "", "")
    assert recovery(late, nodes) == {"green-1": None, "cellar-1": 5 * kit.MINUTE + 3_000}
    assert slowest(late, nodes) is None


def test_work_of_a_node(run: Path) -> None:
    """359 wakes of 2 s; a boot and another in the middle of the run; a contact without a socket, one in vain."""
    (node, _) = load(run).nodes
    done = work(node, load(run).end_ms)
    assert (done.wakes, done.boots, done.awake_ms) == (359, {"power": 2}, 359 * 2000 + 3000 + 1000)
    assert done.radio is not None
    assert (done.radio.contacts, done.radio.unconnected, done.radio.uncommitted) == (5, 1, 1)
    assert (done.radio.on_ms, done.radio.bytes_up, done.radio.bytes_down) == (20_000, 5000, 2500)
    assert done.programmed_per_byte == 6000 / 600
    assert node.ring_erases("frames") == [3, 2, 1]


def test_how_long_the_flash_lasts(run: Path, page: Page) -> None:
    """6 erases of 3 sectors in 6 hours are 8 a day for each; the node file's word stands beside it."""
    (node, _) = load(run).nodes
    assert node.ring_years("frames", 6 * kit.HOUR) == pytest.approx(100_000 / 8 / 365.25)
    assert node.ring_years("journal", 6 * kit.HOUR) == pytest.approx(100_000 / 17 / 365.25)
    idle = replace(node, wear=Wear([0] * 10, 0, {}))
    assert idle.ring_years("frames", 6 * kit.HOUR) is None
    text = (run / "report.html").read_text(encoding="utf-8").replace("\N{NARROW NO-BREAK SPACE}", "")
    assert "6 erases, at most 3 in a sector; at this rate 34 years to 100000; by the node file 2920<" in text
    assert text.count("by the node file") == 1, "only the node and ring whose run said it"


def test_a_wrong_clock_of_the_cloud_moves_no_record(tmp_path: Path) -> None:
    """Records are dated by the cloud; they lie in the contacts that brought them all the same."""
    folder = kit.write_run(tmp_path)
    truth = [node.arrivals for node in load(folder).nodes]
    shifts = [
        (kit.START_MS + 2 * kit.HOUR, 70_000), (kit.START_MS + 3 * kit.HOUR, 0),
        (kit.START_MS + 5 * kit.HOUR, -70_000), (kit.START_MS + 5 * kit.HOUR + 5 * kit.MINUTE, 0),
    ]  # fmt: skip
    header, *rows = (folder / "arrivals.csv").read_text().splitlines()
    lines = [header]
    for row in rows:
        t_ms, rest = row.split(",", 1)
        wrong = [by for since, by in shifts if since <= int(t_ms)][-1:] or [0]
        lines.append(f"{int(t_ms) + wrong[0]},{rest}")
    assert lines != [header, *rows]
    (folder / "arrivals.csv").write_text("\n".join(lines) + "\n")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "cloud_clock": shifts}))
    assert [node.arrivals for node in load(folder).nodes] == truth


def test_thinning_keeps_extremes_and_ends() -> None:
    points = [Point(t, t * 7919 % 1000) for t in range(5000)]
    points[2345] = Point(2345, 5000)
    points[2346] = Point(2346, -5000)
    kept = thin(points, 100)
    assert len(kept) <= 2 * 50 + 2
    assert {Point(2345, 5000), Point(2346, -5000), points[0], points[-1]} <= set(kept)
    assert kept == sorted(kept)
    for start in range(0, 5000, 100):
        bucket = [point.value for point in points[start : start + 100]]
        left = [point.value for point in kept if start <= point.t_ms < start + 100]
        assert (min(bucket), max(bucket)) == (min(left), max(left))


def test_gaps_are_not_joined() -> None:
    points = [Point(t, 0.0) for t in (0, 60, 120, 400, 460)]
    assert [len(part) for part in segments(points, 180)] == [3, 2]


def test_missing_stretches(run: Path) -> None:
    """The hole in the database, an end that never came, nothing where all is there; no power is no hole."""
    (node, other) = load(run).nodes
    ((begin_ms, end_ms),) = missing(node.channels[0].world, node.channels[0].database, 3 * kit.MINUTE)
    assert abs(begin_ms - kit.HOLE[0]) < 2 * kit.MINUTE and abs(end_ms - kit.HOLE[1]) < 3 * kit.MINUTE
    series = other.channels[0]
    assert missing(series.world, series.database, 3 * kit.MINUTE) == []
    ((begin_ms, end_ms),) = missing(series.world, series.database[:-30], 3 * kit.MINUTE)
    assert end_ms == series.world[-1].t_ms and begin_ms > series.database[-31].t_ms
    dark = [point for point in series.world if not kit.HOLE[0] <= point.t_ms < kit.HOLE[1]]
    assert missing(dark, [Point(p.t_ms - p.t_ms % 1000 - 20_000, p.value) for p in dark], 3 * kit.MINUTE) == []
    assert missing(series.world, [], 60) == [(series.world[0].t_ms, series.world[-1].t_ms)]
    assert missing([], [], 60) == []


def test_the_hole_is_marked_in_the_drawing(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    marked = re.findall(r"<title>not in the database: ([^<]*)</title>", text)
    assert len(marked) == 4  # two channels of green-1, two sizes
    assert all(re.fullmatch(r"1 Jun 02:0\d:07 to 1 Jun 02:5\d:07", span) for span in marked)


def test_every_colour_is_of_the_theme_and_can_be_told_from_the_card(run: Path) -> None:
    """Drawings name variables only; all are set in both themes, text at 4.5:1, graphics at 3:1 (WCAG 2.2)."""
    text = (run / "report.html").read_text(encoding="utf-8")
    drawn = "".join(re.findall(r"<svg.*?</svg>", text))
    assert not re.search(r"#[0-9a-f]{3,6}\b", drawn)
    used = set(re.findall(r"var\(--([a-z-]+)\)", text))
    themes = re.findall(r":root \{(.*?)\}", (REPORT / "page.css").read_text(), re.DOTALL)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]+)", theme))
        assert used <= colours.keys()
        for name in ("ink", "muted", "good", "bad", "accent"):
            assert min(contrast(colours[name], colours[ground]) for ground in ("page", "card")) >= 4.5, name
        for name in ("world", "data", "missing", "power", "network", "cloud", "clock", "wear"):
            assert contrast(colours[name], colours["card"]) >= 3, name


def contrast(one: str, other: str) -> float:
    """The contrast ratio of WCAG 2.2, 1 to 21."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_what_a_run_did_not_write_is_said(tmp_path: Path) -> None:
    """On the page and by the command."""
    folder = kit.write_run(tmp_path)
    for name in ("faults.csv", "nodes/green-1/contacts.csv", "nodes/cellar-1/wear.json"):
        (folder / name).unlink()
    record = json.loads((folder / "run.json").read_text())
    del record["seconds"], record["faults"]
    (folder / "run.json").write_text(json.dumps(record))
    done = CliRunner().invoke(command.main, [str(folder)])
    assert done.exit_code == 0, done.output
    assert done.stderr.splitlines() == [
        "report: faults.csv is missing: faults are not shown",
        "report: nodes/green-1/contacts.csv is missing: contacts of this node are not shown",
        "report: nodes/cellar-1/wear.json is missing: the flash wear of this node is not shown",
    ]
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.count('<p class="note">') == 5 and "faults.csv is missing" in text


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return apply


SPOILT = {
    "no run": (lambda folder: (folder / "run.json").unlink(), "run.json: No such file"),
    "no json": (edit("run.json", "{", "["), "run.json: no JSON"),
    "no seed": (edit("run.json", '"seed"', '"sead"'), "run.json: 'seed' is missing"),
    "no channels": (edit("run.json", '"channels"', '"chanels"'), "run.json: 'channels' is missing"),
    "no nodes": (edit("run.json", '"nodes"', '"knots"'), "run.json: no nodes with names"),
    "no ledger": (lambda folder: (folder / "ledger.json").unlink(), "ledger.json: No such file"),
    "half a ledger": (edit("ledger.json", '"totals"', '"total"'), "ledger.json: "),
    "no served": (lambda folder: (folder / "nodes/green-1/served.csv").unlink(), "served.csv: No such file"),
    "columns": (edit("arrivals.csv", "t_ms,", "time,"), "arrivals.csv:1: the columns are time,"),
    "empty": (lambda folder: (folder / "faults.csv").write_text(""), "faults.csv:1: the columns are missing"),
    "half a line": (edit("nodes/green-1/power.csv", ",sleep,", ","), "power.csv:3: "),
    "no number": (edit("nodes/green-1/served.csv", ",temperature,2", ",temperature,x"), "served.csv:2: invalid"),
    "unknown channel": (edit("nodes/green-1/database.csv", "light.v", "lite.v"), "no channel lite.voltage in run.json"),
    "unknown kind": (edit("faults.csv", "wifi_out", "meteor"), "faults.csv:3: kind 'meteor' is none of power_cut"),
    "unknown node": (edit("faults.csv", "green-1", "blue-1"), "faults.csv: no node blue-1 in run.json"),
    "wear": (edit("nodes/green-1/wear.json", "erases", "wipes"), "wear.json: erases"),
    "small flash": (edit("nodes/green-1/wear.json", "2, 3]", "2]"), "wear.json: erases of 9 sectors, but a ring has"),
    "no cloud": (lambda folder: (folder / "arrivals.csv").unlink(), "arrivals.csv: cloud records: Error: no database"),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, spoil: str) -> None:
    apply, word = SPOILT[spoil]
    folder = kit.write_run(tmp_path)
    apply(folder)
    done = CliRunner().invoke(command.main, [str(folder)])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("report: ") and word in line
    assert not (folder / "report.html").exists()


def test_the_ledger_may_come_last(tmp_path: Path) -> None:
    """The report is begun without one, and the page has the figures of that which came."""
    folder = kit.write_run(tmp_path)
    ledger = (folder / "ledger.json").read_text()
    (folder / "ledger.json").unlink()
    with begin(folder) as pending:
        (folder / "ledger.json").write_text(ledger.replace("1440", "1441"))
        made = pending.finish()
    assert made == (folder / "report.html", [])
    assert "1\u202f441" in made.path.read_text(encoding="utf-8")


def test_a_report_begun_in_vain(tmp_path: Path) -> None:
    """It says why it failed, or is gone with its block."""
    folder = kit.write_run(tmp_path)
    (folder / "ledger.json").unlink()
    with begin(folder) as pending, pytest.raises(ReportError, match="^/.*ledger.json: No such file or directory$"):
        pending.finish()
    with begin(folder) as pending:
        process = pending._process
    assert process.returncode == -signal.SIGKILL


def test_what_the_cloud_holds_is_kept_as_files(tmp_path: Path) -> None:
    """By its public command; what is there already stays."""
    keys = cloudkit.NodeKeys(bytes(range(32)), "acme", "n1")
    data = tmp_path / "cloud"
    with store.connect(data, create=True) as db:
        store.add_node(db, "n1", "acme", keys.key, [(1, "air.temperature", "degC")])
    frame = cloudkit.codec_frame([(1, -2)], [(200_000_000, [2150]), (200_000_060, [None])], 2, 1)
    sent = keys.data(2, 5, 1, cloudkit.frame_payload(1, 2, frame))
    transaction.take(store.connect(data), [transaction.Arrival("acme", "n1", "t", sent, 1_780_000_000_000)])
    home = tmp_path / "nodes" / "n1"
    home.mkdir(parents=True)
    with Fetching(tmp_path, ["n1"]):
        pass
    assert (tmp_path / "arrivals.csv").read_text().splitlines()[1].startswith("1780000000000,n1,2,5,1,1,")
    assert (home / "database.csv").read_text().splitlines()[1] == "2026-05-03T19:33:20Z,air.temperature,21.50,degC,2"
    (tmp_path / "arrivals.csv").write_text("kept")
    with Fetching(tmp_path, ["n1"]):
        pass
    assert (tmp_path / "arrivals.csv").read_text() == "kept"
    (home.parent / "n2").mkdir()
    with pytest.raises(ReportError, match="known: n1"), Fetching(tmp_path, ["n2"]):
        pass
    assert [path.name for path in (home.parent / "n2").iterdir()] == []


def test_words() -> None:
    assert [words.duration(ms) for ms in (0, 900, 22_800, 59_990, 60_000, 3_723_000, 86_400_000, 97_200_000)] == [
        "0 ms", "900 ms", "22.8 s", "1 min", "1 min", "1 h 2 min", "1 d", "1 d 3 h",
    ]  # fmt: skip
    assert words.number(1234567) == "1\u202f234\u202f567" and words.number(31.25) == "31.2"
    assert words.tick(-0.5) == "\u22120.5" and words.size(1500) == "1.5 kB"
    assert {words.kind(kind) for kind in KINDS}.isdisjoint(KINDS)
