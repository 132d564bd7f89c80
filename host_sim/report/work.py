"""What a node did: wakes, boots, contacts, radio, bytes; figures of its files."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

from host_sim.report.run import Contact, Node

_AWAKE = ("on", "wake")


@dataclass(frozen=True)
class Radio:
    """Contacts of a node. `unconnected` opened no socket; `uncommitted` opened one, and yet the cloud committed nothing
    of the node until it was closed. `on_ms` runs from join to end; bytes are those of the socket."""

    contacts: int
    unconnected: int
    uncommitted: int
    on_ms: int
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True)
class Work:
    """Wakes from deep sleep; boots by reason; awake_ms from each wake or boot to the sleep, reset or loss of power that
    ended it; `radio` is None where the run did not write contacts. `programmed_per_byte`: bytes programmed into flash
    for each byte of payload that the cloud committed, None where one of the two is unknown."""

    wakes: int
    boots: dict[str, int]
    awake_ms: int
    radio: Radio | None
    programmed_per_byte: float | None


def work(node: Node, end_ms: int) -> Work:
    """The figures of one node over a run that ended at `end_ms`."""
    boots = Counter(event.reason or "unknown" for event in node.power if event.event == "on")
    ends = [*(event.t_ms for event in node.power[1:]), end_ms]
    awake = sum(
        max(0, end - event.t_ms)
        for event, end in zip(node.power, ends, strict=False)
        if event.event in _AWAKE
    )  # fmt: skip
    payload = sum(arrival.bytes for arrival in node.arrivals)
    return Work(
        wakes=sum(event.event == "wake" for event in node.power),
        boots=dict(sorted(boots.items())),
        awake_ms=awake,
        radio=None if node.contacts is None else _radio(node, node.contacts),
        programmed_per_byte=node.wear.programmed_bytes / payload if node.wear is not None and payload else None,
    )


def _radio(node: Node, contacts: list[Contact]) -> Radio:
    opened = [contact for contact in contacts if contact.open_ms is not None]
    return Radio(
        contacts=len(contacts),
        unconnected=len(contacts) - len(opened),
        uncommitted=sum(not _committed(node, contact) for contact in opened),
        on_ms=sum(contact.end_ms - contact.join_ms for contact in contacts),
        bytes_up=sum(contact.bytes_up for contact in contacts),
        bytes_down=sum(contact.bytes_down for contact in contacts),
    )


def _committed(node: Node, contact: Contact) -> bool:
    at = bisect_left(node.arrivals, contact.join_ms, key=lambda arrival: arrival.t_ms)
    return at < len(node.arrivals) and node.arrivals[at].t_ms <= contact.end_ms
