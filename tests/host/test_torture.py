"""`make torture` goes on where it stopped, begins anew with other code, and its status says what it found."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tools import torture


class Sections:
    """Stands for the sections: notes which were run; `lost` in each of them."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.lost = 0
        self.during: Callable[[], None] = lambda: None

    def __call__(self, geometry: str, part: int, share: float, code: str) -> dict[str, Any]:
        self.run.append(f"{geometry}:{part}")
        self.during()
        return {
            "cuts": 10, "kinds": {"second: all": 4}, "lost": self.lost, "wrong": 0, "unmountable": 0,
            "faults": ["lost: record 7"] if self.lost else [],
            "seconds": 60.0, "day": "2026-11-21", "version": code,
        }  # fmt: skip


@pytest.fixture
def sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sections:
    made = Sections()
    monkeypatch.setattr(torture, "RESULT", tmp_path / "build" / "torture.json")
    monkeypatch.setattr(torture, "ProcessPoolExecutor", ThreadPoolExecutor)
    monkeypatch.setattr(torture, "PARTS", 2)
    monkeypatch.setattr(torture, "section", made)
    return made


def run(*options: str) -> Result:
    return CliRunner(env={"COLUMNS": "120"}).invoke(torture.main, ["--jobs", "1", *options])


def test_it_goes_on_where_it_stopped(sections: Sections, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = run("--minutes", "0")
    assert stopped.exit_code == 3 and not sections.run and "18 sections are left" in stopped.output
    whole = run()
    assert whole.exit_code == 0 and len(sections.run) == 18, whole.output
    assert "18 of 18 sections" in whole.output and "about 1 min left" in whole.output
    kept = json.loads(torture.RESULT.read_text())
    for name in ("page:1", "policy, byte:0", "littlefs:0"):
        del kept["sections"][name]
    torture.RESULT.write_text(json.dumps(kept))
    sections.run.clear()
    assert run().exit_code == 0 and sections.run == ["policy, byte:0", "littlefs:0", "page:1"]
    sections.run.clear()
    monkeypatch.setitem(torture._MORE, "littlefs", ())
    assert run().exit_code == 0 and sections.run == ["littlefs:0", "littlefs:1"]
    sections.run.clear()
    monkeypatch.setattr(torture, "version", lambda *_: "other")
    assert run().exit_code == 0 and len(sections.run) == 18


def test_what_ran_on_code_that_changed_meanwhile_is_run_again(
    sections: Sections, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections.during = lambda: monkeypatch.setitem(torture._MORE, "littlefs", ())
    run()
    sections.run.clear()
    assert run().exit_code == 0 and sections.run == ["littlefs:0", "littlefs:1"]


def test_only_what_is_asked_for(sections: Sections) -> None:
    assert run("--only", "page", "--only", "littlefs").exit_code == 0
    assert sections.run == ["page:0", "littlefs:0", "page:1", "littlefs:1"]
    wrong = run("--only", "pages")
    assert wrong.exit_code == 2 and "there is no 'pages', but 'byte'" in wrong.output


def test_what_it_found_is_its_status(sections: Sections) -> None:
    sections.lost = 2
    said = run()
    assert said.exit_code == 1 and "lost: record 7" in said.output
    row = next(line for line in said.output.splitlines() if line.startswith("│ all"))
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "all", "18 of 18", "180", "72", "36", "0", "0", "18.0",
    ]  # fmt: skip
