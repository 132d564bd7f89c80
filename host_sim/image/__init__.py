"""Reads a node's flash image from outside the node.

Written from `lib/flashring/SPEC.md`, `lib/codec/SPEC.md`, `lib/mqtt/PROTOCOL.md` and
`firmware/node/JOURNAL.md` alone: it shares no code with the device nor with the cloud, so that a fault of
theirs does not hide itself here.
"""

from host_sim.image.codec import Frame, FrameError, decode_frame
from host_sim.image.records import Event, Row, frame_rows, journal_row, read_event
from host_sim.image.ring import RingImage, read_ring, read_sectors

__all__ = [
    "Event",
    "Frame",
    "FrameError",
    "RingImage",
    "Row",
    "decode_frame",
    "frame_rows",
    "journal_row",
    "read_event",
    "read_ring",
    "read_sectors",
]
