"""README's four commands, as they are run for its picture: from a bare board to its readings."""

import csv
import urllib.request
from pathlib import Path

import pytest

from host_sim.bench import standin
from tools import session
from tools.chromium import Chromium
from tools.session import ASK, COMMANDS, ROOT, SessionError

# What stands beneath the node's name on the page: [channel, value and unit] of each of its last readings.
VALUES = """Object.fromEntries([...document.querySelectorAll('article.card .values li')].map(
    each => [each.querySelector('.name').textContent, each.querySelector('.value').textContent]))"""


def test_readmes_section_is_these_commands_in_this_order_and_nothing_else() -> None:
    words = ("No", "One", "Two", "Three", "Four", "Five")
    heading = f"## {words[len(COMMANDS)]} commands for a real board\n"
    section = (ROOT / "README.md").read_text().partition(heading)[2].partition("\n## ")[0]
    assert section, f"README.md lacks {heading}"
    told = [line[4:].split("  ")[0].rstrip() for line in section.splitlines() if line.startswith("    ")]
    assert told == list(COMMANDS)


@pytest.mark.needs("make")
@pytest.mark.needs("curl")
@pytest.mark.needs("chromium")
def test_from_a_bare_board_to_its_readings(tmp_path: Path) -> None:
    shown: dict[str, str] = {}
    stored: list[dict[str, str]] = []

    def look(page: str) -> None:
        with Chromium() as browser:
            browser.open(page)
            shown.update(browser.evaluate(VALUES))
            assert browser.errors == []
        with urllib.request.urlopen(f"{page}api/nodes/greenhouse/readings?format=csv", timeout=20) as answer:
            stored.extend(csv.DictReader(answer.read().decode().splitlines()))

    said = session.perform(tmp_path, look)
    assert [command for command, _ in said] == list(COMMANDS)
    rows = list(csv.DictReader(dict(said)[ASK].splitlines()))
    names = {"air.temperature", "air.humidity", "air.pressure", "light.voltage"}
    assert {row["channel"] for row in rows} == names
    board = tmp_path / "board"
    served = [line.split(",") for line in (board / "served.csv").read_text().splitlines()]
    true = next(int(line[3]) for line in served if line[1:3] == ["air", "temperature"])
    first = next(float(row["value"]) for row in rows if row["channel"] == "air.temperature")
    assert abs(100 * first - true) <= 1.01, "the driver's integers are within one digit of the datasheet's formula"
    assert standin.VERSION in (board / "flash.bin").read_bytes(), "the board does not run from what esptool wrote"
    assert shown.keys() == names, "the page lacks a reading"
    for channel, value in shown.items():
        known = [f"{row['value']} {row['unit']}" for row in stored if row["channel"] == channel]
        assert value in known, f"the page shows {channel} {value}, the database holds {known}"
    picture = session.picture(said)
    assert "nodes/.identity/greenhouse" in dict(said)[session.PROVISION]
    assert str(tmp_path) not in picture
    flashed = dict(said)[session.FLASH]
    assert "[y/N]: y\n" in flashed, "the image's hash was not asked about"
    assert "sha256 = " in (tmp_path / "fieldnode" / "boards" / "esp32" / "image.toml").read_text()
    assert "node" in session.keys(flashed) and "battery_mv" in session.keys(flashed)
    committed = session.drawn(session.PICTURE.read_text(encoding="utf-8"))
    assert [command for command, _ in committed] == list(COMMANDS), "stale: make pictures"
    assert session.keys(dict(committed)[session.FLASH]) == session.keys(flashed), "stale: make pictures"
    assert session.drawn(picture) == said, "what is drawn is not what was said"


def test_a_command_that_fails_ends_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PROVISION", "make provision NODE=nodes/nothing.toml")
    with pytest.raises(SessionError, match="nodes/nothing.toml"):
        session.perform(tmp_path)
