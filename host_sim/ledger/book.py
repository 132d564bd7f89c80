"""The ledger itself: figures per channel, sums per node and run, and the verdict."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Figures:
    """The words of the promise: due = taken + missed(reason); taken = acknowledged + stored + degraded +
    lost(declared).

    `duplicates` counts rows beyond the first of the same reading; `unexplained` whatever no rule accounts
    for.
    """

    due: int = 0
    taken: int = 0
    missed: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    stored: int = 0
    degraded: int = 0
    lost: int = 0
    duplicates: int = 0
    unexplained: int = 0

    @property
    def balanced(self) -> bool:
        """True if both equations hold and nothing is double or unexplained."""
        return (
            self.due == self.taken + self.missed.total()
            and self.taken == self.acknowledged + self.stored + self.degraded + self.lost
            and not self.duplicates
            and not self.unexplained
        )

    def add(self, other: Figures) -> None:
        """Adds the figures of `other` to these."""
        for name in vars(self):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_json(self) -> dict[str, Any]:
        """The figures by their names, `missed` by reason, and `balanced`."""
        return {**vars(self), "missed": dict(sorted(self.missed.items())), "balanced": self.balanced}

    def line(self, name: str, balanced: bool) -> str:
        """One line for a person; `balanced` is the verdict over the parts, which a sum may hide."""
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.missed.items()))
        missed = f"{self.missed.total()}{f' ({reasons})' if reasons else ''}"
        return (
            f"{name} due {self.due} = taken {self.taken} + missed {missed}; taken = acknowledged {self.acknowledged} "
            f"+ stored {self.stored} + degraded {self.degraded} + lost {self.lost}; duplicates {self.duplicates}, "
            f"unexplained {self.unexplained}: {'balanced' if balanced else 'NOT BALANCED'}"
        )


@dataclass
class NodeAccount:
    """A node's figures by channel name. `node` holds what belongs to no channel; `faults` says a line for
    each finding."""

    name: str
    channels: dict[str, Figures]
    node: Figures = field(default_factory=Figures)
    faults: list[str] = field(default_factory=list)

    @property
    def totals(self) -> Figures:
        """The sum over the channels and the node's own."""
        total = Figures()
        for figures in (*self.channels.values(), self.node):
            total.add(figures)
        return total

    @property
    def balanced(self) -> bool:
        """True if every channel balances and the node itself has nothing unexplained."""
        return self.node.balanced and all(figures.balanced for figures in self.channels.values())


@dataclass
class Ledger:
    """The accounts of all nodes of a run."""

    nodes: list[NodeAccount]

    @property
    def totals(self) -> Figures:
        """The sum over all nodes."""
        total = Figures()
        for node in self.nodes:
            total.add(node.totals)
        return total

    @property
    def balanced(self) -> bool:
        """True if every node balances, channel by channel: what is too much in one does not make up for
        another."""
        return all(node.balanced for node in self.nodes)

    def to_json(self) -> dict[str, Any]:
        """What `ledger.json` holds: balanced, totals, and per node totals, channels and faults."""
        return {
            "balanced": self.balanced,
            "totals": {**self.totals.to_json(), "balanced": self.balanced},
            "nodes": {
                node.name: {
                    "balanced": node.balanced,
                    "totals": {**node.totals.to_json(), "balanced": node.balanced},
                    "channels": {name: figures.to_json() for name, figures in node.channels.items()},
                    "faults": node.faults,
                }
                for node in self.nodes
            },
        }

    def lines(self) -> list[str]:
        """A line per node and one for the total."""
        return [
            *(node.totals.line(node.name, node.balanced) for node in self.nodes),
            self.totals.line("total", self.balanced),
        ]
