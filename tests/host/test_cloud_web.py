"""The page, the API and the metrics of a running cloud, asked by a real HTTP client."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import cloudkit as kit
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cloud import store, transaction
from cloud.clock import EPOCH_2020
from cloud.web import api

NASTY = '<script>alert("1")</script>/&\'"'
CHANNELS = [(1, "air.temperature", "degC"), (2, NASTY, "<b>")]
A, F = 0xAAAA, 0xFFFF
ROWS = 60
MINUTE = 60


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: str

    @property
    def json(self) -> object:
        """The body, parsed."""
        return json.loads(self.body)


def ask(cloud: kit.Cloud, target: str, method: str = "GET", **headers: str) -> Answer:
    """One request, its target sent as it stands."""
    connection = http.client.HTTPConnection(cloud.state["web"], timeout=kit.WAIT_S)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, target, headers=named)
    answer = connection.getresponse()
    found = Answer(answer.status, answer.headers, answer.read().decode())
    connection.close()
    return found


def frames(keys: kit.NodeKeys, start: int, count: int) -> list[tuple[str, bytes]]:
    """`count` frames of an hour of minutes from `start` (seconds since 2020); channel 2 every tenth minute."""
    messages = []
    for number in range(count):
        first = start + MINUTE * ROWS * number
        rows = [(first + MINUTE * row, [2000 + row, None if row % 10 else row]) for row in range(ROWS)]
        payload = kit.frame_payload(1 + ROWS * number, ROWS, kit.codec_frame([(1, -2), (2, 0)], rows))
        messages.append(("t", keys.data(2, F, number + 1, payload)))
    return messages


def fill(data: Path, name: str, now: int, messages: Sequence[tuple[str, bytes]], key: bytes = bytes(32)) -> None:
    """Register a node and have ingest take messages that arrive at `now` (Unix seconds)."""
    db = store.connect(data, create=True)
    store.add_node(db, name, "acme", key, CHANNELS)
    transaction.take(db, [transaction.Arrival("acme", name, lane, message, now * 1000) for lane, message in messages])
    db.close()


@pytest.fixture(scope="module")
def now() -> int:
    """Unix seconds when the nodes called."""
    return int(time.time())


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, now: int) -> Iterator[kit.Cloud]:
    """A running cloud with four nodes: n1 in order, late overdue, fresh never heard of, gone revoked."""
    data = tmp_path_factory.mktemp("cloud")
    keys = kit.NodeKeys(bytes(32), "acme", "n1")
    hours = 30
    alarm = kit.event_payload(1, kit.alarm_body(1, 1, -2, 3125, 3000), 1, 0, now - EPOCH_2020 - 5, 2)
    rings = [(A, 1, 4), (F, 1, hours + 5)]
    birth = keys.birth(3, 7, rings, firmware=0x010203, battery=3712, next_contact=3600, reset=5)
    sent = frames(keys, now - EPOCH_2020 - hours * 3600, hours)
    data_of_1 = [("s", birth), *sent, sent[0], ("a", keys.data(1, A, 1, alarm)), ("t", sent[0][1][:-1] + b"?")]
    fill(data, "n1", now, data_of_1)
    late = kit.NodeKeys(bytes(32), "acme", "late")
    last = [("s", late.birth(1, 1, [(A, 8, 9), (F, 1, 1)], next_contact=3600)), ("a", late.data(1, A, 7, alarm))]
    fill(data, "late", now - 7200, last)
    fill(data, "fresh", now, [])
    fill(data, "gone", now, [])
    assert kit.command("revoke", "gone", "--data", data).returncode == 0
    with kit.Cloud(data, "--web", "127.0.0.1:0") as running:
        yield running


def test_nodes(cloud: kit.Cloud, now: int) -> None:
    """States, contacts, backlog and what was counted."""
    found = {node["node"]: node for node in ask(cloud, "/api/nodes").json}  # type: ignore[attr-defined]
    assert {name: node["state"] for name, node in found.items()} == {
        "fresh": "new", "gone": "revoked", "late": "overdue", "n1": "expected",
    }  # fmt: skip
    node = found["n1"]
    stamp = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + later)) for later in (0, 3600)]
    assert [node["last_contact"], node["next_contact"]] == stamp
    assert (node["battery_mv"], node["firmware"], node["reset"]) == (3712, "1.2.3", "watchdog")
    assert node["backlog"] == {"A": 2, "F": 4}
    assert node["stored"] == {"A": 1, "F": 30}
    assert {name: count for name, count in node["counters"].items() if count} == {"bad_tag": 1, "duplicate": 1}
    assert (found["fresh"]["last_contact"], found["fresh"]["backlog"]) == (None, {})


def test_one_node(cloud: kit.Cloud) -> None:
    """Its channels with their last readings; alerts."""
    node = ask(cloud, "/api/nodes/n1").json
    assert [(c["id"], c["channel"], c["last"]["value"]) for c in node["channels"]] == [  # type: ignore[index]
        (1, "air.temperature", 20.59), (2, NASTY, 50),
    ]  # fmt: skip
    (alert,) = ask(cloud, "/api/nodes/n1/alerts").json  # type: ignore[misc]
    assert (alert["kind"], alert["text"]) == ("alarm", "air.temperature above high: 31.25 degC (limit 30.00 degC)")


def pages(cloud: kit.Cloud, target: str) -> list[dict[str, object]]:
    """All readings, page by page along `next`."""
    found: list[dict[str, object]] = []
    following: str | None = target
    while following:
        answer = ask(cloud, following)
        page: dict = answer.json  # type: ignore[assignment]
        following = page["next"]
        assert answer.headers.get("Link") == (f'<{following}>; rel="next"' if following else None)
        found += page["readings"]
    return found


def test_json_comes_by_pages_without_loss(cloud: kit.Cloud) -> None:
    """Pages of an odd size, cut within rows and frames, join to what one page says and what the command says."""
    whole = pages(cloud, "/api/nodes/n1/readings?limit=10000")
    assert len(whole) == 30 * (ROWS + ROWS // 10)
    assert pages(cloud, "/api/nodes/n1/readings?limit=97") == whole
    one = pages(cloud, f"/api/nodes/n1/readings?limit=7&channel={quote(NASTY)}")
    assert one == [reading for reading in whole if reading["channel"] == NASTY] and len(one) == 180
    command = cloud.query("query", "n1", "--format", "json")
    assert [(r["time"], r["channel"], float(r["value"])) for r in command] == [
        (r["time"], r["channel"], r["value"]) for r in whole
    ]


def test_csv_is_streamed_whole_or_by_pages(cloud: kit.Cloud) -> None:
    """Exact decimals; pages by the Link header."""
    answer = ask(cloud, "/api/nodes/n1/readings?format=csv")
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="n1.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.body)))
    assert len(rows) == 1980
    del rows[0]["time"]
    assert rows[0] == {"channel": "air.temperature", "value": "20.00", "unit": "degC", "quality": "2"}
    found, following = [], "/api/nodes/n1/readings?format=csv&limit=1000"
    while following:
        page = ask(cloud, following)
        found += list(csv.DictReader(io.StringIO(page.body)))
        found[0].pop("time", None)
        link = page.headers.get("Link")
        following = link.split(">")[0][1:] if link else ""
    assert found == rows


@pytest.mark.parametrize("unit", ["unix", "iso"])
def test_bounds(cloud: kit.Cloud, now: int, unit: str) -> None:
    """From is included, to is not; both readings at the bound's moment count."""
    start = now - 30 * 3600 + 600
    bounds = [start, start + 600]
    text = [str(b) if unit == "unix" else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(b)) for b in bounds]
    found = pages(cloud, f"/api/nodes/n1/readings?from={text[0]}&to={text[1]}")
    assert [r["value"] for r in found if r["channel"] == "air.temperature"] == pytest.approx(
        [20.1 + n / 100 for n in range(10)]
    )
    assert [r["value"] for r in found if r["channel"] == NASTY] == [10]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/nodes/n2", 404),
        ("/api/nodes/n2/readings?format=csv", 404),
        ("/nodes/n2", 404),
        ("/nodes/n1/plots/9.svg", 404),
        ("/nothing", 404),
        ("/nodes/%3Cscript%3E", 422),
        ("/api/nodes/..%2f..%2fcloud.sqlite3", 404),
        ("/api/nodes/n1/readings?channel=air", 400),
        ("/api/nodes/n1/readings?channel=air&format=csv", 400),
        ("/api/nodes/n1/readings?from=yesterday", 400),
        ("/api/nodes/n1/readings?from=99999999999999999999999", 400),
        ("/api/nodes/n1/readings?after=1.2", 400),
        ("/api/nodes/n1/readings?after=1.2.3.-4", 400),
        ("/api/nodes/n1/readings?limit=0", 422),
        ("/api/nodes/n1/readings?limit=10001", 422),
        ("/api/nodes/n1/readings?limit=many", 422),
        ("/api/nodes/n1/readings?format=xml", 422),
        ("/api/nodes/n1/alerts?limit=1001", 422),
        ("/nodes/n1?span=year", 422),
        ("/static/../../store.py", 404),
        ("/static/..%2f..%2fstore.py", 404),
        ("/static/%2e%2e/%2e%2e/store.py", 404),
        ("/static//etc/passwd", 404),
        ("/static/", 404),
    ],
)
def test_refusals(cloud: kit.Cloud, target: str, status: int) -> None:
    """A status that says whose fault it is, nothing of the program's inside, and the process goes on."""
    answer = ask(cloud, target)
    assert answer.status == status, answer.body
    assert "Traceback" not in answer.body and "/cloud/" not in answer.body
    assert answer.headers["Content-Type"] == "application/json" or "<" not in answer.body


def test_it_is_read_only(cloud: kit.Cloud) -> None:
    """No other method; the database is opened so that it cannot be written."""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert ask(cloud, "/api/nodes/n1", method).status == 405
    db = store.connect_to_read(cloud.data)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM node")
    db.close()


def test_every_answer_is_guarded(cloud: kit.Cloud) -> None:
    """Headers on pages, data, errors and files; another site's name for this address is refused."""
    for target in ("/", "/nodes/n1", "/api/nodes", "/nothing", "/static/style.css", "/nodes/n1/plots/1.svg"):
        headers = ask(cloud, target).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "server" not in headers
    policy = ask(cloud, "/").headers["Content-Security-Policy"]
    assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert ask(cloud, "/", Host="evil.example").status == 400
    assert ask(cloud, "/", Host="localhost:1").status == 200
    head = ask(cloud, "/api/nodes", "HEAD")
    assert (head.status, head.body) == (200, "")


def test_names_are_escaped(cloud: kit.Cloud) -> None:
    """In pages and in plots; all that a page names is its own."""
    for target in ("/", "/nodes/n1"):
        page = ask(cloud, target).body
        assert "&lt;script&gt;alert" in page
        assert "<script>" not in page and "<b>" not in page
        assert "http:" not in page and "https:" not in page and 'src="//' not in page
    svg = ask(cloud, "/nodes/n1/plots/2.svg").body
    assert "&lt;b&gt;" in svg and "<b>" not in svg and "<script" not in svg


def test_plots_are_kept_until_something_new_comes(cloud: kit.Cloud) -> None:
    """By the reader, by ETag; a plot without readings says so."""
    first = ask(cloud, "/nodes/n1/plots/1.svg?span=week")
    assert first.status == 200 and first.headers["Content-Type"] == "image/svg+xml"
    assert "var(--line)" in first.body and "prefers-color-scheme: dark" in first.body
    again = ask(cloud, "/nodes/n1/plots/1.svg?span=week", If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, "")
    assert "no readings" in ask(cloud, "/nodes/fresh/plots/1.svg").body


def test_openapi_describes_what_is_served(cloud: kit.Cloud) -> None:
    """Every path of the API, with types; an answer has just the fields that are promised."""
    api: dict = ask(cloud, "/openapi.json").json  # type: ignore[assignment]
    assert set(api["paths"]) == {
        "/healthz", "/metrics", "/api/nodes", "/api/nodes/{node}", "/api/nodes/{node}/readings",
        "/api/nodes/{node}/alerts",
    }  # fmt: skip
    promised = api["components"]["schemas"]
    node: dict = ask(cloud, "/api/nodes/n1").json  # type: ignore[assignment]
    assert set(promised["Detail"]["properties"]) == set(node)
    page: dict = ask(cloud, "/api/nodes/n1/readings?limit=1").json  # type: ignore[assignment]
    assert set(promised["Readings"]["properties"]) == set(page)
    assert set(promised["Reading"]["properties"]) == set(page["readings"][0])
    names = {p["name"] for p in api["paths"]["/api/nodes/{node}/readings"]["get"]["parameters"]}
    assert names == {"node", "channel", "from", "to", "format", "limit", "after"}


def test_metrics(cloud: kit.Cloud, now: int) -> None:
    """As Prometheus' own parser reads them."""
    families = list(text_string_to_metric_families(ask(cloud, "/metrics").body))
    values = {
        (sample.name, sample.labels.get("node"), sample.labels.get("ring") or sample.labels.get("reason")): sample.value
        for family in families
        for sample in family.samples
    }
    assert all(family.documentation for family in families)
    assert values["fieldnode_last_contact_timestamp_seconds", "n1", None] == now
    assert 0 <= values["fieldnode_last_contact_age_seconds", "n1", None] < 120
    assert values["fieldnode_next_contact_timestamp_seconds", "n1", None] == now + 3600
    assert [values["fieldnode_node_overdue", name, None] for name in ("n1", "late", "fresh", "gone")] == [0, 1, 0, 0]
    assert values["fieldnode_node_lost", "late", None] == 0
    assert values["fieldnode_last_heard_age_seconds", "late", None] >= 7200
    assert values["fieldnode_node_refusals_total", "n1", None] == 0
    assert values["fieldnode_callout_refusals_total", None, "client_id"] == 0
    assert values["fieldnode_revoked", "gone", None] == 1
    assert values["fieldnode_battery_volts", "n1", None] == 3.712
    assert values["fieldnode_backlog_records", "n1", "F"] == 4
    assert values["fieldnode_stored_records", "n1", "F"] == 30
    assert [values["fieldnode_missing_records", "late", ring] for ring in "AF"] == [6, 0]
    assert values["fieldnode_irregular_messages_total", "late", "late"] == 1
    assert values["fieldnode_irregular_messages_total", "n1", "duplicate"] == 1
    assert values["fieldnode_irregular_messages_total", "n1", "bad_tag"] == 1
    assert ("fieldnode_last_contact_timestamp_seconds", "fresh", None) not in values
    assert values["fieldnode_database_bytes", None, None] > 4096


def test_a_slow_reader_holds_nothing_up(cloud: kit.Cloud) -> None:
    """While a stream is half read the database can be written and its log be emptied."""
    request: Any = SimpleNamespace(app=SimpleNamespace(state=SimpleNamespace(data=cloud.data)))
    stream = api._stream(request, "n1", None, None, None)
    assert next(stream).count("\n") == 501
    with sqlite3.connect(cloud.data / "cloud.sqlite3", isolation_level=None) as db:
        db.execute("UPDATE registry SET version = version + 1")
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    db.close()
    assert sum(piece.count("\n") for piece in stream) == 1480


def test_killed_it_comes_back(cloud: kit.Cloud) -> None:
    """At the same address, and the others do not notice."""
    state = json.loads((cloud.data / "run.json").read_text())
    os.kill(state["web_pid"], signal.SIGKILL)

    def back() -> bool:
        try:
            return ask(cloud, "/healthz").status == 200
        except OSError:
            return False

    kit.wait_for(back, "the page")
    after = json.loads((cloud.data / "run.json").read_text())
    assert after["web_pid"] != state["web_pid"] and after["web"] == state["web"]
    assert (after["broker_pid"], after["ingest_pid"]) == (state["broker_pid"], state["ingest_pid"])


def test_without_web_it_is_not_there_and_not_imported(tmp_path: Path) -> None:
    """A simulation does not pay for it."""
    with kit.Cloud(tmp_path) as cloud:
        assert "web" not in cloud.state and "web_pid" not in cloud.state
        modules = Path(f"/proc/{cloud.state['pid']}/maps").read_text()
        assert "pydantic_core" not in modules and "numpy" not in modules


def test_what_is_kept_follows_what_comes(tmp_path: Path) -> None:
    """A page shows a reading that was committed after the page before it."""
    keys = kit.NodeKeys(bytes(32), "acme", "n1")
    birth = keys.birth(1, 1, [(A, 1, 1), (F, 1, 3)])
    with kit.Cloud(tmp_path, "--web", "127.0.0.1:0") as cloud:
        for seq, value in ((1, "17.01"), (2, "17.02")):
            row = (time.time_ns() // 10**9 - EPOCH_2020 + seq, [1700 + seq, None])
            payload = kit.frame_payload(seq, 1, kit.codec_frame([(1, -2), (2, 0)], [row]))
            fill(tmp_path, "n1", int(time.time()), [("s", birth), ("t", keys.data(2, F, seq, payload))])
            for _ in range(2):
                assert value in ask(cloud, "/").body and value in ask(cloud, "/nodes/n1").body


def test_an_alarm_holds_until_it_is_taken_back(tmp_path: Path) -> None:
    """However many other events came since; the list shows the newest first, by time."""
    keys = kit.NodeKeys(bytes(32), "acme", "n1")
    now = int(time.time()) - EPOCH_2020

    def event(seq: int, kind: int, body: bytes) -> tuple[str, bytes]:
        return "a", keys.data(1, A, seq, kit.event_payload(kind, body, 1, 0, now - 1000 + seq, 2))

    high = event(1, 1, kit.alarm_body(1, 1, -2, 3125, 3000))
    failures = [event(seq, 2, bytes([7, seq % 2])) for seq in range(2, 61)]
    fill(tmp_path, "n1", now + EPOCH_2020, [("s", keys.birth(1, 1, [(A, 1, 99), (F, 1, 1)])), high, *failures])
    with kit.Cloud(tmp_path, "--web", "127.0.0.1:0") as cloud:
        assert '<p class="alarm-text">air.temperature above high' in ask(cloud, "/").body
        page = ask(cloud, "/nodes/n1").body
        assert "air.temperature above high" in page and page.count("<li><time>") == 30
        assert page.index("sensor 7: works again") < page.index("sensor 7: no answer")
        fill(tmp_path, "n1", now + EPOCH_2020, [event(61, 1, kit.alarm_body(1, 0, -2, 2900, 3000))])
        assert "alarm-text" not in ask(cloud, "/").body


def test_an_empty_page_says_how_a_node_is_made_known(tmp_path: Path) -> None:
    with kit.Cloud(tmp_path, "--web", "127.0.0.1:0") as cloud:
        body = ask(cloud, "/").body
    assert "<code>fieldnode provision NODE.toml --data FOLDER</code>" in body and "cloud add" not in body
