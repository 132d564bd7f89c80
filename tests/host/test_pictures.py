"""The pictures of the documentation: small, of both themes, and of a moment worth seeing."""

from __future__ import annotations

import io
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import reportkit as kit
from click.testing import CliRunner
from PIL import Image

from tools import pictures


@pytest.mark.needs("chromium")
def test_the_report_in_both_themes(tmp_path: Path) -> None:
    """Of a finished run; the live view is not touched."""
    run = kit.write_run(tmp_path / "run")
    done = CliRunner().invoke(pictures.main, ["--folder", str(run), "--into", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    ground = {}
    for theme in ("light", "dark"):
        path = tmp_path / "out" / f"report-{theme}.png"
        assert path.stat().st_size < pictures.MOST_BYTES
        with Image.open(path) as image:
            assert image.size == (1.5 * pictures.WIDTH, 1.5 * pictures.HEIGHT)
            rgb = image.convert("RGB").getpixel((5, 5))
            assert isinstance(rgb, tuple)
            ground[theme] = sum(rgb)
    assert ground["light"] > 700 and ground["dark"] < 100
    assert not (tmp_path / "out" / "live.svg").exists()


def test_without_chromium_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is simulated."""
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(pictures.main, ["--into", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert done.stderr == "pictures: Chromium is not installed (Debian: apt install chromium)\n"


def test_a_picture_that_is_too_big_is_refused() -> None:
    noise = Image.frombytes("RGB", (600, 600), random.Random(1).randbytes(3 * 600 * 600))
    with io.BytesIO() as file:
        noise.save(file, "png")
        with pytest.raises(ValueError, match="at most 250000"):
            pictures.optimise(file.getvalue())


def test_the_live_view_shows_the_middle_with_a_fault_if_there_is_one() -> None:
    def status(share: float, *faults: str) -> SimpleNamespace:
        return SimpleNamespace(share=share, nodes=[SimpleNamespace(faults=faults)])

    watcher = pictures.Watcher()
    seen = [status(0.3, "stall"), status(0.6), status(0.7), status(0.8, "wifi_out"), status(0.85, "slow"), status(1.0)]
    kept = []
    for each in seen:
        watcher(each)
        kept.append(watcher.status and watcher.status.share)
    assert kept == [None, 0.6, 0.6, 0.8, 0.8, 0.8]
