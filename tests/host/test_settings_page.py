"""The settings reference is what the schema says today, and the schema is sound."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tools import settings_page
from tools.catalogue import drivers, schema


def test_the_committed_page_is_fresh() -> None:
    assert settings_page.PAGE.read_text(encoding="utf-8") == settings_page.page(), "stale: run make docs"


def test_check_tells_a_stale_page_from_a_fresh_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_page, "ROOT", tmp_path)
    monkeypatch.setattr(settings_page, "PAGE", tmp_path / "README.md")
    run = CliRunner().invoke
    assert run(settings_page.main, ["--check"]).exit_code == 1
    assert not settings_page.PAGE.exists()
    assert run(settings_page.main).exit_code == 0
    assert run(settings_page.main, ["--check"]).exit_code == 0
    settings_page.PAGE.write_text(settings_page.page().replace("3600 s", "600 s"), encoding="utf-8")
    assert run(settings_page.main, ["--check"]).exit_code == 1


def test_the_page_names_every_setting_and_every_channel() -> None:
    lines = settings_page.page().splitlines()
    for setting in schema.SETTINGS:
        assert any(line.startswith(f"| `{setting.path.split('.')[-1]}` |") and setting.help in line for line in lines)
    for facts in drivers().values():
        for channel, _, _ in facts.channels:
            assert any(line.startswith(f"| `{channel}` |") for line in lines)


def test_every_default_is_within_its_own_limits() -> None:
    paths = [setting.path for setting in schema.SETTINGS]
    assert len(paths) == len(set(paths))
    effects = {schema.AT_ONCE, schema.NEXT_SAMPLE, schema.NEXT_CONTACT, schema.RESTART}
    for setting in schema.SETTINGS:
        assert setting.effect in effects
        if setting.default not in (schema.REQUIRED, schema.OPTIONAL):
            assert schema.check(setting, setting.default) is None, setting.path
