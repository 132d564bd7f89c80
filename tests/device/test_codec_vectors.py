"""The vectors shared with the cloud's decoder, encoded inside the VM."""

import json

from codec import Rows, encode


def _vectors():
    here = __file__.rsplit("/", 1)[0] if "/" in __file__ else "."
    with open(here + "/../vectors/codec.json") as file:
        return json.load(file)["frames"]


def test_encode():
    vectors = _vectors()
    assert vectors
    for vector in vectors:
        rows = Rows(len(vector["channels"]), len(vector["rows"]))
        rows.quality, rows.boot = vector["quality"], vector["boot"]
        for time_s, values in vector["rows"]:
            rows.add(time_s, values)
        out = bytearray(1000)
        length = encode(rows, vector["channels"], out)
        assert bytes(out[:length]) == bytes.fromhex(vector["hex"]), vector["name"]
