"""The ledger: counts every reading of a run from outside the node, and convicts.

    due = taken + missed (by reason)
    taken = acknowledged + stored + degraded + lost (declared)

It knows what the world served, when each node had power, what the cloud's public command says and what
stands in the flash images; it shares no code with node or cloud. README.md has the rules.
"""

from __future__ import annotations

from pathlib import Path

from host_sim.ledger.account import Limits, account
from host_sim.ledger.book import Figures, Ledger, NodeAccount
from host_sim.ledger.cloud import Provider, command_events, command_rows
from host_sim.ledger.evidence import gather
from host_sim.ledger.run import RunError, load_run

__all__ = ["Figures", "Ledger", "Limits", "NodeAccount", "RunError", "compute"]


def compute(
    folder: Path,
    rows: Provider | None = None,
    events: Provider | None = None,
    limits: Limits | None = None,
) -> Ledger:
    """The ledger of the run in `folder`.

    `rows` and `events` give what the cloud has of a node, by default by its public command on
    `folder`/cloud. Raises RunError where an input is missing or wrong, ValueError where a flash image is
    too short.
    """
    rows = rows or command_rows(folder / "cloud")
    events = events or command_events(folder / "cloud")
    run = load_run(folder)
    limits = limits or Limits()
    return Ledger(
        [
            account(node, gather(node, rows(node.name), events(node.name)), run.end_ms, limits, run.cloud_clock)
            for node in run.nodes
        ]
    )
