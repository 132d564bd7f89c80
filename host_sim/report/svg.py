"""A matplotlib figure as a small inline SVG whose colours are CSS variables: one drawing for both themes."""

from __future__ import annotations

import html
import io
import re

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

COLOURS = {
    name: f"#0102{index:02x}"
    for index, name in enumerate(
        ("ink", "muted", "grid", "card", "world", "data", "missing", "power", "network", "cloud", "clock", "wear")
    )
}
"""Name of a CSS variable -> the colour that stands for it in a drawing."""

_NAMES = {colour: name for name, colour in COLOURS.items()}
_DROPPED = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL
)
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_PLACED = re.compile(r'\b(d|transform|x|y|width|height|points)="([^"]*)"')
_UNWANTED = [
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r' (?:id|xml:space|clip-path)="[^"]*"',  # everything is drawn within its axes
        r"<defs>\s*<clipPath>.*?</defs>",
        r" font-family: [^;\"]*;",  # the page's
        r' transform="rotate\(-?0 [^"]*"',
        r" stroke-line(?:join: miter|cap: square);?",
    )
]
_MARKED = re.compile(r'<g id="title:([^"]*)">')


def draw(figure: Figure, label: str, css: str) -> str:
    """The figure as `<svg class=css>` with `label` for screen readers.

    An artist whose gid is `title:TEXT` gets TEXT as its tooltip. Widths and heights are left to the page: only the
    viewBox stays, in points.
    """
    settings = {"svg.fonttype": "none", "svg.hashsalt": "fieldnode", "path.simplify": True}
    with matplotlib.rc_context(settings), io.StringIO() as file:
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
        text = file.getvalue()
    text = _DROPPED.sub("", text)
    text = _PLACED.sub(lambda match: f'{match[1]}="{_NUMBER.sub(_rounded, match[2])}"', text)
    text = re.sub(r"#0102[0-9a-f]{2}", lambda match: f"var(--{_NAMES[match[0]]})", text)
    text = _MARKED.sub(lambda match: f"<g><title>{match[1]}</title>", text)
    for unwanted in _UNWANTED:
        text = unwanted.sub("", text)
    text = re.sub(r' d="([^"CQ]*)"', lambda match: f' d="{_shorter(match[1])}"', text)
    text = re.sub(r"\s*\n\s*", " ", text).replace("> <", "><").strip()
    while (shorter := text.replace("<g/>", "").replace("<g></g>", "")) != text:
        text = shorter
    (box,) = re.findall(r'viewBox="[^"]*"', text[:600])
    body = text[text.index(">") + 1 :]
    return f'<svg class="{css}" {box} role="img" aria-label="{html.escape(label)}">{body}'


def _shorter(path: str) -> str:
    """Straight lines need no letter each: a pair that follows M or L without one is a line."""
    return re.sub(r" ?([MLz]) ?", r"\1", path.strip()).replace("L", " ")


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match[0]):.1f}".removesuffix(".0")
