"""How long a node took to get over a fault."""

from __future__ import annotations

from bisect import bisect_right

from host_sim.report.run import KINDS, Fault, Node


def recovery(fault: Fault, nodes: list[Node]) -> dict[str, int | None]:
    """Per node that the fault touched, the milliseconds from the end of the fault until the node was over it; None
    where the run ended first.

    - Faults of the power supply (`power_cut`, `brown_out`, `node_kill`): until the node measured again, that is until
      the world next served it a value.
    - Faults of the network and of the cloud end: until the next record of the node was committed. A node waits for its
      next contact first, so this holds up to a reporting interval in which nothing is wrong.
    - `clock_jump`: likewise until the next commit; a contact is where a clock is compared and set.

    A fault that names no node touched all of them.
    """
    moment = _measured if KINDS[fault.kind] == "power" else _committed
    touched = [node for node in nodes if fault.node in ("", node.name)]
    return {node.name: moment(node, fault.until_ms) for node in touched}


def _measured(node: Node, since_ms: int) -> int | None:
    after = []
    for channel in node.channels:
        at = bisect_right(channel.world, since_ms, key=lambda point: point.t_ms)
        after += channel.world[at : at + 1]
    return min(point.t_ms for point in after) - since_ms if after else None


def _committed(node: Node, since_ms: int) -> int | None:
    at = bisect_right(node.arrivals, since_ms, key=lambda arrival: arrival.t_ms)
    return node.arrivals[at].t_ms - since_ms if at < len(node.arrivals) else None


def slowest(fault: Fault, nodes: list[Node]) -> int | None:
    """The longest recovery of all nodes touched; None where one of them never recovered within the run."""
    took = list(recovery(fault, nodes).values())
    known = [each for each in took if each is not None]
    return max(known) if known and len(known) == len(took) else None
