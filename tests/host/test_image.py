"""The reader of flash images against a writer made from the specification."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from ledgerkit import RINGS, SECTOR, RingWriter, Row, encode_frame
from ledgerkit import crc24 as printed_crc24

from host_sim.image import FrameError, decode_frame, frame_rows, journal_row, read_event, read_ring
from host_sim.image.crc import crc24

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "codec.json").read_text())


def test_crc_is_the_one_of_the_catalogue():
    assert crc24(b"123456789") == printed_crc24(b"123456789") == 0x21CF02  # CRC-24/OPENPGP
    assert crc24(b"6789", crc24(b"12345")) == 0x21CF02


def test_a_blank_ring_is_empty_and_a_written_one_without_header_is_a_fault():
    blank = read_ring(b"\xff" * 4 * SECTOR, 0, 4, SECTOR)
    assert (blank.records, blank.next, blank.stream, blank.faults) == ([], 1, 0, [])
    assert read_ring(b"\xff" * 3 * SECTOR + b"\x00" * SECTOR, 0, 4, SECTOR).faults
    with pytest.raises(ValueError, match="before sector 4"):
        read_ring(b"", 0, 4, SECTOR)


@pytest.mark.parametrize("granularity", [1, 16, 32, 256])
@pytest.mark.parametrize("seed", range(4))
def test_a_ring_reads_as_written(granularity: int, seed: int):
    chance = random.Random(seed)
    ring = RingWriter(4, 77, granularity)
    written: dict[int, bytes] = {}
    for _ in range(chance.randrange(1, 400)):
        act = chance.random()
        if act < 0.8 or not written:
            payload = chance.randbytes(chance.randrange(0, 200))
            written[ring.append(payload)] = payload
        elif act < 0.9 and ring.released + 1 < ring.next:
            ring.release(chance.randrange(ring.released + 1, ring.next))
        elif act < 0.95 and ring.released + 1 < ring.next:
            ring.drop(chance.randrange(ring.released + 1, ring.next))
        else:
            ring.tear(chance.randbytes(chance.randrange(1, 6)))
    image = b"\xff" * SECTOR + bytes(ring.data)
    read = read_ring(image, 1, 4, SECTOR, granularity)
    assert (read.next, read.released, read.dropped, read.stream) == (ring.next, ring.released, ring.dropped, 77)
    assert not read.faults
    numbers = [seq for seq, _ in read.records]
    assert numbers == list(range(ring.next - len(numbers), ring.next))
    assert all(written[seq] == payload for seq, payload in read.records)


def test_a_rewind_lowers_the_cursor_by_its_place_in_the_log():
    ring = RingWriter(3, 5)
    for _ in range(9):
        ring.append(b"x")
    ring.release(7)
    ring.rewind(3)
    assert read_ring(bytes(ring.data), 0, 3, SECTOR).released == 3
    ring.release(5)
    assert read_ring(bytes(ring.data), 0, 3, SECTOR).released == 5


def test_an_entry_of_an_older_lap_does_not_fit():
    ring = RingWriter(3, 5)
    ring.append(b"old")
    entry = bytes(ring.data[28 : 28 + 13])
    while ring._lap < 3:
        ring.append(bytes(1000))
    ring.data[ring._at : ring._at + 13] = entry
    assert read_ring(bytes(ring.data), 0, 3, SECTOR).records[-1][1] == bytes(1000)


def test_the_sector_after_the_head_counts_until_all_in_it_is_released():
    """Four sectors of four records: lap 3 is the head, lap 0 lies next to be erased."""
    ring = RingWriter(4, 5)
    for _ in range(16):
        ring.append(bytes(1000))
    assert [seq for seq, _ in read_ring(bytes(ring.data), 0, 4, SECTOR).records] == list(range(1, 17))
    ring.release(3)
    assert read_ring(bytes(ring.data), 0, 4, SECTOR).records[0][0] == 1
    ring.release(4)
    assert [seq for seq, _ in read_ring(bytes(ring.data), 0, 4, SECTOR).records] == list(range(5, 17))


def test_a_ring_formatted_anew_shows_only_the_new_stream():
    ring = RingWriter(4, 5)
    for _ in range(5):
        ring.append(bytes(1000))
    ring._stream, ring._at, ring.next = 6, SECTOR, 1
    ring.append(b"new")
    read = read_ring(bytes(ring.data), 0, 4, SECTOR)
    assert (read.stream, read.records, read.next, read.faults) == (6, [(1, b"new")], 2, [])


def test_a_damaged_record_in_the_middle_is_a_fault():
    ring = RingWriter(4, 5)
    for _ in range(12):
        ring.append(bytes(1000))
    ring.data[40] ^= 1
    read = read_ring(bytes(ring.data), 0, 4, SECTOR)
    assert read.damaged == [1]
    assert read.faults == ["record 1 is damaged"]


def test_frames_decode_and_damage_is_refused():
    channels = [(1, -2), (9, 0), (3, -3)]
    rows = [
        Row(7, 2, 4, 1000, {1: 5, 9: -(1 << 31), 3: 0}, 0),
        Row(8, 2, 4, 990, {9: (1 << 31) - 1}, 0),
        Row(9, 2, 4, 1050, {}, 0),
        Row(10, 2, 4, 1110, {1: -64, 3: 64}, 0),
    ]
    data = encode_frame(rows, channels)
    frame = decode_frame(data)
    assert (frame.quality, frame.boot, frame.channels) == (2, 4, channels)
    assert frame.rows == [(row.seconds, row.values) for row in rows]
    for at in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            with pytest.raises(FrameError):
                decode_frame(bytes(broken))
    read, exponents = frame_rows(3, struct.pack("<IH", 7, 4) + data)
    assert [row.seq for row in read] == [7, 8, 9, 10] and exponents == dict(channels)
    with pytest.raises(FrameError, match="frame 3: names 5"):
        frame_rows(3, struct.pack("<IH", 7, 5) + data)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (struct.pack("<BBIIHB", 1, 0, 1, 0, 1, 1) + b"\x01\x00\x00\x01\x00", "format"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 0, 1) + b"\x01\x00", "0 rows"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 1, 0) + b"\x00", "0 channels"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 1, 33) + bytes(80), "33 channels"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 1, 2) + b"\x01\x00\x01\x00\x00\x00", "twice"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 1, 1) + b"\x01\x00\x00\x01\x00\x00", "too many"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 1, 1) + b"\x01\x00\x00\x01\x80", "inside the varint"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 1, 1) + b"\x01\x00\x00\x01\x80\x80\x80\x80\x80\x01", "longer"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 1, 1) + b"\x01\x00\x00\x01\x80\x80\x80\x80\x10", "32 bits"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 1, 1) + b"\x01", "list of channels"),
        (struct.pack("<BBIIHB", 0, 0, 1, 0, 2, 1) + b"\x01\x00\x00\x00\x00", "row 1"),
    ],
)
def test_a_decoder_refuses(body: bytes, reason: str):
    with pytest.raises(FrameError, match=reason):
        decode_frame(body + crc24(body).to_bytes(3, "little"))


def test_journal_rows():
    payload = bytes.fromhex("0102 07000000 10000000 05000000 e4000000 feffffff 03000000")
    row = journal_row(12, payload)
    assert (row.seq, row.quality, row.boot, row.wall, row.uptime) == (12, 2, 7, 1_577_836_816, None)
    assert row.values == {1: -2, 3: 3}
    unclocked = journal_row(12, bytes([1, 0]) + payload[2:])
    assert (unclocked.wall, unclocked.uptime) == (None, 16)
    for broken in (payload[:-1], payload + b"\0", b"\2" + payload[1:], payload[:17]):
        with pytest.raises(FrameError, match="journal row 12"):
            journal_row(12, broken)


def test_events():
    head = struct.pack("<IIIB", 3, 5000, 100, 2)
    gap = read_event(1, b"\5" + head + struct.pack("<BIIBI", 0, 4, 9, 1, 24))
    assert gap is not None and gap.kind == "gap" and gap.wall == 1_577_836_900
    assert gap.body == {"ring": 0, "lo": 4, "hi": 9, "reason": 1, "readings": 24}
    sensor = read_event(1, b"\2" + head[:-1] + b"\0" + b"\1\2")
    assert sensor is not None and sensor.wall is None and sensor.body == {"sensor": 1, "state": 2}
    assert read_event(1, b"\1" + head + bytes(11)) is None
    with pytest.raises(FrameError, match="kind 5"):
        read_event(1, b"\5" + head)


def test_rings_of_the_kit_lie_side_by_side():
    ends = [first + count for first, count in RINGS.values()]
    assert [first for first, _ in RINGS.values()] == [0, *ends[:-1]]


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["name"])
def test_shared_vectors_decode(vector: dict[str, Any]):
    frame = decode_frame(bytes.fromhex(vector["hex"]))
    channels = [tuple(channel) for channel in vector["channels"]]
    assert (frame.quality, frame.boot, frame.channels) == (vector["quality"], vector["boot"], channels)
    for (seconds, values), (moment, expected) in zip(frame.rows, vector["rows"], strict=True):
        assert seconds == moment
        assert [values.get(number) for number, _ in channels] == expected


@pytest.mark.parametrize("vector", VECTORS["malformed"], ids=lambda vector: vector["reason"])
def test_shared_malformed_vectors_are_refused(vector: dict[str, Any]):
    with pytest.raises(FrameError):
        decode_frame(bytes.fromhex(vector["hex"]))
