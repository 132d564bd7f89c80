"""README's five commands, as they are run for its picture: from a bare board to its readings."""

import csv
from pathlib import Path

import pytest

from host_sim.bench import standin
from tools import session
from tools.session import ASK, COMMANDS, ROOT, SessionError


def test_readme_tells_these_commands_in_this_order() -> None:
    lines = [line.strip() for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("    ")]
    at = [[index for index, line in enumerate(lines) if f"{line}  ".startswith(f"{each}  ")] for each in COMMANDS]
    assert at[0], f"README.md lacks {COMMANDS[0]}"
    assert at == [[at[0][0] + index] for index in range(len(COMMANDS))]


@pytest.mark.needs("make")
@pytest.mark.needs("curl")
def test_from_a_bare_board_to_its_readings(tmp_path: Path) -> None:
    said = session.perform(tmp_path)
    assert [command for command, _ in said] == list(COMMANDS)
    rows = list(csv.DictReader(dict(said)[ASK].splitlines()))
    names = {"air.temperature", "air.humidity", "air.pressure", "light.voltage"}
    assert {row["channel"] for row in rows} == names
    board = tmp_path / "board"
    served = [line.split(",") for line in (board / "served.csv").read_text().splitlines()]
    true = next(int(line[3]) for line in served if line[1:3] == ["air", "temperature"])
    stored = next(float(row["value"]) for row in rows if row["channel"] == "air.temperature")
    assert abs(100 * stored - true) <= 1.01, "the driver's integers are within one digit of the datasheet's formula"
    assert standin.VERSION in (board / "flash.bin").read_bytes(), "the board does not run from what esptool wrote"
    drawn = session.picture(said)
    assert "nodes/.identity/greenhouse" in dict(said)[session.PROVISION]
    assert str(tmp_path) not in drawn


def test_a_command_that_fails_ends_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "PROVISION", "make provision NODE=nodes/nothing.toml")
    with pytest.raises(SessionError, match="nodes/nothing.toml"):
        session.perform(tmp_path)
