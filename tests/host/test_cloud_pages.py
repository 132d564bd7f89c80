"""The pages as a browser shows them: in both themes, on a desk and on a narrow phone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cloudkit as kit
import pytest
from test_cloud_web import A, F, fill, frames

from cloud.clock import EPOCH_2020
from tools.chromium import Chromium

pytestmark = pytest.mark.needs("chromium")


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Cloud]:
    """A cloud with a node that measured, one with the longest name there may be, and one that never called."""
    data = tmp_path_factory.mktemp("cloud")
    now = int(time.time())
    for name in ("n1", "w" * 32):
        keys = kit.NodeKeys(bytes(32), "acme", name)
        alarm = kit.event_payload(1, kit.alarm_body(1, 1, -2, 3125, 3000), 1, 0, now - EPOCH_2020, 2)
        birth = keys.birth(1, 1, [(A, 1, 2), (F, 1, 30)], next_contact=60)
        sent = frames(keys, now - EPOCH_2020 - 26 * 3600, 26)
        fill(data, name, now - 3600, [("s", birth), *sent, ("a", keys.data(1, A, 1, alarm))])
    fill(data, "fresh", now, [])
    with kit.Cloud(data, "--web", "127.0.0.1:0") as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """One browser."""
    with Chromium() as running:
        yield running


@pytest.fixture
def browser(chromium: Chromium) -> Chromium:
    """That nothing has complained to yet."""
    chromium.errors.clear()
    return chromium


PAGES = ["", "nodes/n1", "nodes/n1?span=month", f"nodes/{'w' * 32}", "nodes/fresh"]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 1100])
def test_no_complaint_and_no_sideways_scroll(cloud: kit.Cloud, browser: Chromium, width: int, dark: bool) -> None:
    """Every page, with all its plots loaded."""
    browser.view(width, 800, dark)
    for page in PAGES:
        browser.open(f"http://{cloud.state['web']}/{page}")
        browser.load_images()
        assert browser.errors == [], page
        assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), page
        images = browser.evaluate("[...document.images].map(image => [image.src, image.naturalWidth])")
        assert all(size > 0 for _, size in images), images
        if "n1" in page:
            assert sum("/plots/" in source for source, _ in images) == 2


CONTRAST = """
(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = parts(colour).slice(0, 3).map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (parts(colour).length === 3) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push([element.textContent.trim().slice(0, 40), ratio]);
  }
  return poor;
})()
"""  # noqa: E501


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out(cloud: kit.Cloud, browser: Chromium, dark: bool) -> None:
    """4.5 : 1 at least (WCAG 2.2, 1.4.3), and the themes differ."""
    browser.view(1100, 800, dark)
    for page in PAGES:
        browser.open(f"http://{cloud.state['web']}/{page}")
        assert browser.evaluate(CONTRAST) == [], page
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(18, 22, 27)" if dark else "rgb(245, 247, 249)"
    )


def test_the_page_follows(cloud: kit.Cloud, browser: Chromium) -> None:
    """A node added later appears without a reload, once; nothing is lost of where the reader is."""
    browser.view(390, 800)
    browser.open(f"http://{cloud.state['web']}/")
    browser.evaluate("window.mark = 1; scrollTo(0, 150)")
    cloud.add("later", bytes(32), [(1, "air.temperature", "degC")])
    seen = "document.querySelectorAll('a[href=\"/nodes/later\"]').length"
    kit.wait_for(lambda: browser.evaluate(seen) == 1, "the new node", 12)
    assert browser.evaluate("[window.mark, scrollY]") == [1, 150]
    assert browser.errors == []


def test_it_says_when_the_cloud_is_gone(browser: Chromium, tmp_path: Path) -> None:
    """What stands there is old; the notice goes when the cloud is back. Whoever returns to the page sees it at once."""
    hidden = "document.dispatchEvent(new Event('visibilitychange')), document.getElementById('offline').hidden"
    with kit.Cloud(tmp_path, "--web", "127.0.0.1:0") as cloud:
        browser.open(f"http://{cloud.state['web']}/")
        assert browser.evaluate(hidden) is True
    kit.wait_for(lambda: browser.evaluate(hidden) is False, "the notice", 12)
    with kit.Cloud(tmp_path, "--web", cloud.state["web"]):
        kit.wait_for(lambda: browser.evaluate(hidden) is True, "its end", 12)
