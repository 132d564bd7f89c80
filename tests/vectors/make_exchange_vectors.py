"""Writes exchange.json: what one node says and which ACKs a cloud must answer, to the byte. Run from the root:

    .venv/bin/python tests/vectors/make_exchange_vectors.py

The ACKs are stated here by hand, from lib/mqtt/PROTOCOL.md; nothing of `cloud` is asked.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "host"))

import cloudkit as kit  # noqa: E402

KEYS = kit.NodeKeys(bytes(range(32)), "acme", "greenhouse-1")
A, F, F2 = 0xA1, 0xF1, 0xF2
NOW, MS = 200_000_000, 7
CREDIT = 12


def frame(seq: int, value: int = 0) -> bytes:
    """A frame of one row."""
    return kit.frame_payload(seq, 1, kit.codec_frame([(1, -2)], [(NOW + 60 * seq, [2000 + seq + value])]))


def alarm(value: int) -> bytes:
    """An alarm."""
    return kit.event_payload(1, kit.alarm_body(1, 1, -2, value, 2000), 1, 5000, NOW, 2)


def gap(lo: int, hi: int) -> bytes:
    """A declared loss of frames."""
    return kit.event_payload(5, kit.gap_body(2, lo, hi, 1, hi - lo + 1), 1, 6000, NOW, 2)


class Exchange:
    """Steps, one message each, and the ACK owed after it."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.nonce = b""
        self.ackno = 0

    def say(self, why: str, lane: str, message: bytes, *said: tuple[Any, ...]) -> None:
        """`said`: what the ACK says of each ring, (ring, stream, cum, [(offset, length)]); none if no ACK is owed."""
        step: dict[str, Any] = {"why": why, "lane": lane, "message": message.hex(), "ack": None}
        if said:
            self.ackno += 2
            rings = [(ring, stream, cum, CREDIT, ranges) for ring, stream, cum, ranges in said]
            step["ack"] = KEYS.ack(self.nonce, 0, self.ackno, NOW, MS, 0, rings).hex()
            step["says"] = {"ackno": self.ackno, "rings": [list(ring) for ring in rings]}
        self.steps.append(step)

    def birth(self, why: str, conn: int, a: tuple[int, int], f: tuple[int, int, int], *said: tuple[Any, ...]) -> None:
        """A birth; its nonce is from then on the session's, if it is taken."""
        nonce = KEYS.nonce(1, conn, bytes(16))
        if said:
            self.nonce = nonce
        message = KEYS.birth(1, conn, [(A, *a), f], nonce=nonce, chip=7, uptime_ms=1000, wall=NOW, quality=2)
        self.say(why, "s", message, *said)


def made() -> dict[str, Any]:
    """The whole file."""
    x = Exchange()
    data = lambda ring, stream, seq, payload: KEYS.data(ring, stream, seq, payload)  # noqa: E731
    x.birth("the first birth: what lies below its oldest is a gap", 1, (1, 2), (F, 3, 8), (1, A, 0, []), (2, F, 2, []))
    x.say("an alarm", "a", data(1, A, 1, alarm(2100)), (1, A, 1, []), (2, F, 2, []))
    x.say("a frame", "t", data(2, F, 3, frame(3)), (1, A, 1, []), (2, F, 3, []))
    x.say("beyond a hole: a range, offset from cum", "t", data(2, F, 5, frame(5)), (1, A, 1, []), (2, F, 3, [(2, 1)]))
    x.say("the next to it: the range grows", "b", data(2, F, 6, frame(6)), (1, A, 1, []), (2, F, 3, [(2, 2)]))
    x.say("a duplicate is answered too", "t", data(2, F, 5, frame(5)), (1, A, 1, []), (2, F, 3, [(2, 2)]))
    x.say("another content under the same name: kept is the first", "t", data(2, F, 5, frame(5, 9)),
          (1, A, 1, []), (2, F, 3, [(2, 2)]))  # fmt: skip
    x.say("a bad tag: no answer", "t", data(2, F, 4, frame(4))[:-1] + b"\0")
    x.say("the hole is filled: cum goes over the range", "t", data(2, F, 4, frame(4)), (1, A, 1, []), (2, F, 6, []))
    x.birth("the same birth again is the same session", 1, (1, 2), (F, 3, 8), (1, A, 1, []), (2, F, 6, []))
    x.say("a gap event: 7..8 of ring 2 will not come", "e", data(1, A, 2, gap(7, 8)), (1, A, 2, []), (2, F, 8, []))
    x.say("one comes after all: taken, the gap shrinks", "t", data(2, F, 7, frame(7)), (1, A, 2, []), (2, F, 8, []))
    x.birth("the next contact: 9..10 are found missing", 2, (2, 3), (F, 11, 12), (1, A, 2, []), (2, F, 10, []))
    x.birth("a birth that is not newer: no answer, and the session stays", 1, (1, 2), (F, 3, 8))
    x.say("a frame of the new session", "t", data(2, F, 11, frame(11)), (1, A, 2, []), (2, F, 11, []))
    x.say("authentic but not decodable: stored, flagged, answered", "t", data(2, F, 12, b"\x0c\0\0\0\1\0noise"),
          (1, A, 2, []), (2, F, 12, []))  # fmt: skip
    x.birth("ring 2 was formatted: a new stream counts from 1", 3, (2, 3), (F2, 1, 2), (1, A, 2, []), (2, F2, 0, []))
    x.say("its first frame", "t", data(2, F2, 1, frame(1)), (1, A, 2, []), (2, F2, 1, []))
    return {
        "about": "one message a step, each committed alone; `ack` is owed after it, at now.ms; null: none",
        "key": KEYS.key.hex(), "tenant": "acme", "node": "greenhouse-1", "now": NOW, "ms": MS, "credit": CREDIT,
        "steps": x.steps,
    }  # fmt: skip


if __name__ == "__main__":
    (Path(__file__).parent / "exchange.json").write_text(json.dumps(made(), indent=1) + "\n")
