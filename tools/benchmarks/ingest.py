"""How many frames a second the cloud end takes: TLS, MQTT, broker, checked, decoded, committed, acknowledged.

Everything runs on this machine, the simulated nodes too: nats-server, the ingest worker and SQLite (WAL, synchronous =
FULL) as `python -m cloud serve` starts them, and a process of simulated nodes, each with a connection of its own and 12
frames under way. A frame is a full one of a greenhouse: 100 rows of 4 channels. Counted is what the nodes know to be
acknowledged; at the end each frame must be one row in the database, or there is no figure.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.benchmarks import Figure
from tools.catalogue import ROOT
from tools.load import frames
from tools.load.admit import admit
from tools.load.cloud import Cloud

SECTION = "ingest"
_WARM_S = 4
_RUN_S = 3
_RUNS = 5


def _rows(data: Path) -> dict[str, tuple[int, int]]:
    """Node -> (rows, highest seq) of its frames as they lie in the database."""
    with sqlite3.connect(data / "cloud.sqlite3") as db:
        found = db.execute(
            "SELECT name, count(*), max(seq) FROM record JOIN cursor ON cursor.id = record.cursor"
            " JOIN node ON node.id = cursor.node WHERE ring = 2 AND fault IS NULL GROUP BY name"
        ).fetchall()
    return {name: (count, highest) for name, count, highest in found}


def measure(count: int) -> dict[str, Any]:
    """Frames per second over _RUNS times _RUN_S with `count` nodes: `rates`, and CPU microseconds per frame of
    `broker`, `ingest` and `nodes`. RuntimeError unless every frame is exactly one row.
    """
    with tempfile.TemporaryDirectory() as folder:
        data, nodes = Path(folder) / "cloud", Path(folder) / "nodes"
        admit(data, nodes, count)
        with Cloud(data) as cloud:
            seconds = str(_WARM_S + _RUNS * _RUN_S)
            command = [sys.executable, "-m", "tools.load.nodes", nodes, cloud.state["mqtt"], "--seconds", seconds]
            used = {child: cloud.cpu_s(child) for child in ("broker", "ingest")}
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=240)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            *said, end = [json.loads(line) for line in done.stdout.splitlines()]
            used = {child: cloud.cpu_s(child) - before_s for child, before_s in used.items()}
            used["nodes"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        rows = _rows(data)
    wrong = {name: (sent, rows.get(name)) for name, sent in end["sent"].items() if rows.get(name) != (sent, sent)}
    if wrong or not end["drained"]:
        raise RuntimeError(f"ingest: of {count} nodes' frames not each is one row: {dict(list(wrong.items())[:3])}")
    marks = said[_WARM_S - 1 :: _RUN_S]
    rates = [
        (late["frames"] - early["frames"]) / (late["second"] - early["second"])
        for early, late in zip(marks, marks[1:], strict=False)
    ]
    return {"rates": rates, "resent": end["resent"], "lost": end["lost"],
            **{name: 1e6 * seconds / end["frames"] for name, seconds in used.items()}}  # fmt: skip


def run() -> dict[str, Figure]:
    """`frames_s`: of 300 nodes, `_100` and `_1000` of as many; `*_us`: CPU time per frame, of 300. `frame_bytes`: of
    one.
    """
    found = {count: measure(count) for count in (100, 300, 1000)}
    figures = {
        "frames_s" if count == 300 else f"frames_s_{count}": Figure.of(each["rates"], "1/s")
        for count, each in found.items()
    }
    for name in ("broker", "ingest", "nodes"):
        figures[f"{name}_us"] = Figure.exact(found[300][name], "us")
    figures["frame_bytes"] = Figure.exact(len(frames.frame(1)), "B")
    return figures
