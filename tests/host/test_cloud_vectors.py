"""The cloud's codec and wire against the shared vectors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudkit as kit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud import frame, wire

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
CODEC: dict[str, Any] = json.loads((VECTORS / "codec.json").read_text())
WIRE: dict[str, Any] = json.loads((VECTORS / "wire.json").read_text())
KD = bytes.fromhex(WIRE["kd"])

WHO: tuple[str, str] = (WIRE["tenant"], WIRE["node"])


def test_the_vectors_are_what_the_generator_writes(tmp_path: Path) -> None:
    """Nobody edited them by hand."""
    subprocess.run([sys.executable, VECTORS / "make_cloud_vectors.py", tmp_path], check=True, timeout=20)
    for name in ("wire.json", "codec.json"):
        assert (tmp_path / name).read_text() == (VECTORS / name).read_text()


@pytest.mark.parametrize("case", CODEC["frames"], ids=lambda case: case["name"])
def test_frame(case: dict[str, Any]) -> None:
    """A good frame decodes to what was encoded."""
    decoded = frame.decode(bytes.fromhex(case["hex"]))
    assert (decoded.quality, decoded.boot, decoded.base) == (
        case["quality"],
        case["boot"],
        case["rows"][0][0],
    )
    assert [list(channel) for channel in decoded.channels] == case["channels"]
    assert [[row.t, list(row.values)] for row in decoded.rows] == case["rows"]


@pytest.mark.parametrize("case", CODEC["malformed"], ids=lambda case: case["reason"])
def test_malformed_frame(case: dict[str, str]) -> None:
    """A malformed frame is refused."""
    with pytest.raises(frame.FrameError):
        frame.decode(bytes.fromhex(case["hex"]))


def test_crc24() -> None:
    """The check value of RFC 4880's CRC, and the empty message."""
    for case in CODEC["crc24"]:
        assert f"{frame.crc24(case['text'].encode()):06x}" == case["crc"]


def test_the_multiples_that_a_crc_is_reduced_by_are_multiples() -> None:
    """Else a CRC would be wrong for some lengths only."""
    for degree, terms in frame.MULTIPLES:
        rest = 1 << degree | sum(1 << term for term in terms)
        while rest.bit_length() > 24:
            rest ^= 0x1864CFB << rest.bit_length() - 25
        assert rest == 0, degree


@given(st.binary(max_size=1100))
def test_a_crc_of_any_length(data: bytes) -> None:
    """As bit by bit."""
    assert frame.crc24(data) == kit.crc24(data)


_NUMBERS = st.one_of(st.integers(-200, 200), st.integers(-(1 << 31), (1 << 31) - 1))


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    """Frames without their CRC: rows that mostly have the same channels; maybe a byte is changed, gone or too many."""
    width = draw(st.sampled_from([1, 3, 7, 8, 9, 17]))
    usual = draw(st.lists(st.booleans(), min_size=width, max_size=width))
    rows = []
    for index in range(draw(st.integers(1, 6))):
        here = usual if draw(st.integers(0, 5)) else draw(st.lists(st.booleans(), min_size=width, max_size=width))
        rows.append((1000 + 60 * index, [draw(_NUMBERS) if there else None for there in here]))
    body = bytearray(kit.codec_frame([(index + 1, -2) for index in range(width)], rows)[:-3])
    at = draw(st.integers(13 + 2 * width, len(body) - 1))
    change = draw(st.sampled_from(["none", "none", "byte", "cut", "more"]))
    if change == "byte":
        body[at] = draw(st.integers(0, 255))
    elif change != "none":
        body[at:] = b"" if change == "cut" else body[at:] + b"\x00"
    return bytes(body)


@settings(max_examples=300)
@given(_bodies())
def test_both_ways_to_decode_agree(body: bytes) -> None:
    """The quick one for even rows, and the one for any: the same rows, or both refuse."""

    def decoded() -> list[frame.Row] | str:
        try:
            return frame.decode(kit.sealed(body)).rows
        except frame.FrameError as error:
            return str(error)

    quick = decoded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame, "_decode_even", lambda *_: None)
        assert decoded() == quick


def test_a_time_outside_32_bits_is_refused() -> None:
    """A query could not name it."""
    encoded = bytes.fromhex(next(case["hex"] for case in CODEC["frames"] if case["name"] == "time going back"))
    body = bytearray(encoded[:-3])
    body[6:10] = (199_999_999).to_bytes(4, "little")
    with pytest.raises(frame.FrameError, match="time"):
        frame.decode(bytes(body) + frame.crc24(bytes(body)).to_bytes(3, "little"))


def test_keys_and_tags() -> None:
    """Derived keys, tags with and without nonce."""
    key = bytes.fromhex(WIRE["key"])
    assert wire.data_key(key).hex() == WIRE["kd"]
    assert wire.control_key(key).hex() == WIRE["kc"]
    for case in WIRE["tags"]:
        nonce = bytes.fromhex(case["nonce"])
        assert wire.tag(KD, *WHO, bytes.fromhex(case["message"]), nonce).hex() == case["tag"]


@pytest.mark.parametrize("case", WIRE["birth"], ids=lambda case: case["name"])
def test_birth(case: dict[str, Any]) -> None:
    """Every field of a BIRTH; its tag, and that a changed bit anywhere breaks it."""
    message = bytes.fromhex(case["hex"])
    birth = wire.parse_birth(message)
    fields = (
        "boot",
        "conn",
        "chip",
        "firmware",
        "config",
        "last_cmd",
        "uptime_ms",
        "wall",
        "quality",
        "reset",
        "flags",
    )
    assert {name: getattr(birth, name) for name in fields} == {name: case[name] for name in fields}
    assert (birth.nonce.hex(), birth.battery_mv) == (case["nonce"], case["battery"])
    assert birth.next_contact == case["next_contact"]
    rings = [{"ring": r.ring, "stream": r.stream, "oldest": r.oldest, "next": r.next} for r in birth.rings]
    assert rings == case["rings"]
    assert wire.authentic(KD, *WHO, message)
    for index in range(len(message)):
        changed = message[:index] + bytes([message[index] ^ 1]) + message[index + 1 :]
        assert not wire.authentic(KD, *WHO, changed)


@pytest.mark.parametrize("case", WIRE["data"], ids=lambda case: case["name"])
def test_data(case: dict[str, Any]) -> None:
    """A DATA message and what is in its payload."""
    message = bytes.fromhex(case["hex"])
    assert wire.authentic(KD, *WHO, message)
    data = wire.parse_data(message, case["lane"])
    assert (data.ring, data.stream, data.seq) == (case["ring"], case["stream"], case["seq"])
    assert data.payload.hex() == case["payload"]
    if data.ring == 2:
        first, decoded = wire.parse_frame_payload(data.payload)
        assert (first, len(decoded.rows)) == (case["first"], case["n"])
    else:
        event = wire.parse_event(data.payload)
        assert (event.kind, event.boot, event.uptime_ms) == (case["kind"], case["boot"], case["uptime_ms"])
        detail = {"detail": event.detail} if event.kind == "result" else {}
        assert (event.wall, event.quality, event.body | detail) == (case["wall"], case["quality"], case["body"])


@pytest.mark.parametrize("case", WIRE["ack"], ids=lambda case: case["name"])
def test_ack(case: dict[str, Any]) -> None:
    """An ACK, to the byte."""
    rings = [
        wire.AckRing(r["ring"], r["stream"], r["cum"], r["credit"], [(r["cum"] + at, n) for at, n in r["ranges"]])
        for r in case["rings"]
    ]
    message = wire.encode_ack(
        flags=case["flags"], ackno=case["ackno"], now_ms=case["now"] * 1000 + case["ms"], config=case["config"],
        rings=rings, key=KD, tenant=WHO[0], node=WHO[1], nonce=bytes.fromhex(WIRE["ack_nonce"]),
    )  # fmt: skip
    assert message.hex() == case["hex"]


def _birth(at: int, value: bytes) -> bytes:
    message = bytes.fromhex(WIRE["birth"][0]["hex"])
    return message[:at] + value + message[at + len(value) :]


@pytest.mark.parametrize(
    "message",
    [b"", _birth(0, b"\x11"), _birth(0, b"\x10")[:-1], _birth(48, b"\2"), _birth(61, b"\1"), _birth(53, bytes(4)),
     _birth(53, b"\x0a\0\0\0")],
    ids=["empty", "type", "short", "ring 1", "ring 2", "oldest 0", "oldest beyond next"],
)  # fmt: skip
def test_malformed_birth(message: bytes) -> None:
    """A BIRTH that cannot be is refused."""
    with pytest.raises(wire.WireError):
        wire.parse_birth(message)


@pytest.mark.parametrize(
    ("message", "lane"),
    [(b"\x11" + bytes(16), "t"), (b"\x12\2" + b"\1" * 16, "t"), (b"\x11\2" + b"\1" * 16, "a"),
     (b"\x11\1" + b"\1" * 16, "b"), (b"\x11\2" + bytes(16), "t"), (b"\x11\2" + b"\1" * 1023, "t")],
    ids=["short", "type", "ring 2 on a", "ring 1 on b", "seq 0", "long"],
)  # fmt: skip
def test_malformed_data(message: bytes, lane: str) -> None:
    """A DATA message that cannot be is refused."""
    with pytest.raises(wire.WireError):
        wire.parse_data(message, lane)


@pytest.mark.parametrize("case", WIRE["cmd"], ids=lambda case: case["name"])
def test_cmd(case: dict[str, Any]) -> None:
    """A CMD, to the byte."""
    args = bytes.fromhex(case["args"])
    message = wire.encode_command(
        case["id"], case["ttl_s"], case["op"], args, key=bytes.fromhex(WIRE["kc"]), tenant=WHO[0], node=WHO[1],
        nonce=bytes.fromhex(WIRE["ack_nonce"]),
    )  # fmt: skip
    assert message.hex() == case["hex"]
