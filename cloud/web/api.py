"""The HTTP API: nodes, readings (JSON by pages, CSV streamed) and alerts. FastAPI makes /openapi.json of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from cloud import query, status
from cloud.web.access import Database, Node, Now, opened

router = APIRouter()
MAX_PAGE = 10_000
_CHUNK_ROWS = 500
_COLUMNS = ("time", "channel", "value", "unit", "quality")


class Reading(BaseModel):
    """One value of one channel."""

    time: str | None
    """ISO 8601, UTC; null where the node did not know the time and no birth places it."""
    channel: str
    value: float
    unit: str
    quality: int
    """Of the time: 0 placed by the cloud, 1 estimated by the node, 2 synchronised."""


class Readings(BaseModel):
    """A page of readings in the order in which they were taken."""

    readings: list[Reading]
    next: str | None
    """The address of the next page, or null at the end."""


class Summary(BaseModel):
    """A node as of now."""

    node: str
    tenant: str
    state: Literal["expected", "overdue", "lost", "new", "revoked"]
    last_contact: str | None
    next_contact: str | None
    """The latest moment of the next contact, as the node announced it."""
    overdue: bool
    last_heard: str | None
    """When its last authentic message came, of any kind; a node that stays connected needs no new contact."""
    battery_mv: int | None
    firmware: str | None
    boot: int | None
    reset: str | None
    backlog: dict[str, int]
    """Records that the node announced at its last contact and that are not committed, by ring: A alerts, F frames."""
    stored: dict[str, int]
    counters: dict[str, int]
    refused: dict[str, int]
    """Connections and messages of this node that the broker refused, by reason."""


class Channel(BaseModel):
    """A channel and its last reading, if there is one."""

    id: int
    channel: str
    unit: str
    last: Reading | None


class Detail(Summary):
    """A node with its channels."""

    channels: list[Channel]


class Alert(BaseModel):
    """An event of the node, or a notice of the cloud about it."""

    kind: str
    time: str | None
    text: str


@router.get("/healthz")
def health(db: Database) -> dict[str, str]:
    """Tell that the database can be read."""
    db.execute("SELECT count(*) FROM node").fetchone()
    return {"status": "ok"}


@router.get("/api/nodes")
def nodes(db: Database, now: Now) -> list[Summary]:
    """List the nodes, by name."""
    found = (status.node_status(db, name, now) for name in status.names(db))
    return [Summary(**_summary(node)) for node in found if node is not None]


@router.get("/api/nodes/{node}")
def node(node: Node, db: Database) -> Detail:
    """Show one node."""
    last = {reading.channel_id: _reading(reading) for reading in query.latest(db, node.node)}
    known = query.channels_of(db, query.node_id(db, node.node))
    channels = [
        Channel(id=number, channel=name, unit=unit, last=last.get(number)) for number, (name, unit) in known.items()
    ]
    return Detail(**_summary(node), channels=channels)


@router.get("/api/nodes/{node}/alerts")
def alerts(node: Node, db: Database, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[Alert]:
    """List the last events of the node (alarms, sensors, gaps), oldest first, then the cloud's last notices."""
    found = query.alerts(db, node.node, limit)
    return [Alert(kind=event["kind"], time=event["time"] or None, text=event["text"]) for event in found]


@router.get(
    "/api/nodes/{node}/readings",
    response_model=Readings,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def readings(
    request: Request, node: Node, db: Database,
    channel: Annotated[str | None, Query(max_length=200, description="one channel; without it all")] = None,
    start: Annotated[str | None, Query(alias="from", max_length=40, description="ISO 8601 or Unix seconds")] = None,
    end: Annotated[str | None, Query(alias="to", max_length=40, description="the same; not included")] = None,
    format: Annotated[Literal["json", "csv"], Query()] = "json",
    limit: Annotated[
        int | None, Query(ge=1, le=MAX_PAGE, description="of a page; JSON: 1000 if not given, CSV: all in one stream")
    ] = None,
    after: Annotated[str | None, Query(max_length=80, description="as the page before gave it in `next`")] = None,
) -> Response:  # fmt: skip
    """Return readings in the order in which they were taken; `next` and the Link header lead to the next page."""
    first, last = (None if text is None else query.parse_time(text) for text in (start, end))
    as_file = {"Content-Disposition": f'attachment; filename="{node.node}.csv"'}
    if format == "csv" and limit is None and after is None:
        query.readings(db, node.node, channel, first, last)  # refuses what is unknown while a status can still be given
        return StreamingResponse(_stream(request, node.node, channel, first, last), 200, as_file, "text/csv")
    found, following = query.page(db, node.node, channel, first, last, limit or 1000, after)
    address = None if following is None else str(_relative(request, after=following))
    headers = {} if address is None else {"Link": f'<{address}>; rel="next"'}
    if format == "csv":
        return Response("".join(_csv(found)), headers=headers | as_file, media_type="text/csv")
    page = Readings(readings=[_reading(reading) for reading in found], next=address)
    return JSONResponse(page.model_dump(), headers=headers)


def _relative(request: Request, **changed: str) -> str:
    url = request.url.include_query_params(**changed)
    return f"{url.path}?{url.query}"


def _stream(
    request: Request, name: str, channel: str | None, start: int | None, end: int | None
) -> Iterator[str]:
    with opened(request) as db:
        yield from _csv(query.readings(db, name, channel, start, end))


def _csv(found: Iterable[query.Reading]) -> Iterator[str]:
    """Yield the header and the rows in pieces; values exactly as they were taken."""
    rows = iter(found)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    while True:
        chunk = list(islice(rows, _CHUNK_ROWS))
        writer.writerows((query.iso(r.time_s), r.channel, r.decimal, r.unit, r.quality) for r in chunk)
        yield buffer.getvalue()
        if len(chunk) < _CHUNK_ROWS:
            return
        buffer.seek(0)
        buffer.truncate()


def _reading(reading: query.Reading) -> Reading:
    return Reading(
        time=query.iso(reading.time_s) or None, channel=reading.channel, value=float(reading.decimal),
        unit=reading.unit, quality=reading.quality,
    )  # fmt: skip


def _summary(node: status.NodeStatus) -> dict[str, Any]:
    return {
        "node": node.node, "tenant": node.tenant, "state": node.state, "overdue": node.overdue,
        "last_contact": query.iso(node.last_contact_s) or None, "next_contact": query.iso(node.next_contact_s) or None,
        "battery_mv": node.battery_mv, "firmware": node.firmware, "boot": node.boot, "reset": node.reset,
        "backlog": node.backlog, "stored": node.stored, "counters": node.counters,
        "last_heard": query.iso(node.last_heard_s) or None,
        "refused": {reason: count for reason, count in node.refused.items() if count},
    }  # fmt: skip
