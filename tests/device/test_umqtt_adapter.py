# vm31: no, its peer is a socket
# heap: 256K
"""UmqttClient over umqtt.simple: each hazard of the stock module, shown bare and then contained.

`umqtt.simple` is the stand-in beside this file; tests/host/test_umqtt.py runs the same file over the stock module.
"""

import gc
import socket
import time

import mqtt
from mqtt.umqtt_adapter import UmqttClient
from mqttpeer import CONNACK, Clock, Peer, fault, publish_packet, until
from umqtt import simple


class Hangs(BaseException):
    """A board would wait here for ever."""


class Wire:
    """A socket for the bare module: gives what was put in `coming`, at most `piece` bytes at a time; `ended` is the
    peer's FIN. Where a blocking socket would wait without end it raises Hangs.
    """

    def __init__(self, coming=b"", ended=False):
        self.coming = coming
        self.ended = ended
        self.blocking = True
        self.writes = []
        self.closed = False

    def settimeout(self, seconds):
        self.blocking = seconds is None or seconds > 0

    def setblocking(self, flag):
        self.blocking = flag

    def connect(self, address):
        pass

    def close(self):
        self.closed = True

    def write(self, data, size=None):
        data = data.encode() if isinstance(data, str) else bytes(data if size is None else data[:size])
        self.writes.append(data)
        return len(data)

    def read(self, size):
        if len(self.coming) < size and not self.ended:
            if self.blocking:
                raise Hangs
            if not self.coming:
                return None
        part, self.coming = self.coming[:size], self.coming[size:]
        return part


class _Module:
    """Stands for the module socket; `wire` is the next socket."""

    def __init__(self, wire):
        self.wire = wire

    def socket(self, *_):
        return self.wire

    def getaddrinfo(self, *_):
        return ((0, 0, 0, "", ("127.0.0.1", 1)),)


def _bare(wire, connected=True):
    """umqtt.simple itself over `wire`."""
    client = simple.MQTTClient(b"n1", "broker", keepalive=60)
    client.set_callback(lambda topic, message: None)
    if connected:
        client.sock = wire
    return client


def _connect(client, wire):
    kept, simple.socket = simple.socket, _Module(wire)
    try:
        return client.connect()
    finally:
        simple.socket = kept


def _hangs(call, *args, **options):
    try:
        call(*args, **options)
    except Hangs:
        return True
    return False


def _raises(call, *args):
    """The type of what it raises, None for nothing."""
    try:
        call(*args)
    except Exception as error:
        return type(error)
    return None


def _up(**options):
    clock = Clock()
    client = UmqttClient("n1", clock=clock, **options)
    peer = Peer()
    client.connect(peer.address, keepalive=60)
    until(client, peer, lambda: len(peer.got) > 0)
    peer.send(CONNACK)
    until(client, peer, lambda: client.state == mqtt.UP)
    peer.got = b""
    return client, peer, clock


def _again(client, peer):
    """After a fault the same client serves: nothing of the old connection is left in it."""
    peer.close()
    peer, heard = Peer(), []
    client.set_callback(lambda topic, message: heard.append((bytes(topic), bytes(message))))
    client.connect(peer.address)
    until(client, peer, lambda: len(peer.got) > 0)
    peer.send(CONNACK + publish_packet(b"t", b"back"))
    until(client, peer, lambda: heard == [(b"t", b"back")])
    client.close()
    peer.close()


def test_the_same_bytes_as_our_own_client():
    said = []
    for make in (mqtt.Client, UmqttClient):
        client, peer = make("n1", clock=Clock()), Peer()
        client.set_callback(lambda topic, message: None)
        client.connect(peer.address, user="me", password="pw", keepalive=300)
        assert client.subscribe("d/+") and client.publish(b"u/s", b"ab", memoryview(b"xcdx")[1:3])
        assert client.publish("u/a", bytes(300), retain=True) and client.publish(b"u/a", b"one", qos=1)
        queued = client.pending()
        until(client, peer, lambda client=client: client.pending() == 0)
        peer.send(CONNACK + b"\x90\x03\x00\x01\x00" + b"\x40\x02\x00\x02")
        until(client, peer, lambda client=client: client.state == mqtt.UP and not client.unanswered())
        assert client.ping()
        peer.send(publish_packet(b"t", b"hi", first=0x32, packet_id=b"\x12\x34"))
        until(client, peer, lambda peer=peer: peer.got[-4:] == b"\x40\x02\x12\x34")
        client.disconnect()
        until(None, peer, lambda peer=peer: peer.got[-2:] == b"\xe0\x00")
        said.append((queued, peer.got))
        peer.close()
    assert said[0] == said[1], said


def test_no_connack():
    wire = Wire()
    assert _hangs(_connect, _bare(wire, False), wire)
    clock = Clock()
    client, peer = UmqttClient("n1", clock=clock, answer_ms=1000), Peer()
    client.connect(peer.address)
    until(client, peer, lambda: len(peer.got) > 0)
    clock.pass_ms(1000)
    fault(client, "connack", peer)
    _again(client, peer)


def test_connack_in_pieces_and_no_more():
    wire = Wire(CONNACK[:3])
    assert _hangs(_connect, _bare(wire, False), wire)
    clock = Clock()
    client, peer = UmqttClient("n1", clock=clock, answer_ms=1000), Peer()
    client.connect(peer.address)
    until(client, peer, lambda: len(peer.got) > 0)
    for at in range(3):
        peer.send(CONNACK[at : at + 1])
        client.check_msg()
        clock.pass_ms(400)
    fault(client, "connack", peer)
    _again(client, peer)


def test_end_in_connack():
    wire = Wire(CONNACK[:1], ended=True)
    assert _raises(_connect, _bare(wire, False), wire) is IndexError
    client, peer = UmqttClient("n1", clock=Clock()), Peer()
    client.connect(peer.address)
    until(client, peer, lambda: len(peer.got) > 0)
    peer.send(CONNACK[:1])
    peer.close()
    fault(client, "eof", peer)
    _again(client, peer)


def test_a_refusal_is_no_oserror_and_leaves_the_socket_open():
    wire = Wire(b"\x20\x02\x00\x05")
    assert _raises(_connect, _bare(wire, False), wire) is simple.MQTTException
    assert not issubclass(simple.MQTTException, OSError) and not wire.closed
    client, peer = UmqttClient("n1", clock=Clock()), Peer()
    client.connect(peer.address)
    until(client, peer, lambda: len(peer.got) > 0)
    peer.send(b"\x20\x02\x00\x05")
    fault(client, "refused", peer)
    _again(client, peer)


def test_other_packet_in_place_of_connack_is_an_assertion():
    wire = Wire(publish_packet(b"t", b"x"))
    assert _raises(_connect, _bare(wire, False), wire) is AssertionError
    client, peer = UmqttClient("n1", clock=Clock()), Peer()
    client.connect(peer.address)
    until(client, peer, lambda: len(peer.got) > 0)
    peer.send(publish_packet(b"t", b"x"))
    fault(client, "protocol", peer)
    _again(client, peer)


def test_wait_msg_takes_the_timeout_away():
    wire = Wire(b"\xd0\x00")
    wire.settimeout(5)
    wire.blocking = False
    _bare(wire).wait_msg()
    assert wire.blocking
    client, peer, clock = _up(answer_ms=1000)
    assert client.ping()
    until(client, peer, lambda: peer.got == b"\xc0\x00")
    peer.send(b"\xd0\x00")
    until(client, peer, lambda: not client._incoming.pinging)
    assert client.publish(b"t", b"x", qos=1)
    client.check_msg()
    clock.pass_ms(1000)
    fault(client, "ack", peer)
    _again(client, peer)


def test_half_a_packet():
    packet = publish_packet(b"t", b"0123456789")
    wire = Wire(packet[:4])
    assert _hangs(_bare(wire).check_msg)
    client, peer, clock = _up(answer_ms=1000)
    for at in range(4):
        peer.send(packet[at : at + 1])
        until(client, peer, lambda held=at + 1: client._inbox.held() == held)
        clock.pass_ms(300)
    fault(client, "packet", peer)
    _again(client, peer)


def test_end_in_and_between_packets():
    packet = publish_packet(b"t", b"payload")
    assert _raises(_bare(Wire(b"", ended=True)).check_msg) is OSError
    for cut in (1, 2, 3):
        assert _raises(_bare(Wire(packet[:cut], ended=True)).check_msg) is IndexError
    assert _raises(_bare(Wire(packet[:-1], ended=True)).check_msg) is None  # half a message, as if it were whole
    for cut in (0, 1, 2, 3, len(packet) - 1):
        client, peer, _ = _up()
        heard = []
        client.set_callback(lambda topic, message, heard=heard: heard.append(message))
        if cut:
            peer.send(packet[:cut])
        peer.close()
        fault(client, "eof", peer)
        assert heard == []
        _again(client, peer)


def test_qos_1_publish_waits_for_its_puback():
    assert _hangs(_bare(Wire()).publish, b"t", b"x", qos=1)
    client, peer, clock = _up(answer_ms=1000)
    assert client.publish(b"t", b"x", qos=1) and client.unanswered() == 1
    until(client, peer, lambda: peer.got == b"\x32\x06\x00\x01t\x00\x01x")
    clock.pass_ms(1000)
    fault(client, "ack", peer)
    _again(client, peer)


def test_subscribe_waits_for_its_suback():
    assert _hangs(_bare(Wire()).subscribe, b"t")
    client, peer, clock = _up(answer_ms=1000)
    assert client.subscribe(b"t")
    until(client, peer, lambda: peer.got == b"\x82\x06\x00\x01\x00\x01t\x00")
    clock.pass_ms(1000)
    fault(client, "ack", peer)
    _again(client, peer)


def test_what_comes_while_subscribing_is_delivered():
    client, peer, _ = _up()
    heard = []
    client.set_callback(lambda topic, message: heard.append(bytes(message)))
    assert client.subscribe(b"t") and client.publish(b"t", b"x", qos=1)
    until(client, peer, lambda: len(peer.got) == 16)
    peer.send(publish_packet(b"t", b"early") + b"\x40\x02\x00\x02")
    peer.send(publish_packet(b"t", b"mid") + b"\x90\x03\x00\x01\x00")
    until(client, peer, lambda: not client.unanswered())
    assert heard == [b"early", b"mid"]
    client.close()
    peer.close()


def test_suback_refused_and_of_another():
    assert _raises(_bare(Wire(b"\x90\x03\x00\x01\x80")).subscribe, b"t") is simple.MQTTException
    assert _raises(_bare(Wire(b"\x90\x03\x00\x07\x00")).subscribe, b"t") is AssertionError
    for answer, what in ((b"\x90\x03\x00\x01\x80", "denied"), (b"\x90\x03\x00\x07\x00", "protocol")):
        client, peer, _ = _up()
        assert client.subscribe(b"t")
        until(client, peer, lambda peer=peer: peer.got != b"")
        peer.send(answer)
        fault(client, what, peer)
        _again(client, peer)


def test_packet_ids_never_wrap():
    bare = _bare(Wire(b"\x40\x02\x00\x00"))
    bare.pid = 65535
    assert _hangs(bare.publish, b"t", b"x", qos=1)  # sent as 0, which MQTT forbids, and awaited as 65536
    client, peer, _ = _up()
    client._packet_id = 65533
    for expected in (65534, 65535, 1, 2):
        peer.got = b""
        assert client.publish(b"t", b"x", qos=1)
        until(client, peer, lambda: len(peer.got) == 8)
        identifier = bytes((expected >> 8, expected & 255))
        assert peer.got == b"\x32\x06\x00\x01t" + identifier + b"x", peer.got
        peer.send(b"\x40\x02" + identifier)
        until(client, peer, lambda: not client.unanswered())
    client.close()
    peer.close()


def test_a_late_ack_desynchronises_the_stream():
    late = b"\x40\x02\x30\x00" + publish_packet(b"t", b"lost")
    bare, heard = _bare(Wire(late)), []
    bare.set_callback(lambda topic, message: heard.append(bytes(message)))
    bare.check_msg()
    _hangs(bare.check_msg)
    _hangs(bare.check_msg)
    assert heard != [b"lost"]
    client, peer, _ = _up()
    peer.send(late)
    fault(client, "protocol", peer)
    _again(client, peer)


def test_pings_are_not_answered_for():
    bare = _bare(Wire())
    bare.ping()
    assert bare.check_msg() is None  # for ever
    client, peer, clock = _up(answer_ms=1000)
    clock.pass_ms(45000)
    until(client, peer, lambda: peer.got == b"\xc0\x00")
    clock.pass_ms(1000)
    fault(client, "pingresp", peer)
    _again(client, peer)


def test_a_malformed_pingresp_is_an_assertion():
    assert _raises(_bare(Wire(b"\xd0\x01\x00")).check_msg) is AssertionError
    client, peer, _ = _up()
    assert client.ping()
    peer.send(b"\xd0\x01\x00")
    fault(client, "protocol", peer)
    _again(client, peer)


def test_qos_2_is_an_assertion_after_delivery():
    packet = publish_packet(b"t", b"two", first=0x34, packet_id=b"\x00\x01")
    bare, heard = _bare(Wire(packet)), []
    bare.set_callback(lambda topic, message: heard.append(message))
    assert _raises(bare.check_msg) is AssertionError and len(heard) == 1
    client, peer, _ = _up()
    client.set_callback(lambda topic, message: heard.append(message))
    peer.send(packet)
    fault(client, "protocol", peer)
    assert len(heard) == 1
    _again(client, peer)


def test_a_length_is_believed():
    huge = b"\x30\xff\xff\xff\x7f\x00\x01t"
    asked = []

    class Asked(Wire):
        def read(self, size):
            asked.append(size)
            return Wire.read(self, size)

    assert _hangs(_bare(Asked(huge)).check_msg) and max(asked) > 268000000  # and a board would try to allocate that
    endless = _bare(Asked(b"\x30" + b"\xff" * 40 + b"\x01\x00\x01t"))
    asked.clear()
    assert _hangs(endless.check_msg) or len(asked) > 40  # nor does a length end after four bytes
    for octets, what in ((huge, "oversize"), (b"\x30\xff\xff\xff\xff\x01", "protocol")):
        client, peer, _ = _up()
        peer.send(octets)
        fault(client, what, peer)
        _again(client, peer)


def test_small_writes_whose_results_nobody_looks_at():
    class Full(Wire):
        def write(self, data, size=None):
            Wire.write(self, data, size)
            return None

    wire = Full()
    _bare(wire).publish(b"t", b"gone")
    assert len(wire.writes) >= 3  # and not a word of it sent
    client, peer, _ = _up(tx_size=64)
    writes = []

    class Narrow:
        """Takes three bytes at a time, every other time none."""

        def __init__(self, sock):
            self.sock = sock
            self.turn = 0

        def write(self, buf, off, size):
            self.turn += 1
            writes.append(bytes(buf[off : off + size]))
            return None if self.turn % 2 else self.sock.write(buf, off, min(size, 3))

        def readinto(self, view):
            return self.sock.readinto(view)

        def close(self):
            self.sock.close()

    client.sock = Narrow(client.sock)
    assert client.publish(b"t", b"0123456789")
    until(client, peer, lambda: client.pending() == 0)
    until(None, peer, lambda: peer.got == b"\x30\x0d\x00\x01t0123456789")
    assert writes[0] == b"\x30\x0d\x00\x01t0123456789" == writes[1] and writes[2] == writes[0][3:]
    client.close()
    peer.close()


def test_no_room_is_not_half_a_packet():
    client, peer, _ = _up(tx_size=64)
    assert client.publish(b"t", bytes(50))
    before = client.pending()
    assert not client.publish(b"t", bytes(20), qos=1) and not client.subscribe(b"a topic filter")
    assert client.pending() == before and client.unanswered() == 0
    try:
        client.publish(b"t", bytes(100))
        raise AssertionError("larger than the buffer, and taken")
    except ValueError:
        pass
    assert client.pending() == before
    until(client, peer, lambda: len(peer.got) == before)
    client.close()
    peer.close()


def test_a_long_filter_does_not_fit_its_length():
    wire = Wire()
    _hangs(_bare(wire).subscribe, b"t" * 123)
    said = b"".join(wire.writes)
    assert said[1] == 128 and len(said) == 2 + 128  # a length byte that says: another follows
    client, peer, _ = _up()
    assert client.subscribe(b"t" * 122)
    try:
        client.subscribe(b"t" * 123)
        raise AssertionError("taken")
    except ValueError:
        pass
    until(client, peer, lambda: len(peer.got) == 2 + 127)
    client.close()
    peer.close()


def test_characters_are_counted_and_bytes_sent():
    wire = Wire()
    _bare(wire).publish("\u00fc", b"x")
    said = b"".join(wire.writes)
    assert said[1] == len(said) - 3, said
    client, peer, _ = _up()
    assert client.publish("\u00fc", b"x")
    until(client, peer, lambda: peer.got == b"\x30\x05\x00\x02\xc3\xbcx")
    client.close()
    peer.close()


def test_a_callback_that_fails_costs_no_packet():
    two = publish_packet(b"t", b"one", first=0x32, packet_id=b"\x00\x09") + publish_packet(b"t", b"two")
    bare = _bare(Wire(two))

    def fails(topic, message):
        raise KeyError("mine")

    bare.set_callback(fails)
    assert _raises(bare.check_msg) is KeyError and bare.sock.writes == []  # never acknowledged
    client, peer, _ = _up()
    client.set_callback(fails)
    peer.send(two)
    for _ in range(2):
        try:
            until(client, peer, lambda: False)
        except KeyError:
            pass
    until(client, peer, lambda: peer.got == b"\x40\x02\x00\x09")
    assert client.state == mqtt.UP
    _again(client, peer)


def test_a_callback_may_publish_and_close():
    client, peer, _ = _up()

    def answer(topic, message):
        if bytes(message) == b"close":
            client.disconnect()
        else:
            assert client.publish(b"re", bytes(message), qos=1) and client.subscribe(b"more")

    client.set_callback(answer)
    peer.send(publish_packet(b"t", b"hello"))
    until(client, peer, lambda: len(peer.got) == 13 + 11)
    peer.send(publish_packet(b"t", b"close") + publish_packet(b"t", b"never"))
    until(client, peer, lambda: client.state == mqtt.CLOSED)
    peer.close()


def test_a_closed_client_says_so():
    bare = _bare(None)
    assert _raises(bare.check_msg) is AttributeError and _raises(bare.disconnect) is AttributeError
    client = UmqttClient("n1", clock=Clock())
    for use in (client.check_msg, client.ping, lambda: client.publish(b"t"), lambda: client.subscribe("t")):
        try:
            use()
            raise AssertionError("used without a connection")
        except mqtt.MqttError as error:
            assert error.what == "closed"
    client.disconnect()


def test_connecting_in_vain_is_bounded_and_others_keep_their_sockets():
    peer = Peer()
    peer.close()
    client = UmqttClient("n1", clock=Clock())
    client.connect(peer.address)
    assert simple.socket is socket
    fault(client, "dial", peer)
    assert client.faults == {"dial": 1}
    _again(client, peer)


def test_whatever_the_module_raises_is_one_fault_and_counted_once():
    class Broken(simple.MQTTClient):
        def publish(self, *args):
            return [][0]

        def check_msg(self):
            raise TypeError("a read that is None")

    for use in ("publish", "check_msg"):
        client, peer = UmqttClient("n1", clock=Clock()), Peer()
        kept, simple.MQTTClient = simple.MQTTClient, Broken
        client.connect(peer.address)
        simple.MQTTClient = kept
        until(client, peer, lambda peer=peer: len(peer.got) > 0)
        peer.send(CONNACK)
        until(client, peer, lambda client=client: client.state == mqtt.UP)
        if use == "check_msg":
            peer.send(publish_packet(b"t", b"x"))
            fault(client, "umqtt", peer)
        else:
            assert _raises(client.publish, b"t", b"x") is mqtt.MqttError
        assert client.state == mqtt.CLOSED and client.faults == {"umqtt": 1}
        peer.close()


def test_no_call_waits():
    """With a peer that says and takes nothing, in real time."""
    client, peer, _ = _up(tx_size=8192)
    start = time.ticks_ms()
    assert client.publish(b"t", bytes(1000), qos=1) and client.subscribe(b"t") and client.ping()
    while client.publish(b"t", bytes(1000)) or not client.check_msg() and client.publish(b"t", bytes(1000)):
        gc.collect()
    for _ in range(20):
        client.check_msg()
    client.disconnect()
    assert time.ticks_diff(time.ticks_ms(), start) < 5000
    peer.close()
