"""The pages: all nodes, and one node with its plots. HTML from templates that escape whatever they are given."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.templating import Jinja2Templates

from cloud import query, status
from cloud.web.access import Database, Node, Now

router = APIRouter(include_in_schema=False)
templates = Jinja2Templates(Path(__file__).parent / "templates")

SPANS = {"day": 86_400, "week": 7 * 86_400, "month": 31 * 86_400}
"""What a plot may show, in seconds up to now."""
T = TypeVar("T")
Span = Literal["day", "week", "month"]
_SHOWN_EVENTS = 30
_SEARCHED_EVENTS = 1000
"""As far back an alarm is looked for that still holds."""
PLOTS_KEPT = 256
NODES_KEPT = 1000
_STEPS = 300
"""A plot's end moves by a span's 300th, so that it can be kept for as long while nothing new comes."""


class Kept(Generic[T]):
    """What was made already and may be asked for again; the least recently asked for is dropped first."""

    def __init__(self, most: int) -> None:
        self._kept: OrderedDict[tuple[Any, ...], T] = OrderedDict()
        self._most = most
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """Return what is kept under `key`, made now if it is not there. One is made at a time."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                if len(self._kept) > self._most:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


def ago(seconds: int) -> str:
    """Return a length of time in words, to its leading unit or two: "now", "5 min", "2 h 10 min", "3 d 4 h"."""
    minutes = abs(seconds) // 60
    if minutes == 0:
        return "under a minute"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes and hours < 6 else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours and days < 4 else f"{days} d"


templates.env.globals.update(ago=ago, iso=query.iso)


def _alarms(events: list[dict[str, Any]]) -> list[str]:
    """Return what still holds: the texts of alarms and sensor failures that no later event of the same took back."""
    open_: dict[tuple[str, int], str] = {}
    for event in events:
        if event["kind"] in ("alarm", "sensor"):
            key = (event["kind"], event["channel" if event["kind"] == "alarm" else "sensor"])
            open_.pop(key, None)
            if event["state"]:
                open_[key] = event["text"]
    return list(open_.values())


def _lately(
    request: Request, db: Database, node: status.NodeStatus
) -> tuple[list[query.Reading], list[str], list[dict[str, Any]]]:
    """Return the last readings of a node, the alarms that hold and the last events, newest first.

    They are kept until it sends something or its channels are named anew.
    """

    def read() -> tuple[list[query.Reading], list[str], list[dict[str, Any]]]:
        events = query.alerts(db, node.node, _SEARCHED_EVENTS)
        newest = sorted(events, key=lambda event: event["time_s"] or 0)[-_SHOWN_EVENTS:]
        return query.latest(db, node.node), _alarms(events), newest[::-1]

    known = query.channels_of(db, query.node_id(db, node.node))
    return request.app.state.lately.get((node.node, node.commits, *known.items()), read)


@router.get("/", response_class=HTMLResponse)
def index(request: Request, db: Database, now: Now) -> Response:
    """Show all nodes: who is overdue, what they last measured, what they have not delivered."""
    shown = []
    for name in status.names(db):
        node = status.node_status(db, name, now)
        if node is not None:
            latest, alarms, _ = _lately(request, db, node)
            shown.append((node, latest, alarms))
    return templates.TemplateResponse(request, "index.html", {"nodes": shown, "now": now // 1000})


@router.get("/nodes/{node}", response_class=HTMLResponse)
def node_page(request: Request, node: Node, db: Database, now: Now, span: Annotated[Span, Query()] = "day") -> Response:
    """Show one node."""
    latest, alarms, events = _lately(request, db, node)
    context = {
        "node": node, "now": now // 1000, "span": span, "spans": list(SPANS), "latest": latest,
        "channels": query.channels_of(db, query.node_id(db, node.node)), "alarms": alarms,
        "events": events, "cursors": query.cursors(db, node.node), "version": _version(node, span, now),
    }  # fmt: skip
    return templates.TemplateResponse(request, "node.html", context)


@router.get("/nodes/{node}/plots/{channel}.svg")
def plot(
    request: Request, node: Node, channel: int, db: Database, now: Now,
    span: Annotated[Span, Query()] = "day", narrow: bool = False,
) -> Response:  # fmt: skip
    """Draw one channel, given by its id. This runs in a worker thread: the event loop goes on."""
    known = query.channels_of(db, query.node_id(db, node.node))
    if channel not in known:
        raise HTTPException(404, f"no channel {channel}")
    label, unit = known[channel]
    version = _version(node, span, now)
    etag = f'"{node.node}-{channel}-{span}-{narrow:d}-{version}"'
    headers = {
        "ETag": etag, "Cache-Control": "private, max-age=30",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    }  # fmt: skip
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)

    def draw() -> str:
        from cloud.web import plots

        step = SPANS[span] // _STEPS
        end = (now // 1000 // step + 1) * step
        start = end - SPANS[span]
        found = query.readings(db, node.node, label, start, end)
        points = sorted((r.time_s, float(r.decimal)) for r in found if r.time_s is not None)
        return plots.draw(points, unit, start, end, narrow=narrow)

    svg = request.app.state.plots.get((etag, label, unit), draw)
    return Response(svg, headers=headers, media_type="image/svg+xml")


def _version(node: status.NodeStatus, span: Span, now_ms: int) -> str:
    """What changes when a plot of the node would."""
    return f"{node.commits}-{now_ms // 1000 // (SPANS[span] // _STEPS)}"
