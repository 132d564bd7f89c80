"""A small finished run as files, for the tests of the report: two nodes, six hours, one fault of many kinds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

START_MS = 1_780_272_000_000
HOUR = 3_600_000
MINUTE = 60_000
NODES = {"green-1": "esp32", "cellar-1": "pico_w"}
HOLE = (START_MS + 2 * HOUR, START_MS + 3 * HOUR)
"""What green-1 measured here is not in the database."""

FAULTS = [
    (START_MS + HOUR, START_MS + HOUR, "power_cut", "green-1", "at flash operation 3"),
    (START_MS + 2 * HOUR, START_MS + 3 * HOUR - MINUTE, "wifi_out", "green-1", ""),
    (START_MS + 4 * HOUR + 30 * MINUTE, START_MS + 4 * HOUR + 31 * MINUTE, "broker_kill", "", ""),
    (START_MS + 5 * HOUR + 50 * MINUTE, START_MS + 5 * HOUR + 50 * MINUTE, "clock_jump", "cellar-1", ""),
]


def figures(due: int, **others: Any) -> dict[str, Any]:
    """A channel's or node's figures as ledger.json has them."""
    names = ("acknowledged", "stored", "degraded", "lost", "duplicates", "unexplained")
    return {"due": due, "taken": due, "missed": {}, **dict.fromkeys(names, 0), "balanced": True, **others}


def table(path: Path, columns: str, rows: Iterable[Iterable[Any]]) -> None:
    """A CSV file."""
    lines = [columns, *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def iso(t_ms: int) -> str:
    """As `cloud query` writes a time."""
    return datetime.fromtimestamp(t_ms // 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_run(folder: Path) -> Path:
    """Write the folder and return it. Every minute a reading of two channels, every hour a contact."""
    end = START_MS + 6 * HOUR
    minutes = range(START_MS + 7_000, end, MINUTE)
    nodes, arrivals, ledger = [], [], {}
    for index, (name, board) in enumerate(NODES.items()):
        home = folder / "nodes" / name
        home.mkdir(parents=True)
        channels = [[1, "air.temperature", "degC", -2], [2, "light.voltage", "V", -3]]
        nodes.append(
            {
                "name": name, "board": board, "channels": channels,
                "sensors": [{"name": "air", "interval": 60}, {"name": "light", "interval": 60}],
                "rings": {"journal": [2, 4], "frames": {"sectors": [9, 8, 7]}},
            }
        )  # fmt: skip
        values = {t: (2000 + t // MINUTE % 97, 700 + t // MINUTE % 13) for t in minutes}
        table(
            home / "served.csv", "t_ms,sensor,channel,value,exponent",
            [row for t, (air, light) in values.items()
             for row in ((t, "air", "temperature", air, -2), (t, "light", "voltage", light, -3))],
        )  # fmt: skip
        held = [t for t in minutes if index or not HOLE[0] <= t < HOLE[1]]
        rows = [(iso(t), "air.temperature", values[t][0] / 100, "degC", 2) for t in held]
        rows += [(iso(t), "light.voltage", values[t][1] / 1000, "V", 2) for t in held]
        table(home / "database.csv", "time,channel,value,unit,quality", [*rows, ("", "light.voltage", 1, "V", 0)])
        power = [(START_MS + 5_000, "on", "power"), (START_MS + 8_000, "sleep", "")]
        power += [row for t in minutes[1:] for row in ((t - 1_000, "wake", ""), (t + 1_000, "sleep", ""))]
        power += [(START_MS + HOUR + 1_500, "on", "power"), (START_MS + HOUR + 2_500, "sleep", "")]
        table(home / "power.csv", "t_ms,event,reason", sorted(power))
        contacts = [START_MS + hour * HOUR + index * 10 * MINUTE for hour in range(1, 6)]
        table(
            home / "contacts.csv", "join_ms,open_ms,end_ms,bytes_up,bytes_down",
            [(t, "" if hour == 2 else t + 2_000, t + 4_000, 1000, 500) for hour, t in enumerate(contacts, 1)],
        )  # fmt: skip
        good = [(hour, t) for hour, t in enumerate(contacts, 1) if hour not in (2, 4)]
        arrivals += [(t + 3_000, name, 2, 77, hour, 120, 200) for hour, t in good]
        worn: dict[str, Any] = {"sector_size": 4096, "erases": [0, 0, 5, 4, 4, 4, 0, 1, 2, 3], "programmed_bytes": 6000}
        if not index:
            worn["projected_years"] = {"frames": 2920.4}
        (home / "wear.json").write_text(json.dumps(worn))
        parts = {name: figures(360, acknowledged=300, stored=60) for _, name, _, _ in channels}
        parts["air.temperature"].update(taken=358, missed={"reset": 2}, stored=58)
        totals = figures(720, taken=718, missed={"reset": 2}, acknowledged=600, stored=118)
        ledger[name] = {"balanced": True, "totals": totals, "channels": parts, "faults": []}
    record = {"start_ms": START_MS, "end_ms": end, "seed": 7, "seconds": 33.4, "faults": "default", "days": 0.25}
    (folder / "run.json").write_text(json.dumps({**record, "nodes": nodes}))
    totals = figures(1440, taken=1436, missed={"reset": 4}, acknowledged=1200, stored=236)
    (folder / "ledger.json").write_text(json.dumps({"balanced": True, "totals": totals, "nodes": ledger}))
    table(folder / "arrivals.csv", "t_ms,node,ring,stream,seq,readings,bytes", sorted(arrivals))
    table(folder / "faults.csv", "t_ms,until_ms,kind,node,detail", FAULTS)
    return folder
