"""The node's encoder against the vectors it shares with the cloud's decoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from codec import FrameFull, Rows, encode
from crc import crc24

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "codec.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["crc24"], ids=lambda v: repr(v["text"]))
def test_crc24(vector: dict) -> None:
    assert f"{crc24(vector['text'].encode()):06x}" == vector["crc"]


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda v: v["name"])
def test_encode(vector: dict) -> None:
    rows = Rows(len(vector["channels"]), len(vector["rows"]))
    rows.quality, rows.boot = vector["quality"], vector["boot"]
    for time_s, values in vector["rows"]:
        rows.add(time_s, values)
    frame = bytes.fromhex(vector["hex"])
    out = bytearray(len(frame))
    assert encode(rows, vector["channels"], out) == len(frame)
    assert out == frame
    with pytest.raises(FrameFull):
        encode(rows, vector["channels"], bytearray(len(frame) - 1))
