"""The cloud's side of the wire: BIRTH and DATA in, ACK and CMD out, keys, tags. Written from lib/mqtt/PROTOCOL.md."""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cloud import frame
from cloud.clock import EPOCH_2020

TAG_SIZE = 8
MAX_DATA = 1024
LANES = ("s", "a", "e", "t", "b", "l")
URGENT_LANES = ("s", "a", "e")
RING_OF_LANE = {"a": 1, "e": 1, "t": 2, "b": 2}
MAX_RANGES = 16
HOLD = 1
COMMANDS_WAIT = 4
MAX_ARGS = 64
MAX_DETAIL = 64
KINDS = {1: "alarm", 2: "sensor", 5: "gap", 6: "result"}
STATUSES = {1: "begun", 2: "done", 3: "failed", 4: "refused", 5: "expired", 6: "unknown"}
RING_NAMES = {0: "journal", 1: "A", 2: "F"}

_BIRTH = struct.Struct("<BBIH8s IIII I IB I H B")
_RING = struct.Struct("<BIII")
_DATA = struct.Struct("<BBII")
_EVENT = struct.Struct("<BIIIB")
_BODIES = {
    1: (struct.Struct("<BBbii"), ("channel", "state", "exponent", "value", "limit")),
    2: (struct.Struct("<BB"), ("sensor", "state")),
    5: (struct.Struct("<BIIBI"), ("ring", "lo", "hi", "reason", "readings")),
    6: (struct.Struct("<IBB"), ("id", "op", "status")),
}
_ACK = struct.Struct("<BBIIHI")
_ACK_RING = struct.Struct("<BIIBB")
_RANGE = struct.Struct("<HH")
_LAST_MS = (1 << 32) * 1000 - 1
_CMD = struct.Struct("<BIHB")
_CMD_TAG_SIZE = 16


class WireError(ValueError):
    """A message or record that breaks PROTOCOL.md; the text says where."""


@dataclass(frozen=True)
class RingState:
    """What a birth says of one ring: readable records are oldest..next-1."""

    ring: int
    stream: int
    oldest: int
    next: int


@dataclass(frozen=True)
class Birth:
    """A BIRTH; units as in PROTOCOL.md. `rings` holds ring 1 and, if the node has it, ring 2."""

    flags: int
    boot: int
    conn: int
    nonce: bytes
    chip: int
    firmware: int
    config: int
    last_cmd: int
    uptime_ms: int
    wall: int
    quality: int
    next_contact: int
    battery_mv: int
    reset: int
    rings: tuple[RingState, ...]


class Data(NamedTuple):
    """A DATA message's record: its name within the node, and the payload as it lies in the ring."""

    ring: int
    stream: int
    seq: int
    payload: bytes


@dataclass(frozen=True)
class Event:
    """A record of ring 1. `body` holds the numbers of its kind by their names in PROTOCOL.md, `detail` a result's."""

    kind: str
    boot: int
    uptime_ms: int
    wall: int
    quality: int
    body: dict[str, int]
    detail: str = ""


@dataclass(frozen=True)
class AckRing:
    """What an ACK says of one ring: committed up to `cum`, and beyond it the (first seq, length) of `ranges`."""

    ring: int
    stream: int
    cum: int
    credit: int
    ranges: Sequence[tuple[int, int]] = ()


def data_key(key: bytes) -> bytes:
    """Return Kd, what ingest holds of a node's 32-byte key."""
    return hmac.digest(key, b"fn1 data", "sha256")


def control_key(key: bytes) -> bytes:
    """Return Kc, what the command and settings services hold of a node's 32-byte key."""
    return hmac.digest(key, b"fn1 ctrl", "sha256")


def tag(key: bytes, tenant: str, node: str, message: bytes, nonce: bytes = b"") -> bytes:
    """Return the 8-byte tag of `message` (without its tag) under Kd; `nonce` where PROTOCOL.md says tag*."""
    return hmac.digest(key, f"v1/{tenant}/{node}\0".encode() + nonce + message, "sha256")[:TAG_SIZE]


def authentic(key: bytes, tenant: str, node: str, message: bytes) -> bool:
    """Tell whether the last 8 bytes of `message` are its tag."""
    return hmac.compare_digest(tag(key, tenant, node, message[:-TAG_SIZE]), message[-TAG_SIZE:])


def parse_birth(message: bytes) -> Birth:
    """Return the BIRTH in `message` (82 bytes, tag included but not checked). Raises WireError."""
    size = _BIRTH.size + 2 * _RING.size + TAG_SIZE
    if len(message) != size or message[0] != 0x10:
        raise WireError(f"no BIRTH: {len(message)} bytes of type {message[:1].hex()}h, not {size} of type 10h")
    fields = _BIRTH.unpack_from(message)[1:]
    rings = [RingState(*_RING.unpack_from(message, _BIRTH.size + index * _RING.size)) for index in (0, 1)]
    if rings[1].ring == 0:
        del rings[1]
    for expected, state in enumerate(rings, 1):
        if state.ring != expected:
            raise WireError(f"BIRTH names ring {state.ring} where ring {expected} stands")
        if not 1 <= state.oldest <= state.next:
            raise WireError(f"BIRTH: ring {state.ring} has oldest {state.oldest}, next {state.next}")
    return Birth(*fields, rings=tuple(rings))


def parse_data(message: bytes, lane: str) -> Data:
    """Return the record in the DATA `message` that came on `lane` (tag not checked). Raises WireError."""
    if not _DATA.size + TAG_SIZE <= len(message) <= MAX_DATA or message[0] != 0x11:
        raise WireError(f"no DATA: {len(message)} bytes of type {message[:1].hex()}h")
    _, ring, stream, seq = _DATA.unpack_from(message)
    if ring != RING_OF_LANE[lane]:
        raise WireError(f"ring {ring} on lane {lane}")
    if seq == 0:
        raise WireError("seq 0")
    return Data(ring, stream, seq, message[_DATA.size : -TAG_SIZE])


def parse_event(payload: bytes) -> Event:
    """Return the event in a ring-1 payload. Raises WireError for an unknown kind or a wrong length."""
    if len(payload) < _EVENT.size:
        raise WireError(f"an event of {len(payload)} bytes")
    kind, boot, uptime_ms, wall, quality = _EVENT.unpack_from(payload)
    if kind not in _BODIES:
        raise WireError(f"event of unknown kind {kind}")
    layout, names = _BODIES[kind]
    size = _EVENT.size + layout.size
    longest = size + (MAX_DETAIL if kind == 6 else 0)
    if not size <= len(payload) <= longest:
        raise WireError(f"{KINDS[kind]} event of {len(payload)} bytes, not {size}")
    body = dict(zip(names, layout.unpack_from(payload, _EVENT.size), strict=True))
    if kind == 5 and not 1 <= body["lo"] <= body["hi"]:
        raise WireError(f"gap {body['lo']}..{body['hi']}")
    # A detail that was cut to fit may end within a character.
    return Event(KINDS[kind], boot, uptime_ms, wall, quality, body, payload[size:].decode(errors="replace"))


def parse_frame_payload(payload: bytes) -> tuple[int, frame.Frame]:
    """Return (journal seq of the first row, frame) of a ring-2 payload. Raises WireError or FrameError."""
    if len(payload) < 6:
        raise WireError(f"a frame payload of {len(payload)} bytes")
    first, rows = struct.unpack_from("<IH", payload)
    decoded = frame.decode(payload[6:])
    if len(decoded.times) != rows:
        raise WireError(f"{rows} rows announced, {len(decoded.times)} in the frame")
    return first, decoded


def unix_span(decoded: frame.Frame) -> tuple[int, int] | tuple[None, None]:
    """Return the Unix seconds of the earliest and the latest row, or (None, None) if the frame counts uptime."""
    if not decoded.quality:
        return None, None
    return min(decoded.times) + EPOCH_2020, max(decoded.times) + EPOCH_2020


def last_cmd(birth: bytes) -> int:
    """Return the id of the last command taken, as the BIRTH message `birth` says."""
    return int.from_bytes(birth[28:32], "little")


def next_contact(birth: bytes) -> int:
    """Return in how many seconds from its birth the next contact comes at the latest, 0 for none announced."""
    return int.from_bytes(birth[41:45], "little")


def encode_command(
    number: int, ttl_s: int, op: int, args: bytes, *, key: bytes, tenant: str, node: str, nonce: bytes
) -> bytes:  # fmt: skip
    """Return a CMD for the session of `nonce`; `ttl_s` counts from its birth, `key` is Kc."""
    message = _CMD.pack(0x13, number, ttl_s, op) + args
    named = f"v1/{tenant}/{node}\0".encode() + nonce + message
    return message + hmac.digest(key, named, "sha256")[:_CMD_TAG_SIZE]


def encode_ack(
    *, flags: int, ackno: int, now_ms: int, config: int, rings: Sequence[AckRing],
    key: bytes, tenant: str, node: str, nonce: bytes,
) -> bytes:  # fmt: skip
    """Return an ACK. `now_ms` counts milliseconds since 2020-01-01 UTC; `key` is Kd, `nonce` the session's.

    A time that the wire cannot say becomes the nearest that it can. A cloud whose clock falls before 2020 while it
    runs so goes on acknowledging; nodes whose session begins meanwhile set their clocks to 2020-01-01, from which day
    on all certificates are valid, and are right again with their first session after the cloud is.
    """
    now_ms = min(max(now_ms, 0), _LAST_MS)
    message = bytearray(_ACK.pack(0x12, flags, ackno, now_ms // 1000, now_ms % 1000, config))
    for ring in rings:
        message += _ACK_RING.pack(ring.ring, ring.stream, ring.cum, ring.credit, len(ring.ranges))
        for first, length in ring.ranges:
            message += _RANGE.pack(first - ring.cum, length)
    return bytes(message) + tag(key, tenant, node, bytes(message), nonce)
