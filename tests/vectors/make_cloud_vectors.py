"""Write wire.json and codec.json, from the specs: `python tests/vectors/make_cloud_vectors.py [FOLDER]`.

The encoders are those of tests/host/cloudkit.py, a reading of PROTOCOL.md and SPEC.md apart from the cloud's and the
device's. Both are held against these files. Bytes are lower-case hex.
"""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "host"))

import cloudkit as kit  # noqa: E402

KEYS = kit.NodeKeys(bytes(range(32)), "acme", "greenhouse-1")
ENTROPY = bytes(range(0xA0, 0xB0))
I32_MIN, I32_MAX = -(1 << 31), (1 << 31) - 1
FRAMES: list[dict[str, Any]] = [
    {"name": "one value", "quality": 2, "boot": 1, "channels": [[1, -2]], "rows": [[200_000_000, [2150]]]},
    {
        "name": "absent values", "quality": 1, "boot": 70000, "channels": [[1, -2], [2, 0], [200, 1]],
        "rows": [[200_000_000, [2150, None, 7]], [200_000_060, [None, None, None]], [200_000_120, [2149, 5, None]],
                 [200_000_180, [None, 4, 9]]],
    },
    {"name": "negative", "quality": 2, "boot": 1, "channels": [[3, -1]],
     "rows": [[10, [-1]], [11, [-400]], [12, [-399]], [13, [0]], [14, [-65]]]},
    {"name": "32-bit extremes", "quality": 2, "boot": 0xFFFFFFFF, "channels": [[1, -128], [255, 127]],
     "rows": [[0xFFFFFF00, [I32_MAX, I32_MIN]], [0xFFFFFF01, [I32_MIN, I32_MAX]], [0xFFFFFFFF, [I32_MAX, 0]]]},
    {"name": "time going back", "quality": 2, "boot": 4, "channels": [[1, 0]],
     "rows": [[200_000_000, [1]], [199_990_000, [2]], [199_990_000, [3]], [0, [4]], [4_294_967_295, [5]]]},
    {"name": "quality 0", "quality": 0, "boot": 9, "channels": [[1, -2]], "rows": [[5, [1]], [65, [2]]]},
    {"name": "varint lengths", "quality": 2, "boot": 1, "channels": [[1, 0]],
     "rows": [[index, [value]] for index, value in enumerate(
         (63, 0, -64, 0, 64, 0, 8191, 0, 8192, 0, -8192, 0, 1048576, 0, 134217728, 0, -134217729))]},
    {"name": "nine channels", "quality": 2, "boot": 1, "channels": [[i, -i] for i in range(1, 10)],
     "rows": [[60 * r, [None if (r + i) % 3 == 0 else 100 * i + r for i in range(9)]] for r in range(1, 5)]},
    {"name": "32 channels", "quality": 2, "boot": 1, "channels": [[i, 0] for i in range(1, 33)],
     "rows": [[100, list(range(32))], [160, [None] * 31 + [-5]]]},
]  # fmt: skip


def header(**changes: int) -> bytes:
    """The header of a frame with one channel (id 1, exponent 0), base 100, one row unless changed."""
    fields = {"format": 0, "quality": 2, "boot": 1, "base": 100, "rows": 1, "channels": 1} | changes
    return struct.pack("<BBIIHB", *fields.values())


def malformed_frames() -> list[dict[str, str]]:
    """Frames that a decoder refuses, each with the reason."""
    channel, row = b"\1\0", b"\0\1\2"
    good = kit.sealed(header() + channel + row)
    many = b"".join(bytes((number, 0)) for number in range(1, 34))
    found = [
        ("empty", b""),
        ("shorter than header and CRC", good[:15]),
        ("unknown format 01h", kit.sealed(header(format=1) + channel + row)),
        ("bad CRC: a bit of the CRC", good[:-1] + bytes([good[-1] ^ 0x80])),
        ("bad CRC: a bit of the header", good[:1] + b"\1" + good[2:]),
        ("bad CRC: a bit of a value", good[:-4] + bytes([good[-4] ^ 4]) + good[-3:]),
        ("truncated by a byte", good[:-1]),
        ("a byte after the CRC", good + b"\0"),
        ("a byte after the last row", kit.sealed(header() + channel + row + b"\0")),
        ("ends before the second row", kit.sealed(header(rows=2) + channel + row)),
        ("ends within a varint", kit.sealed(header() + channel + b"\0\1\x80")),
        ("ends before the present bits", kit.sealed(header() + channel + b"\0")),
        ("ends within the channels", kit.sealed(header(channels=2) + channel)),
        ("zero rows", kit.sealed(header(rows=0) + channel)),
        ("zero channels", kit.sealed(header(channels=0) + b"\0")),
        ("33 channels", kit.sealed(header(channels=33) + many + b"\0" + bytes(5))),
        ("the same channel id twice", kit.sealed(header(channels=2) + b"\1\0\1\0" + b"\0\3\2\2")),
        ("a varint of six bytes", kit.sealed(header() + channel + b"\0\1" + b"\x80" * 5 + b"\1")),
        ("a dt varint of six bytes", kit.sealed(header() + channel + b"\x80" * 5 + b"\0\1\2")),
        ("a value of 2^31", kit.sealed(header() + channel + b"\0\1" + kit.varint(1 << 31))),
        ("a value of -2^31 - 1", kit.sealed(header() + channel + b"\0\1" + kit.varint(-(1 << 31) - 1))),
        ("a sum of 2^31", kit.sealed(header(rows=2) + channel + b"\0\1" + kit.varint(I32_MAX) + b"\0\1\2")),
    ]
    return [{"reason": reason, "hex": kit.hexed(frame)} for reason, frame in found]


def codec() -> dict[str, Any]:
    """The vectors of the codec."""
    frames = []
    for case in FRAMES:
        encoded = kit.codec_frame(case["channels"], case["rows"], case["quality"], case["boot"])
        frames.append({**case, "hex": kit.hexed(encoded)})
    return {
        "about": "rows: [t, [value or null per channel]]; encode gives hex, decode of hex gives the rest; "
        "malformed: a decoder refuses hex for the reason",
        "crc24": [{"text": "", "crc": "b704ce"}, {"text": "123456789", "crc": "21cf02"}],
        "frames": frames,
        "malformed": malformed_frames(),
    }


def births() -> list[dict[str, Any]]:
    """BIRTHs: an ordinary one, and one with every field at its limit."""
    plain = dict(flags=0, chip=0x1234ABCD, firmware=0x010203, config=7, last_cmd=0, uptime_ms=61_234, wall=200_000_000,
                 quality=2, next_contact=3600, battery=3712, reset=3)  # fmt: skip
    full = dict.fromkeys(("chip", "firmware", "config", "last_cmd", "uptime_ms", "wall", "next_contact"), 0xFFFFFFFF)
    full |= {"flags": 7, "quality": 1, "battery": 0xFFFF, "reset": 7}
    none = dict.fromkeys(plain, 0)
    cases = [
        ("ordinary", 3, 17, plain, ((0xDEADBEEF, 5, 9), (0x01020304, 100, 131))),
        ("limits", 0xFFFFFFFF, 0xFFFF, full, ((0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF),) * 2),
        ("first of a new node", 1, 1, none, ((1, 1, 1), (2, 1, 1))),
    ]
    found = []
    for name, boot, conn, fields, rings in cases:
        nonce = KEYS.nonce(boot, conn, ENTROPY)
        message = KEYS.birth(boot, conn, rings, nonce=nonce, **fields)
        names = ("ring", "stream", "oldest", "next")
        listed = [dict(zip(names, (number, *ring), strict=True)) for number, ring in enumerate(rings, 1)]
        session = {"boot": boot, "conn": conn, "entropy": kit.hexed(ENTROPY), "nonce": kit.hexed(nonce)}
        found.append({"name": name, **session, **fields, "rings": listed, "hex": kit.hexed(message)})
    return found


def datas() -> list[dict[str, Any]]:
    """DATA messages with each kind of payload, a frame of the greatest size, and an empty payload."""
    head = {"boot": 3, "uptime_ms": 61_234, "wall": 200_000_000, "quality": 2}
    alarm = {"channel": 2, "state": 2, "exponent": -2, "value": -1250, "limit": -1000}
    sensor = {"sensor": 4, "state": 1}
    gap = {"ring": 2, "lo": 17, "hi": 0xFFFFFFFE, "reason": 1, "readings": 4000}
    result = {"id": 0xFFFFFFFE, "op": 6, "status": 4}
    unset = {"boot": 0xFFFFFFFF, "uptime_ms": 0xFFFFFFFF, "wall": 0, "quality": 0}
    frame = kit.codec_frame(FRAMES[1]["channels"], FRAMES[1]["rows"], 1, 70000)
    # Header 13, channel 2, 491 rows of 2, CRC 3: 1,000 bytes.
    rows: list[tuple[int, list[int | None]]] = [(200_000_000, [None])] * 491
    largest = kit.codec_frame([(1, 0)], rows)
    events = [
        ("alarm", "a", 1, 8, head, alarm, kit.event_payload(1, kit.alarm_body(**alarm), **head)),
        (
            "sensor",
            "e",
            1,
            9,
            head,
            sensor,
            kit.event_payload(2, struct.pack("<BB", *sensor.values()), **head),
        ),
        ("gap", "e", 1, 0xFFFFFFFF, unset, gap, kit.event_payload(5, kit.gap_body(**gap), **unset)),
        ("result", "e", 1, 10, head, result | {"detail": "no light"},
         kit.event_payload(6, kit.result_body(result["id"], result["op"], result["status"], b"no light"), **head)),
    ]
    found = [
        {"name": name, "lane": lane, "ring": ring, "stream": 0xDEADBEEF, "seq": seq, "kind": name, **when, "body": body,
         "payload": kit.hexed(payload), "hex": kit.hexed(KEYS.data(ring, 0xDEADBEEF, seq, payload))}
        for name, lane, ring, seq, when, body, payload in events
    ]  # fmt: skip
    for name, lane, first, encoded, count in (
        ("frame", "t", 4000, frame, 4),
        ("largest", "b", 1, largest, len(rows)),
    ):
        payload = kit.frame_payload(first, count, encoded)
        record = {"lane": lane, "ring": 2, "stream": 0x01020304, "seq": 100}
        content = {"first": first, "n": count, "frame": kit.hexed(encoded), "payload": kit.hexed(payload)}
        message = KEYS.data(2, 0x01020304, 100, payload)
        found.append({"name": name, **record, **content, "hex": kit.hexed(message)})
    return found


def commands() -> list[dict[str, Any]]:
    """CMDs: without arguments, with some, and with every field at its limit."""
    nonce = KEYS.nonce(3, 17, ENTROPY)
    cases = [("plain", 1, 60, 1, b""), ("arguments", 212_345_678, 0, 6, b"\x05"),
             ("limits", 0xFFFFFFFF, 0xFFFF, 255, bytes(range(192, 256)))]  # fmt: skip
    return [
        {"name": name, "id": number, "ttl_s": ttl_s, "op": op, "args": kit.hexed(args),
         "hex": kit.hexed(KEYS.command(nonce, number, ttl_s, op, args))}
        for name, number, ttl_s, op, args in cases
    ]  # fmt: skip


def acks() -> list[dict[str, Any]]:
    """ACKs with one and two rings, without and with ranges, with every flag."""
    nonce = KEYS.nonce(3, 17, ENTROPY)
    many = [[2 * index + 2, 1] for index in range(16)]
    cases: list[tuple[str, int, int, int, int, int, list[tuple[int, int, int, int, list[list[int]]]]]] = [
        ("one ring", 0, 1, 200_000_001, 999, 0, [(1, 0xDEADBEEF, 8, 12, [])]),
        ("two rings", 0, 2, 200_000_002, 0, 7, [(1, 0xDEADBEEF, 8, 12, []), (2, 0x01020304, 120, 12, [])]),
        ("ranges", 0, 3, 200_000_003, 1, 7,
         [(1, 0xDEADBEEF, 0, 2, [[2, 3]]), (2, 0x01020304, 99, 255, [[3, 4], [10, 1]])]),
        ("one ring, ranges", 0, 4, 200_000_004, 500, 7, [(2, 0x01020304, 99, 12, [[2, 1], [65535, 65535]])]),
        ("sixteen ranges", 0, 5, 200_000_005, 500, 7, [(1, 0xDEADBEEF, 8, 12, []), (2, 0x01020304, 99, 12, many)]),
        ("hold", 1, 6, 200_000_006, 500, 7, [(1, 0xDEADBEEF, 8, 0, []), (2, 0x01020304, 99, 0, [])]),
        ("all flags, limits", 7, 0xFFFFFFFF, 0xFFFFFFFF, 999, 0xFFFFFFFF,
         [(1, 0xFFFFFFFF, 0xFFFFFFFF, 255, []), (2, 0xFFFFFFFF, 0, 0, [[65535, 1]])]),
    ]  # fmt: skip
    found = []
    for name, flags, ackno, now, ms, config, rings in cases:
        packed = [(*ring[:4], [(offset, length) for offset, length in ring[4]]) for ring in rings]
        message = KEYS.ack(nonce, flags, ackno, now, ms, config, packed)
        names = ("ring", "stream", "cum", "credit", "ranges")
        fields = {"flags": flags, "ackno": ackno, "now": now, "ms": ms, "config": config}
        listed = [dict(zip(names, ring, strict=True)) for ring in rings]
        found.append({"name": name, **fields, "rings": listed, "hex": kit.hexed(message)})
    return found


def wire() -> dict[str, Any]:
    """The vectors of the wire."""
    nonce = KEYS.nonce(3, 17, ENTROPY)
    return {
        "about": "all are of this node; ACKs and CMDs of session ack_nonce; range: [offset from cum, length]",
        "key": kit.hexed(KEYS.key), "tenant": KEYS.tenant, "node": KEYS.node,
        "kd": kit.hexed(KEYS.kd), "kc": kit.hexed(KEYS.kc),
        "tags": [
            {"message": kit.hexed(message), "nonce": kit.hexed(salt), "tag": kit.hexed(KEYS.tag(message, salt))}
            for message in (b"", b"\x12", bytes(range(200))) for salt in (b"", nonce)
        ],
        "birth": births(), "data": datas(), "ack_nonce": kit.hexed(nonce), "ack": acks(), "cmd": commands(),
    }  # fmt: skip


def main(folder: Path) -> None:
    """Write both files into `folder`."""
    for name, vectors in (("wire", wire()), ("codec", codec())):
        (folder / f"{name}.json").write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
