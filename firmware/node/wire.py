"""The messages of lib/mqtt/PROTOCOL.md: packing what the node sends, reading what it gets. No I/O."""

import struct

from hmac256 import Hmac256, equal, hmac256
from micropython import const

BIRTH_SIZE = const(82)
MESSAGE_MAX = const(1024)
PAYLOAD_MAX = const(1006)
TAG_SIZE = const(8)

_BIRTH = const(0x10)
_DATA = const(0x11)
_ACK = const(0x12)
_CMD = const(0x13)

# Flags of BIRTH.
SAFE_MODE = const(1)
TRIAL = const(2)
RING_FORMATTED = const(4)

# Flags of ACK.
HOLD = const(1)
BIRTH_AGAIN = const(2)
COMMANDS_WAIT = const(4)

# Kinds of ring-1 payloads.
ALARM = const(1)
SENSOR = const(2)
GAP = const(5)
RESULT = const(6)

# Statuses of a result.
BEGUN = const(1)
DONE = const(2)
FAILED = const(3)
REFUSED = const(4)
EXPIRED = const(5)
UNKNOWN = const(6)
DETAIL_MAX = const(64)

_BIRTH_HEAD = "<BBIH8sIIIIIIBIHB"  # type .. reset
_RING = "<BIII"  # ring, stream, oldest, next
_DATA_HEAD = "<BBII"  # type, ring, stream, seq
_EVENT_HEAD = "<BIIIB"  # kind, boot, uptime_ms, wall, quality
_ACK_HEAD = "<BBIIHI"  # type, flags, ackno, now, ms, config
_ACK_RING = "<BIIBB"  # ring, stream, cum, credit, n
_ACK_HEAD_SIZE = const(16)
_ACK_RING_SIZE = const(11)
_RANGES_MAX = const(16)
_CMD_HEAD = "<BIHB"  # type, id, ttl, op
_CMD_HEAD_SIZE = const(8)
_CMD_TAG_SIZE = const(16)
_ARGS_MAX = const(64)
_RESULT = "<IBB"  # id, op, status

_LEVEL = "abcdefghijklmnopqrstuvwxyz0123456789_-"


class Identity:
    """Who the node is on the wire: its names, topics and keys.

    `key`: K, 32 bytes. `tenant` and `node`: [a-z0-9_-], at least one character. ValueError for anything else.
    Attributes: `node` (the client id), `down` (the filter to subscribe), `up` (lane letter to topic), `ack` and
    `cmd` (the topics of ACK and CMD), topics as bytes.
    """

    def __init__(self, key, tenant, node):
        if len(key) != 32:
            raise ValueError("wire: a key of %d bytes, not 32" % len(key))
        for name in (tenant, node):
            if not name or any(c not in _LEVEL for c in name):
                raise ValueError("wire: name %r, allowed are a-z 0-9 _ -" % name)
        prefix = ("v1/" + tenant + "/" + node).encode()
        self.node = node
        self.down = prefix + b"/dn/+"
        self.ack = prefix + b"/dn/ack"
        self.cmd = prefix + b"/dn/cmd"
        self.up = {lane: prefix + b"/up/" + lane.encode() for lane in "saetbl"}
        self._key = bytes(key)
        self._named = prefix + b"\x00"
        self._data = Hmac256(hmac256(key, b"fn1 data"))

    def nonce(self, boot, conn, random):
        """The 8 bytes of one session. `random`: 16 bytes from os.urandom, taken with the radio on."""
        return hmac256(self._key, struct.pack("<IH", boot, conn), random)[:8]

    def tag(self, message, nonce=b""):
        """tag(Kd, message), 8 bytes; with the session's nonce where the protocol says tag*."""
        mac = self._data
        mac.update(self._named)
        mac.update(nonce)
        mac.update(message)
        return mac.digest()[:TAG_SIZE]

    def command_tag(self, message, nonce):
        """tag*(Kc, message), 16 bytes. Kc is made anew each time: commands are rare and memory is not."""
        return hmac256(hmac256(self._key, b"fn1 ctrl"), self._named, nonce, message)[:_CMD_TAG_SIZE]


def pack_birth(
    buf, identity, nonce, *, flags, boot, conn, chip, firmware, config, last_cmd, uptime_ms, wall, quality,
    next_contact, battery_mv, reset, rings
):  # fmt: skip
    """Packs BIRTH into `buf` (82 bytes or more); returns its length.

    The names are the protocol's. `rings`: (stream, oldest, next) of ring 1 and of ring 2.
    """
    struct.pack_into(
        _BIRTH_HEAD, buf, 0, _BIRTH, flags, boot, conn, nonce, chip, firmware, config, last_cmd, uptime_ms,
        wall, quality, next_contact, battery_mv, reset
    )  # fmt: skip
    at = 48
    ring = 1
    for stream, oldest, following in rings:
        struct.pack_into(_RING, buf, at, ring, stream, oldest, following)
        at += 13
        ring += 1
    return _seal(buf, at, identity)


def pack_data(buf, identity, ring, stream, seq, payload):
    """Packs DATA into `buf` (18 bytes more than `payload`, or more); returns its length.

    `payload` is a record as it lies in the ring. ValueError if it is over 1,006 bytes or does not fit `buf`.
    """
    end = 10 + len(payload)
    if len(payload) > PAYLOAD_MAX or end + TAG_SIZE > len(buf):
        raise ValueError("wire: a payload of %d bytes in a buffer of %d" % (len(payload), len(buf)))
    struct.pack_into(_DATA_HEAD, buf, 0, _DATA, ring, stream, seq)
    memoryview(buf)[10:end] = payload
    return _seal(buf, end, identity)


def _seal(buf, end, identity):
    tag_end = end + TAG_SIZE
    view = memoryview(buf)
    view[end:tag_end] = identity.tag(view[:end])
    return tag_end


def pack_alarm(buf, boot, uptime_ms, wall, quality, channel, state, exponent, value, limit):
    """Packs the ring-1 payload of an alarm; returns its length, 25.

    `state`: 0 back to normal, 1 above `high`, 2 below `low`. `value` and `limit` i32, times 10^`exponent`.
    """
    struct.pack_into(_EVENT_HEAD, buf, 0, ALARM, boot, uptime_ms, wall, quality)
    struct.pack_into("<BBbii", buf, 14, channel, state, exponent, value, limit)
    return 25


def pack_sensor(buf, boot, uptime_ms, wall, quality, sensor, state):
    """Packs the ring-1 payload of a sensor's change of state; returns its length, 16.

    `sensor`: index in the settings. `state`: 0 works again, 1 no answer, 2 wrong answer.
    """
    struct.pack_into(_EVENT_HEAD, buf, 0, SENSOR, boot, uptime_ms, wall, quality)
    struct.pack_into("<BB", buf, 14, sensor, state)
    return 16


def pack_gap(buf, boot, uptime_ms, wall, quality, ring, lo, hi, reason, readings):
    """Packs the ring-1 payload that declares records `lo`..`hi`, both included, lost; returns its length, 28.

    `ring`: 0 journal, 1 A, 2 F. `reason`: 1 full, 2 unreadable. `readings`: how many values went with them.
    """
    struct.pack_into(_EVENT_HEAD, buf, 0, GAP, boot, uptime_ms, wall, quality)
    struct.pack_into("<BIIBI", buf, 14, ring, lo, hi, reason, readings)
    return 28


def pack_result(buf, boot, uptime_ms, wall, quality, number, op, status, detail):
    """Packs the ring-1 payload of a command's result; returns its length, 20 and `detail`.

    `number`: the command's id; 0 for messages that were no commands of ours. `detail`: UTF-8, at most 64 bytes.
    """
    if len(detail) > DETAIL_MAX:
        raise ValueError("wire: a detail of %d bytes" % len(detail))
    struct.pack_into(_EVENT_HEAD, buf, 0, RESULT, boot, uptime_ms, wall, quality)
    struct.pack_into(_RESULT, buf, 14, number, op, status)
    end = 20 + len(detail)
    memoryview(buf)[20:end] = detail
    return end


def result_of(payload):
    """(command id, op, status) of a ring-1 record that is a result, else None."""
    return struct.unpack_from(_RESULT, payload, 14) if payload[0] == RESULT else None


def read_command(message, identity, nonce):
    """(id, ttl in s, op, args) of a CMD, or a word for why it is none of this session: malformed, tag."""
    size = len(message) - _CMD_TAG_SIZE
    if not _CMD_HEAD_SIZE <= size <= _CMD_HEAD_SIZE + _ARGS_MAX or message[0] != _CMD:
        return "malformed"
    if not equal(message[size:], identity.command_tag(message[:size], nonce)):
        return "tag"
    _, number, ttl_s, op = struct.unpack_from(_CMD_HEAD, message, 0)
    return (number, ttl_s, op, bytes(message[_CMD_HEAD_SIZE:size])) if number and op else "malformed"


def lane(payload):
    """The lane of a ring-1 record: "a" for alarms, "e" for other events."""
    return "a" if payload[0] == ALARM else "e"


def event_state(payload):
    """(kind, channel or sensor, state) of a ring-1 record; the last two are 0 for kinds that have none."""
    kind = payload[0]
    return (kind, payload[14], payload[15]) if kind in (ALARM, SENSOR) else (kind, 0, 0)


class Ack:
    """An ACK that was taken: `flags`, `ackno`, `now` (s since 2020), `ms`, `config`, and `rings`, AckRing
    objects.
    """

    def __init__(self, flags, ackno, now, ms, config, rings):
        self.flags = flags
        self.ackno = ackno
        self.now = now
        self.ms = ms
        self.config = config
        self.rings = rings


class AckRing:
    """What an ACK says of one ring: `ring`, `stream`, `cum`, `credit`, and `ranges`, pairs (first seq,
    length).
    """

    def __init__(self, ring, stream, cum, credit, ranges):
        self.ring = ring
        self.stream = stream
        self.cum = cum
        self.credit = credit
        self.ranges = ranges


class AckReader:
    """The rules by which one session takes ACKs; made anew for every BIRTH.

    `reason` says in a word why the last message was not taken: malformed, tag, old, stream, future; None if
    it was.
    """

    def __init__(self, identity, nonce):
        self._identity = identity
        self._nonce = nonce
        self._ackno = -1
        self.reason = None

    def read(self, message, rings):
        """The Ack in `message` (bytes-like), or None. `rings`: (ring, stream, next) for each ring of the
        node.
        """
        ack = None
        size = len(message) - TAG_SIZE
        if size < _ACK_HEAD_SIZE + _ACK_RING_SIZE or message[0] != _ACK:
            self.reason = "malformed"
        elif not equal(message[size:], self._identity.tag(message[:size], self._nonce)):
            self.reason = "tag"
        else:
            ack = _parse_ack(message, size)
            self.reason = "malformed" if ack is None else self._refusal(ack, rings)
        if self.reason is not None:
            return None
        self._ackno = ack.ackno
        return ack

    def _refusal(self, ack, rings):
        if ack.ackno <= self._ackno:
            return "old"
        for said in ack.rings:
            following = None
            for ring, stream, ring_next in rings:
                if ring == said.ring and stream == said.stream:
                    following = ring_next
            if following is None:
                return "stream"
            if said.cum >= following:
                return "future"
            for first, length in said.ranges:
                if first + length > following:
                    return "future"
        return None


def _parse_ack(message, size):
    """The fields of `message[:size]`, at least one ring long; None if the lengths in it do not come out
    exactly.
    """
    _, flags, ackno, now, ms, config = struct.unpack_from(_ACK_HEAD, message, 0)
    rings = []
    at = _ACK_HEAD_SIZE
    while at < size:
        if at + _ACK_RING_SIZE > size:
            return None
        ring, stream, cum, credit, n = struct.unpack_from(_ACK_RING, message, at)
        at += _ACK_RING_SIZE
        if ring not in (1, 2) or any(ring == other.ring for other in rings):
            return None
        if n > _RANGES_MAX or at + 4 * n > size:
            return None
        ranges = []
        for _ in range(n):
            offset, length = struct.unpack_from("<HH", message, at)
            ranges.append((cum + offset, length))
            at += 4
        rings.append(AckRing(ring, stream, cum, credit, ranges))
    if ms > 999:
        return None
    return Ack(flags, ackno, now, ms, config, rings)
