"""The node's messages against bytes written down from PROTOCOL.md by hand; tags made by CPython's hmac."""

import json
from binascii import unhexlify

from hmac256 import Hmac256, hmac256
from node import wire

KEY = bytes(range(32))
NONCE = b"nonce123"
STREAM_A, STREAM_F = 0x81111111, 0xF2222222
RINGS = ((1, STREAM_A, 5), (2, STREAM_F, 25))


def _bytes(text):
    return unhexlify(text.replace(" ", ""))


def _identity():
    return wire.Identity(KEY, "acme", "n-1")


def _ack(body, nonce=NONCE, tenant="acme"):
    """An authentic ACK: the protocol's tag made here, from its own words."""
    mac = Hmac256(hmac256(KEY, b"fn1 data"))
    mac.update(b"v1/" + tenant.encode() + b"/n-1\x00" + nonce + body)
    return body + mac.digest()[:8]


HEAD = _bytes("12 01 09000000 01000040 e703 0a000000")
RING_A = _bytes("01 11111181 04000000 02 00")
RING_F = _bytes("02 222222f2 10000000 0c 02 0200 0300 0800 0100")


def test_names_and_keys():
    me = _identity()
    assert me.node == "n-1"
    assert me.up["a"] == b"v1/acme/n-1/up/a" and len(me.up) == 6
    assert me.cmd == b"v1/acme/n-1/dn/cmd" and me.down == b"v1/acme/n-1/dn/+" and me.ack == b"v1/acme/n-1/dn/ack"
    assert me.nonce(7, 3, bytes(range(16))) == _bytes("f33c85ad5b9afa74")
    for key, tenant, node in ((KEY[1:], "a", "b"), (KEY, "", "b"), (KEY, "a", "B"), (KEY, "a/b", "c"), (KEY, "a", "+")):
        try:
            wire.Identity(key, tenant, node)
            raise AssertionError((key, tenant, node))
        except ValueError:
            pass


def test_birth():
    buf = bytearray(90)
    size = wire.pack_birth(
        buf, _identity(), NONCE, flags=wire.RING_FORMATTED | wire.SAFE_MODE, boot=7, conn=3, chip=0xDEADBEEF,
        firmware=0x00010203, config=10, last_cmd=11, uptime_ms=0xFFFFFFFF, wall=0x40000001, quality=2,
        next_contact=3600, battery_mv=3730, reset=3, rings=((STREAM_A, 1, 5), (STREAM_F, 9, 0xFFFFFFF0))
    )  # fmt: skip
    assert size == wire.BIRTH_SIZE == 82
    assert buf[:82] == _bytes(
        "10 05 07000000 0300 6e6f6e6365313233 efbeadde 03020100 0a000000 0b000000 ffffffff 01000040 02 100e0000"
        " 920e 03 01 11111181 01000000 05000000 02 222222f2 09000000 f0ffffff 4be1b4202d5e0ecd"
    ), buf
    assert buf[82:] == bytes(8)


def test_data():
    buf = bytearray(wire.MESSAGE_MAX)
    me = _identity()
    assert wire.pack_data(buf, me, 2, STREAM_F, 7, memoryview(b"payload")) == 25
    assert buf[:25] == _bytes("11 02 222222f2 07000000") + b"payload" + _bytes("98e0fbb9cfa3a807")
    assert wire.pack_data(buf, me, 1, 1, 1, bytes(wire.PAYLOAD_MAX)) == wire.MESSAGE_MAX
    for small, payload in ((buf, bytes(wire.PAYLOAD_MAX + 1)), (bytearray(24), b"payload")):
        try:
            wire.pack_data(small, me, 2, STREAM_F, 7, payload)
            raise AssertionError("too long and packed")
        except ValueError:
            pass


def test_ring_1_payloads():
    buf = bytearray(40)
    size = wire.pack_alarm(buf, 7, 0xFFFFFFFE, 5, 1, 3, 2, -2, -1234, -2147483648)
    assert buf[:size] == _bytes("01 07000000 feffffff 05000000 01 03 02 fe 2efbffff 00000080"), buf[:size]
    assert wire.lane(buf) == "a" and wire.event_state(buf) == (wire.ALARM, 3, 2)
    size = wire.pack_sensor(buf, 7, 1000, 0, 0, 4, 1)
    assert buf[:size] == _bytes("02 07000000 e8030000 00000000 00 04 01"), buf[:size]
    assert wire.lane(buf) == "e" and wire.event_state(buf) == (wire.SENSOR, 4, 1)
    size = wire.pack_gap(buf, 7, 1000, 0, 0, 2, 5, 0xFFFFFFF0, 1, 77)
    assert buf[:size] == _bytes("05 07000000 e8030000 00000000 00 02 05000000 f0ffffff 01 4d000000"), buf[:size]
    assert wire.lane(buf) == "e" and wire.event_state(buf) == (wire.GAP, 0, 0)


def test_ack_is_taken():
    message = HEAD + RING_A + _bytes("02 222222f2 10000000 0c 02 0200 0300 0900 0100 8ff2b03eca73f78e")
    for octets in (message, memoryview(message), bytearray(message)):
        reader = wire.AckReader(_identity(), NONCE)
        assert reader.read(octets, ((1, STREAM_A, 5), (2, STREAM_F, 26))).ackno == 9, reader.reason
    reader = wire.AckReader(_identity(), NONCE)
    ack = reader.read(_ack(HEAD + RING_A + RING_F), RINGS)
    assert reader.reason is None
    assert (ack.flags, ack.ackno, ack.now, ack.ms, ack.config) == (wire.HOLD, 9, 0x40000001, 999, 10)
    a, f = ack.rings
    assert (a.ring, a.stream, a.cum, a.credit, a.ranges) == (1, STREAM_A, 4, 2, [])
    assert (f.ring, f.stream, f.cum, f.credit, f.ranges) == (2, STREAM_F, 16, 12, [(18, 3), (24, 1)])


def test_ack_with_one_ring_or_sixteen_ranges():
    reader = wire.AckReader(_identity(), NONCE)
    assert len(reader.read(_ack(HEAD + RING_A), RINGS).rings) == 1
    many = _bytes("02 222222f2 00000000 0c 10") + b"".join([bytes((i, 0, 1, 0)) for i in range(2, 18)])
    reader = wire.AckReader(_identity(), NONCE)
    assert reader.read(_ack(HEAD + many), RINGS).rings[0].ranges[15] == (17, 1)


def _refused(reason, message, rings=RINGS, reader=None):
    reader = reader or wire.AckReader(_identity(), NONCE)
    assert reader.read(message, rings) is None, reason
    assert reader.reason == reason, (reader.reason, reason)


def test_ack_tag():
    good = _ack(HEAD + RING_A + RING_F)
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 0x10
        _refused("malformed" if at == 0 else "tag", bad)
    _refused("tag", _ack(HEAD + RING_A, nonce=b"nonce124"))
    _refused("tag", _ack(HEAD + RING_A, nonce=b""))
    _refused("tag", _ack(HEAD + RING_A, tenant="acmf"))


def test_ack_lengths_are_not_trusted():
    body = HEAD + RING_A + RING_F
    for size in range(len(body)):
        whole = size == len(HEAD + RING_A)
        short = size < len(HEAD + RING_A)
        if not whole:
            _refused("malformed", body[:size] if short else _ack(body[:size]))
    _refused("malformed", b"")
    _refused("malformed", _ack(body + b"\x00"))
    _refused("malformed", _ack(HEAD + RING_A + RING_A))
    _refused("malformed", _ack(HEAD + b"\x00" + RING_A[1:]))
    _refused("malformed", _ack(HEAD + RING_A[:-1] + b"\xff"))
    _refused("malformed", _ack(HEAD + RING_A[:-1] + b"\x11" + _bytes("01000100") * 17))
    _refused("malformed", _ack(_bytes("12 01 09000000 01000040 e803 0a000000") + RING_A))


def test_ack_must_be_new_and_ours():
    reader = wire.AckReader(_identity(), NONCE)
    message = _ack(HEAD + RING_A)
    assert reader.read(message, RINGS)
    _refused("old", message, reader=reader)
    older = _ack(HEAD[:2] + _bytes("08000000") + HEAD[6:] + RING_A)
    _refused("old", older, reader=reader)
    newer = _ack(HEAD[:2] + _bytes("0a000000") + HEAD[6:] + RING_A)
    _refused("future", newer, ((1, STREAM_A, 4),), reader)
    assert reader.read(newer, RINGS).ackno == 10, "a refused ACK must not use its number up"
    _refused("stream", message, ((1, STREAM_A + 1, 5),))
    _refused("stream", message, ((2, STREAM_A, 5),))


def test_ack_names_nothing_of_the_future():
    reader = wire.AckReader(_identity(), NONCE)
    assert reader.read(_ack(HEAD + RING_A), ((1, STREAM_A, 5),))  # cum 4 = next - 1
    _refused("future", _ack(HEAD + RING_A), ((1, STREAM_A, 4),))
    assert wire.AckReader(_identity(), NONCE).read(_ack(HEAD + RING_F), ((2, STREAM_F, 25),))  # last range ends at 24
    _refused("future", _ack(HEAD + RING_F), ((2, STREAM_F, 24),))


def _vectors():
    with open(__file__.rsplit("/", 2)[0] + "/vectors/wire.json") as file:
        vectors = json.load(file)
    return vectors, wire.Identity(unhexlify(vectors["key"]), vectors["tenant"], vectors["node"])


def test_vectors_keys_and_tags():
    vectors, me = _vectors()
    assert len(vectors["tags"]) > 3
    for case in vectors["tags"]:
        assert me.tag(unhexlify(case["message"]), unhexlify(case["nonce"])) == unhexlify(case["tag"]), case


def test_vectors_birth():
    vectors, me = _vectors()
    buf = bytearray(wire.BIRTH_SIZE)
    assert len(vectors["birth"]) > 1
    for case in vectors["birth"]:
        nonce = me.nonce(case["boot"], case["conn"], unhexlify(case["entropy"]))
        assert nonce == unhexlify(case["nonce"]), case["name"]
        assert [ring["ring"] for ring in case["rings"]] == [1, 2]
        wire.pack_birth(
            buf, me, nonce, battery_mv=case["battery"],
            rings=[(ring["stream"], ring["oldest"], ring["next"]) for ring in case["rings"]],
            **{
                name: case[name]
                for name in (
                    "flags", "boot", "conn", "chip", "firmware", "config", "last_cmd", "uptime_ms", "wall", "quality",
                    "next_contact", "reset",
                )
            }
        )  # fmt: skip
        assert buf == unhexlify(case["hex"]), case["name"]


def test_vectors_data():
    vectors, me = _vectors()
    kinds = set()
    for case in vectors["data"]:
        payload = bytearray(wire.PAYLOAD_MAX)
        body = case.get("body")
        kind = case.get("kind", "frame")
        kinds.add(kind)
        if kind == "frame":
            size = len(case["payload"]) // 2
            payload[:size] = unhexlify(case["payload"])
        else:
            head = (payload, case["boot"], case["uptime_ms"], case["wall"], case["quality"])
            if kind == "alarm":
                size = wire.pack_alarm(
                    *head, body["channel"], body["state"], body["exponent"], body["value"], body["limit"]
                )
            elif kind == "sensor":
                size = wire.pack_sensor(*head, body["sensor"], body["state"])
            elif kind == "result":
                size = wire.pack_result(*head, body["id"], body["op"], body["status"], body["detail"].encode())
                assert wire.result_of(payload) == (body["id"], body["op"], body["status"])
            else:
                assert kind == "gap"
                size = wire.pack_gap(*head, body["ring"], body["lo"], body["hi"], body["reason"], body["readings"])
            assert wire.lane(payload) == case["lane"]
        assert payload[:size] == unhexlify(case["payload"]), case["name"]
        buf = bytearray(wire.MESSAGE_MAX)
        size = wire.pack_data(buf, me, case["ring"], case["stream"], case["seq"], memoryview(payload)[:size])
        assert buf[:size] == unhexlify(case["hex"]), case["name"]
    assert kinds == {"alarm", "sensor", "gap", "result", "frame"}


def test_vectors_ack():
    vectors, me = _vectors()
    nonce = unhexlify(vectors["ack_nonce"])
    assert len(vectors["ack"]) > 3
    for case in vectors["ack"]:
        message = unhexlify(case["hex"])
        rings = [(ring["ring"], ring["stream"], 1 << 33) for ring in case["rings"]]
        reader = wire.AckReader(me, nonce)
        ack = reader.read(message, rings)
        assert ack is not None, (case["name"], reader.reason)
        for field in ("flags", "ackno", "now", "ms", "config"):
            assert getattr(ack, field) == case[field], (case["name"], field)
        assert len(ack.rings) == len(case["rings"])
        for got, said in zip(ack.rings, case["rings"]):
            assert (got.ring, got.stream, got.cum, got.credit) == (
                said["ring"],
                said["stream"],
                said["cum"],
                said["credit"],
            ), case["name"]
            ranges = [(said["cum"] + offset, length) for offset, length in said["ranges"]]
            assert got.ranges == ranges, case["name"]
        _refused("tag", message, rings, wire.AckReader(me, bytes(8)))


def test_vectors_cmd():
    vectors, me = _vectors()
    nonce = unhexlify(vectors["ack_nonce"])
    assert len(vectors["cmd"]) == 3
    for case in vectors["cmd"]:
        message = unhexlify(case["hex"])
        for octets in (message, memoryview(message)):
            found = wire.read_command(octets, me, nonce)
            assert found == (case["id"], case["ttl_s"], case["op"], unhexlify(case["args"])), case["name"]
        assert wire.read_command(message, me, bytes(8)) == "tag"
