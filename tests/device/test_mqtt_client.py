# vm31: no, its peer is a socket
# heap: 192K
"""The client against a peer that follows a script: the good path, and each way in which it can go wrong."""

import gc

import micropython
import mqtt
from mqttpeer import CONNACK, Clock, FakeSocket, Peer, fault, publish_packet, until, up


def _dialling(**options):
    """A client and a peer which has read CONNECT and not answered."""
    clock = Clock()
    client = mqtt.Client("n1", clock=clock, **options)
    peer = Peer()
    client.connect(peer.address)
    until(client, peer, lambda: len(peer.got) > 0)
    return client, peer, clock


def test_first_flight_is_one_write_of_exact_bytes():
    client, peer = mqtt.Client("n1", clock=Clock()), Peer()
    client.connect(peer.address, user="me", password="pw", keepalive=300)
    assert client.state == mqtt.DIAL
    assert client.subscribe("d/+") and client.publish(b"u/s", b"ab", memoryview(b"xcdx")[1:3])
    real = client.sock
    fake = FakeSocket([4096])
    until(None, peer, lambda: client._dial.ready() is real)
    client._dial._sock = fake
    client.check_msg()
    assert fake.offers == [
        b"\x10\x16\x00\x04MQTT\x04\xc2\x01\x2c\x00\x02n1\x00\x02me\x00\x02pw"
        + b"\x82\x08\x00\x01\x00\x03d/+\x00"
        + b"\x30\x09\x00\x03u/sabcd"
    ], fake.offers
    assert client.state == mqtt.AUTH
    real.close()
    client.close()
    peer.close()


def test_connect_needs_a_connack_to_be_up_and_names_its_states():
    client, peer, _ = _dialling()
    assert client.state == mqtt.AUTH
    peer.send(CONNACK)
    until(client, peer, lambda: client.state == mqtt.UP)
    client.disconnect()
    assert client.state == mqtt.CLOSED
    until(None, peer, lambda: peer.got[-2:] == b"\xe0\x00")
    peer.close()


def test_dribble_of_single_bytes_makes_whole_messages():
    client, peer, _ = up()
    heard = []
    client.set_callback(lambda topic, payload: heard.append((bytes(topic), bytes(payload))))
    long = bytes(range(200))
    stream = publish_packet(b"a", b"") + publish_packet(b"b", long) + publish_packet(b"c", b"3")
    for at in range(len(stream)):
        peer.send(stream[at : at + 1])
        client.check_msg()
    until(client, peer, lambda: len(heard) == 3)
    assert heard == [(b"a", b""), (b"b", long), (b"c", b"3")], heard
    client.close()
    peer.close()


def test_packets_in_one_segment_and_a_half_one_after_them():
    client, peer, _ = up()
    heard = []
    client.set_callback(lambda topic, payload: heard.append(bytes(payload)))
    last = publish_packet(b"t", b"last")
    peer.send(b"".join([publish_packet(b"t", b"%d" % i) for i in range(20)]) + last[:5])
    until(client, peer, lambda: len(heard) == 20)
    client.check_msg()
    assert len(heard) == 20
    peer.send(last[5:])
    until(client, peer, lambda: len(heard) == 21)
    assert heard == [b"%d" % i for i in range(20)] + [b"last"]
    client.close()
    peer.close()


def test_half_a_packet_has_a_deadline_and_a_dribble_does_not_extend_it():
    client, peer, clock = up(answer_ms=1000)
    packet = publish_packet(b"t", b"0123456789")
    for at in range(4):
        peer.send(packet[at : at + 1])
        until(client, peer, lambda held=at + 1: client._inbox.held() == held)
        clock.pass_ms(300)
    assert fault(client, "packet", peer).detail == "no progress in 1000 ms"
    peer.close()


def test_largest_packet_fits_and_one_more_byte_is_refused():
    client, peer, _ = up(rx_size=100)
    heard = []
    client.set_callback(lambda topic, payload: heard.append(len(payload)))
    peer.send(publish_packet(b"t", bytes(95)) * 3)
    until(client, peer, lambda: len(heard) == 3)
    assert heard == [95, 95, 95]
    peer.send(publish_packet(b"t", bytes(96)))
    fault(client, "oversize", peer)
    peer.close()


def test_length_over_four_bytes():
    client, peer, _ = up()
    peer.send(b"\x30\xff\xff\xff\xff\x01")
    fault(client, "protocol", peer)
    peer.close()


def test_end_of_stream_anywhere_is_eof():
    packet = publish_packet(b"t", b"payload")
    for cut in (0, 1, 2, 3, len(packet) - 1):
        client, peer, _ = up()
        if cut:
            peer.send(packet[:cut])
        peer.close()
        error = fault(client, "eof", peer)
        assert error.detail == "closed by the peer, %d bytes into a packet" % cut, error
    client, peer, _ = _dialling()
    peer.close()
    fault(client, "eof", peer)


def test_messages_before_the_end_are_heard():
    client, peer, _ = up()
    heard = []
    client.set_callback(lambda topic, payload: heard.append(bytes(payload)))
    peer.send(publish_packet(b"t", b"x"))
    peer.close()
    fault(client, "eof", peer)
    assert heard == [b"x"]


def test_dial_refused_and_dial_in_vain():
    peer = Peer()
    peer.close()
    client = mqtt.Client("n1", clock=Clock())
    client.connect(peer.address)
    fault(client, "dial", peer)

    class Silent:
        def poll(self, timeout):
            return []

    peer = Peer()
    clock = Clock()
    client = mqtt.Client("n1", clock=clock, dial_ms=7000)
    client.connect(peer.address)
    client._dial._poll = Silent()
    client.check_msg()
    clock.pass_ms(6999)
    client.check_msg()
    assert client.due_ms() == 1
    clock.pass_ms(1)
    fault(client, "dial", peer)
    peer.close()


def test_connack_refused_names_the_code():
    client, peer, _ = _dialling()
    peer.send(b"\x20\x02\x00\x05")
    assert fault(client, "refused", peer).detail == "CONNACK code 5, not authorised"
    peer.close()


def test_other_packet_in_place_of_connack():
    for packet in (publish_packet(b"t", b"x"), b"\x20\x03\x00\x00\x00", b"\xd0\x00", b"\x20\x02\x02\x00"):
        client, peer, _ = _dialling()
        peer.send(packet)
        fault(client, "protocol", peer)
        peer.close()


def test_no_connack_in_time_across_the_wrap_of_ticks():
    client, peer, clock = _dialling(answer_ms=1000)
    clock.pass_ms(999)
    client.check_msg()
    assert client.due_ms() == 1
    clock.pass_ms(1)
    fault(client, "connack", peer)
    peer.close()


def test_suback_refused_missing_and_of_another():
    refused, another, missing = b"\x90\x03\x00\x01\x80", b"\x90\x03\x00\x02\x00", b""
    for answer, what in ((refused, "denied"), (another, "protocol"), (missing, "ack")):
        client, peer, clock = up(answer_ms=1000)
        assert client.subscribe("d/+")
        until(client, peer, lambda peer=peer: peer.got == b"\x82\x08\x00\x01\x00\x03d/+\x00")
        if answer:
            peer.send(answer)
        else:
            clock.pass_ms(1000)
        fault(client, what, peer)
        peer.close()


def test_packet_ids_wrap_and_are_never_zero():
    client, peer, _ = up()
    client._packet_id = 65533
    for expected in (65534, 65535, 1, 2):
        peer.got = b""
        assert client.subscribe("d")
        until(client, peer, lambda: len(peer.got) == 8)
        identifier = peer.got[2:4]
        assert identifier == bytes((expected >> 8, expected & 255)), peer.got
        peer.send(b"\x90\x03" + identifier + b"\x00")
        until(client, peer, lambda: not client.unanswered())
    client.close()
    peer.close()


def test_pings_when_idle_and_misses_the_answer():
    client, peer, clock = up(answer_ms=1000)
    assert client.due_ms() == 45000
    clock.pass_ms(44999)
    client.check_msg()
    peer.take()
    assert peer.got == b""
    clock.pass_ms(1)
    until(client, peer, lambda: peer.got == b"\xc0\x00")
    peer.send(b"\xd0\x00")
    until(client, peer, lambda: not client._incoming.pinging)
    assert client.due_ms() == 45000
    assert client.ping() and client.ping()
    until(client, peer, lambda: len(peer.got) == 4)
    client.check_msg()
    clock.pass_ms(1000)
    fault(client, "pingresp", peer)
    peer.close()


def test_traffic_keeps_pings_away():
    client, peer, clock = up()
    for _ in range(4):
        clock.pass_ms(30000)
        assert client.publish(b"t", b"x")
        client.check_msg()
    until(client, peer, lambda: len(peer.got) == 4 * 6)
    client.close()
    peer.close()


def test_qos_1_is_acknowledged_and_qos_2_refused():
    client, peer, _ = up()
    heard = []
    client.set_callback(lambda topic, payload: heard.append((bytes(topic), bytes(payload))))
    peer.send(publish_packet(b"t", b"one", first=0x32, packet_id=b"\x12\x34"))
    until(client, peer, lambda: peer.got == b"\x40\x02\x12\x34")
    assert heard == [(b"t", b"one")]
    peer.send(publish_packet(b"t", b"two", first=0x34, packet_id=b"\x12\x34"))
    fault(client, "protocol", peer)
    peer.close()


def test_qos_1_waits_for_room_to_acknowledge():
    client, peer, _ = up(tx_size=64)
    heard = []
    client.set_callback(lambda topic, payload: heard.append(bytes(payload)))
    real = client.sock
    client.sock = FakeSocket([])
    assert client.publish(b"t", bytes(58))
    client.sock.readinto = real.readinto
    peer.send(publish_packet(b"t", b"one", first=0x32, packet_id=b"\x00\x09"))
    client.check_msg()
    client.check_msg()
    assert heard == []
    client.sock = real
    until(client, peer, lambda: peer.got[-4:] == b"\x40\x02\x00\x09")
    assert heard == [b"one"]
    client.close()
    peer.close()


def test_malformed_packets():
    bad = (
        b"\x30\x01\x00",  # no room for a topic's length
        b"\x30\x03\x00\x02t",  # topic beyond the packet
        b"\x32\x04\x00\x01t\x00",  # half a packet id
        b"\x20\x02\x00\x00",  # CONNACK twice
        b"\xd0\x01\x00",  # PINGRESP with a body
        b"\x90\x02\x00\x01",  # SUBACK without a code
        b"\x40\x02\x00\x01",  # PUBACK nobody waits for
        b"\x00\x00",
        b"\xf0\x00",
    )
    for octets in bad:
        client, peer, _ = up()
        peer.send(octets)
        fault(client, "protocol", peer)
        peer.close()


def test_transmit_buffer_full_refuses_whole_packets():
    client, peer, _ = up(tx_size=256)
    client.sock.close()
    client.sock = FakeSocket([])
    packet = 2 + 2 + 1 + 45
    assert [client.publish(b"t", bytes(45)) for _ in range(7)] == [True] * 5 + [False] * 2
    assert client.pending() == 5 * packet
    assert not client.subscribe(b"a topic") and not client.unanswered()
    assert client.publish(b"t", b"") and client.pending() == 255
    try:
        client.publish(b"t", bytes(300))
        raise AssertionError("a packet larger than the buffer was taken")
    except ValueError:
        pass
    client.close()
    peer.close()


def test_a_write_once_offered_is_retried_byte_for_byte():
    client, peer, _ = up(tx_size=64)
    client.sock.close()
    fake = client.sock = FakeSocket([None, None, 5, None, 4, None])
    assert client.publish(b"t", b"0123456789")
    first = b"\x30\x0d\x00\x01t0123456789"
    client.check_msg()
    assert client.publish(b"t", b"second") and client.publish(b"t", b"a third")
    for _ in range(4):
        client.check_msg()
        assert not client.publish(b"t", bytes(40))  # needs compaction, which may not move an offered region
    offers = [first, first, first, first[5:], first[5:], first[9:], first[9:]]
    assert fake.offers == offers, fake.offers
    fake._script = [100, 100]
    client.check_msg()
    assert fake.taken == first + b"\x30\x09\x00\x01tsecond\x30\x0a\x00\x01ta third", fake.taken
    assert client.pending() == 0 and client.publish(b"t", bytes(40))
    client.close()
    assert fake.closed
    peer.close()


def test_stalled_peer_then_the_whole_stream_in_order():
    client, peer, _ = up()
    number = 0
    while True:
        payload = b"%06d" % number * 100
        if not client.publish(b"t", payload):
            client.check_msg()
            if not client.publish(b"t", payload):
                break
        number += 1
        if number % 10 == 0:
            gc.collect()
    assert number > 100
    total = number
    number = 0
    while number < total:
        client.check_msg()
        peer.take()
        while len(peer.got) >= 606:
            assert peer.got[:606] == b"\x30\xdb\x04\x00\x01t" + b"%06d" % number * 100, number
            peer.got = peer.got[606:]
            number += 1
    assert peer.got == b"" and client.pending() == 0
    client.close()
    peer.close()


def test_stalled_peer_has_a_deadline():
    client, peer, clock = up(answer_ms=1000)
    while client.publish(b"t", bytes(1000)) or not client.check_msg() and client.publish(b"t", bytes(1000)):
        pass
    client.check_msg()
    clock.pass_ms(999)
    client.check_msg()
    clock.pass_ms(1)
    fault(client, "write", peer)
    peer.close()


def test_progress_of_a_write_renews_its_deadline():
    client, peer, clock = up(answer_ms=1000)
    client.sock.close()
    client.sock = FakeSocket([None, 5])
    assert client.publish(b"t", bytes(20))
    client.check_msg()
    clock.pass_ms(900)
    client.check_msg()
    assert client.pending() == 20
    clock.pass_ms(999)
    client.check_msg()
    clock.pass_ms(1)
    fault(client, "write", peer)
    peer.close()


def test_answers_leave_in_the_same_call():
    client, peer, _ = up()
    client.set_callback(lambda topic, payload: client.publish(b"re", payload))
    peer.send(publish_packet(b"t", b"hello"))
    peer.send(publish_packet(b"t", b"one", first=0x32, packet_id=b"\x12\x34"))
    client.check_msg()
    assert client.pending() == 0
    peer.take()
    assert peer.got == b"\x30\x09\x00\x02rehello" + b"\x40\x02\x12\x34" + b"\x30\x07\x00\x02reone", peer.got
    client.close()
    peer.close()


def test_faults_of_the_socket_close_it():
    class Broken(FakeSocket):
        def readinto(self, view):
            raise OSError(104)

    client, peer, _ = up()
    client.sock.close()
    fake = client.sock = Broken([])
    fault(client, "socket", peer)
    assert fake.closed
    peer.close()


def test_a_closed_client_says_so_and_can_connect_again():
    client, peer, _ = up()
    client.close()
    for use in (client.check_msg, client.ping, lambda: client.publish(b"t"), lambda: client.subscribe("t")):
        try:
            use()
            raise AssertionError("used without a connection")
        except mqtt.MqttError as error:
            assert error.what == "closed"
    client.disconnect()
    peer.close()
    peer = Peer()
    client.connect(peer.address)
    until(client, peer, lambda: len(peer.got) > 0)
    peer.send(CONNACK)
    until(client, peer, lambda: client.state == mqtt.UP)
    client.close()
    peer.close()


def test_callback_may_publish_close_and_fail():
    client, peer, _ = up()

    def answer(topic, payload):
        if payload == b"close":
            client.disconnect()
        elif payload == b"fail":
            raise KeyError("mine")
        else:
            assert client.publish(b"re", payload)

    client.set_callback(answer)
    peer.send(publish_packet(b"t", b"hello"))
    until(client, peer, lambda: peer.got == b"\x30\x09\x00\x02rehello")
    peer.send(publish_packet(b"t", b"fail") + publish_packet(b"t", b"again"))
    try:
        until(client, peer, lambda: False)
    except KeyError:
        pass
    until(client, peer, lambda: peer.got[11:] == b"\x30\x09\x00\x02reagain")
    peer.send(publish_packet(b"t", b"close") + publish_packet(b"t", b"never"))
    try:
        until(client, peer, lambda: client.state == mqtt.CLOSED)
    except mqtt.MqttError as error:
        raise AssertionError(error)
    peer.close()


def test_an_endless_sender_does_not_keep_the_caller():
    client, peer, _ = up()
    packet = publish_packet(b"t", bytes(100))

    class Endless(FakeSocket):
        def readinto(self, view):
            for at in range(len(packet)):
                view[at] = packet[at]
            return len(packet)

    client.sock.close()
    client.sock = Endless([])
    assert client.check_msg() is True
    client.close()
    peer.close()


def test_idle_check_and_queueing_do_not_allocate():
    client, peer, clock = up()
    client.check_msg()
    micropython.heap_lock()
    try:
        for _ in range(10):
            client.check_msg()
            clock.now += 1
    finally:
        micropython.heap_unlock()
    payload = bytes(900)
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    assert client.publish(b"t", payload, payload)
    after = gc.mem_alloc()
    gc.enable()
    assert after - before < 200, after - before
    micropython.heap_lock()
    try:
        client.check_msg()  # the write
    finally:
        micropython.heap_unlock()
    assert client.pending() == 0
    client.close()
    peer.close()


def test_qos_1_is_published_and_awaits_its_puback():
    client, peer, clock = up(answer_ms=1000)
    client._packet_id = 65534
    assert client.publish(b"t", b"one", qos=1) and client.publish(b"t", b"two", qos=1, retain=True)
    until(client, peer, lambda: len(peer.got) == 20)
    assert peer.got == b"\x32\x08\x00\x01t\xff\xffone" + b"\x33\x08\x00\x01t\x00\x01two", peer.got
    assert client.unanswered() == 2
    clock.pass_ms(900)
    peer.send(b"\x40\x02\xff\xff")
    until(client, peer, lambda: client.unanswered() == 1)
    clock.pass_ms(999)  # counted from the answer before
    client.check_msg()
    peer.send(b"\x40\x02\x00\x01")
    until(client, peer, lambda: client.unanswered() == 0)
    assert client.publish(b"t", b"three", qos=1)
    client.check_msg()
    clock.pass_ms(1000)
    fault(client, "ack", peer)
    assert client.unanswered() == 0 and client.faults == {"ack": 1}
    peer.close()


def test_what_cannot_be_said_is_refused_before_it_is_begun():
    client, peer, _ = up(tx_size=256)
    for refused in (
        lambda: client.publish(b"t", b"x", qos=2),
        lambda: client.set_last_will(b"t", b"gone"),
        lambda: client.subscribe("t" * 250),
        lambda: mqtt.Client("n1", tx_size=65536),
        lambda: mqtt.Client("n" * 300, tx_size=256).connect(peer.address),
    ):
        try:
            refused()
        except ValueError:
            continue
        raise AssertionError("not refused")
    client.set_last_will(None)
    assert client.pending() == 0 and client.unanswered() == 0
    client.close()
    peer.close()


def test_a_flood_of_small_packets_does_not_keep_the_caller_and_none_is_lost():
    client, peer, _ = up()
    heard = []
    client.set_callback(lambda topic, payload: heard.append(payload[0]))
    gc.collect()
    flood = bytearray()
    for i in range(500):
        flood.extend(publish_packet(b"t", bytes((i % 256,))))
    peer.send(flood)
    calls = 0
    while len(heard) < 500:
        before = len(heard)
        more = client.check_msg()
        assert len(heard) - before <= 32, len(heard) - before
        assert more or len(heard) == 500 or len(heard) == before
        calls += 1
        assert calls < 100
    assert heard == [i % 256 for i in range(500)]
    client.close()
    peer.close()


def test_a_flood_before_the_end_is_heard_to_its_end():
    client, peer, _ = up()
    heard = []
    client.set_callback(lambda topic, payload: heard.append(None))
    peer.send(publish_packet(b"t", b"x") * 100)
    peer.close()
    fault(client, "eof", peer)
    assert len(heard) == 100
