"""GET /metrics for Prometheus. A scrape reads the database; nothing is kept between scrapes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from cloud import downlink, refusal, status, store
from cloud.web.access import Database, Now

router = APIRouter()
_NODE = ("tenant", "node")


class _Nodes(Collector):
    def __init__(self, db: sqlite3.Connection, now_ms: int, database_bytes: int) -> None:
        self._db = db
        self._now_ms = now_ms
        self._database_bytes = database_bytes

    def collect(self) -> Iterator[Metric]:
        def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"fieldnode_{name}", text, labels=(*_NODE, *labels))

        info = gauge("node_info", "Firmware of the last birth; always 1.", "firmware")
        last = gauge("last_contact_timestamp_seconds", "Unix time of the last birth.")
        age = gauge("last_contact_age_seconds", "Seconds since the last birth.")
        due = gauge("next_contact_timestamp_seconds", "Latest Unix time of the next contact, as announced.")
        heard = gauge("last_heard_age_seconds", "Seconds since the last authentic message of any kind.")
        overdue = gauge("node_overdue", "1 if the node should have been heard of by now.")
        lost = gauge("node_lost", "1 if it should have been heard of long ago.")
        revoked = gauge("revoked", "1 if the node is refused.")
        battery = gauge("battery_volts", "Battery at the last birth.")
        backlog = gauge("backlog_records", "Records announced at the last birth and not committed.", "ring")
        stored = gauge("stored_records", "Records in the database (ring F: frames, ring A: alerts and events).", "ring")
        missing = gauge("missing_records", "Records that will not come: given up, or found missing at a birth.", "ring")
        messages = CounterMetricFamily(
            "fieldnode_irregular_messages", "Messages that were not plainly taken, by why.", labels=(*_NODE, "reason")
        )
        commands = gauge("commands", "Commands for the node, by what became of them.", "status")
        waiting = gauge("oldest_command_age_seconds", "Age of the oldest command without an end; 0 if there is none.")
        refused = CounterMetricFamily(
            "fieldnode_node_refusals", "Connections and messages that the broker refused of the node's certificate.",
            labels=_NODE,
        )  # fmt: skip
        reasons = CounterMetricFamily("fieldnode_callout_refusals", "The same of all, by why.", labels=("reason",))
        total = refusal.counted(self._db, 0)
        notices = gauge("notices", "Different notices of the cloud about the node.")
        for name in status.names(self._db):
            node = status.node_status(self._db, name, self._now_ms)
            if node is None:
                continue
            labels = (node.tenant, node.node)
            overdue.add_metric(labels, node.overdue)
            lost.add_metric(labels, node.presence == "lost")
            refused.add_metric(labels, sum(node.refused.values()))
            for reason, count in node.refused.items():
                total[reason] = total.get(reason, 0) + count
            if node.last_heard_s is not None:
                heard.add_metric(labels, self._now_ms / 1000 - node.last_heard_s)
            revoked.add_metric(labels, node.revoked)
            if node.last_contact_s is not None:
                info.add_metric((*labels, node.firmware or ""), 1)
                last.add_metric(labels, node.last_contact_s)
                age.add_metric(labels, self._now_ms / 1000 - node.last_contact_s)
            if node.next_contact_s is not None:
                due.add_metric(labels, node.next_contact_s)
            if node.battery_mv is not None:
                battery.add_metric(labels, node.battery_mv / 1000)
            for family, values in ((backlog, node.backlog), (stored, node.stored), (missing, node.missing)):
                for ring, count in values.items():
                    family.add_metric((*labels, ring), count)
            for reason, count in node.counters.items():
                messages.add_metric((*labels, reason), count)
            for state, count in downlink.tally(self._db, name).items():
                commands.add_metric((*labels, state), count)
            made_ms = downlink.oldest_open_ms(self._db, name)
            waiting.add_metric(labels, 0 if made_ms is None else (self._now_ms - made_ms) / 1000)
            count = "SELECT count(*) FROM notice JOIN node ON node.id = notice.node WHERE name = ?"
            notices.add_metric(labels, self._db.execute(count, (name,)).fetchone()[0])
        for reason, count in total.items():
            reasons.add_metric((reason,), count)
        yield from (info, last, age, heard, due, overdue, lost, refused, reasons, revoked, battery, backlog, stored)
        yield from (missing, messages, commands, waiting, notices)
        yield GaugeMetricFamily("fieldnode_database_bytes", "Size of the database file.", self._database_bytes)


@router.get("/metrics", response_class=Response)
def metrics(request: Request, db: Database, now: Now) -> Response:
    """Return all metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Nodes(db, now, store.database_path(request.app.state.data).stat().st_size))
    ProcessCollector(registry=registry)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
