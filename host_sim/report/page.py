"""The page: figures and drawings through the template beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from host_sim.report import words
from host_sim.report.drawings import NODES_DRAWN, Drawings
from host_sim.report.recovery import recovery
from host_sim.report.run import KINDS, Run
from host_sim.report.work import work
from tools.boards import ENDURANCE

WORDS = {
    "due": "asked for by the node's own clock while it had power",
    "taken": "written to flash as a row",
    "missed": "due and never taken: a reset, a failed sensor, a clock set",
    "acknowledged": "committed by the cloud",
    "stored": "still in the node's flash, to be sent",
    "degraded": "thinned by the node to save room, and declared",
    "lost": "given up by the node, and declared",
    "duplicates": "in the database more than once; must be 0",
    "unexplained": "whatever no rule accounts for; must be 0",
}
"""The words of the ledger, one line each."""

FAMILIES = {"power": "power", "network": "network", "cloud": "cloud end", "clock": "clock"}


def render(run: Run, ledger: dict[str, Any], drawings: Drawings) -> str:
    """The whole page as text: no script, no address of another host."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=jinja2.select_autoescape(("html",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.number, duration=words.duration, size=words.size, clock=words.clock, kind=words.kind,
        unit=words.unit, svg=Markup,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        run=run,
        endurance=ENDURANCE,
        ledger=ledger,
        rows=[*((name, entry["totals"], entry["balanced"]) for name, entry in ledger["nodes"].items()),
              ("total", ledger["totals"], ledger["balanced"])],
        channels=[(f"{node} {name}", figures, figures["balanced"]) for node, entry in ledger["nodes"].items()
                  for name, figures in entry["channels"].items()],
        found=[(name, fault) for name, entry in ledger["nodes"].items() for fault in entry["faults"]],
        words=WORDS,
        drawings=drawings,
        left_out=[node.name for node in run.nodes[NODES_DRAWN:]],
        works={node.name: work(node, run.end_ms) for node in run.nodes},
        faults=[(fault, KINDS[fault.kind], recovery(fault, run.nodes)) for fault in run.faults or []],
        families={family: text for family, text in FAMILIES.items()
                  if any(KINDS[fault.kind] == family for fault in run.faults or [])},
        nodes={node.name: node for node in run.nodes},
    )  # fmt: skip
