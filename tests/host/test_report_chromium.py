"""The report in a real browser: it opens at once, says nothing on the console, and fits a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
import reportkit as kit

from host_sim.report import make
from tools.chromium import Chromium, ChromiumError

pytestmark = pytest.mark.needs("chromium")

WIDER = """[...document.querySelectorAll('body *')].filter(each => !each.closest('svg') &&
  each.getBoundingClientRect().right > innerWidth + 0.5).map(each => each.tagName + '.' + each.className)"""
DRAWN = "getComputedStyle(document.querySelector('figure svg:not([style]) text')).fill"
SHOWN = "[...document.querySelectorAll('svg')].filter(each => each.checkVisibility()).map(each => each.classList[0])"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(kit.write_run(tmp_path_factory.mktemp("report"))).path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_and_on_a_screen(page: Path, dark: bool) -> None:
    """At 360 px nothing sticks out; the theme reaches into the drawings; each drawing shows in one size."""
    with Chromium() as browser:
        browser.view(1280, 900, dark)
        browser.open(page)  # the first page also starts the renderer
        took = []
        for width, kinds in ((360, {"phone", "full-phone", "strip"}), (1280, {"wide", "full", "strip"})):
            browser.view(width, 800, dark)
            took.append(browser.open(page))
            assert browser.evaluate(WIDER) == []
            assert browser.evaluate("document.documentElement.scrollWidth") == width
            assert set(browser.evaluate(SHOWN)) == kinds
            assert browser.evaluate(DRAWN) == ("rgb(162, 173, 189)" if dark else "rgb(89, 98, 115)")
        assert browser.errors == []
    assert max(took) < 1000, took


def test_errors_of_a_page_are_seen(tmp_path: Path) -> None:
    """The browser tells of a script that throws, of a console error or warning and of a file that is missing."""
    broken = tmp_path / "broken.html"
    script = "console.error('said'); console.warn('hinted'); throw new Error('thrown')"
    broken.write_text(f"<img src='gone.png'><script>{script}</script>")
    with Chromium() as browser:
        browser.view(360, 800)
        browser.open(broken)
        browser.evaluate("1")
        assert {"said", "hinted"} <= set(browser.errors)
        assert any("ERR_FILE_NOT_FOUND" in error for error in browser.errors)
        assert any("Uncaught" in error for error in browser.errors)
        with pytest.raises(ChromiumError):
            browser.evaluate("nothing.there")
        with pytest.raises(ChromiumError, match="ERR_FILE_NOT_FOUND"):
            browser.open(tmp_path / "no.html")
