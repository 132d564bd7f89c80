# vm31: no, the VM has no sockets to import
# heap: 128K
"""A broker's words distorted at random, to both clients: every connection ends in one counted fault or goes on, and
nothing of it stays in memory.
"""

import gc
import random
import socket

import mqtt
from mqtt.umqtt_adapter import UmqttClient
from mqttpeer import CONNACK, Clock, publish_packet

ADDRESS = socket.getaddrinfo("127.0.0.1", 1)[0][-1]
WORDS = ("refused", "denied", "eof", "oversize", "protocol")


class Script:
    """A socket that takes all and gives `octets` in pieces, then the end."""

    def __init__(self, octets):
        self._octets = octets
        self._at = 0

    def write(self, buf, off, size):
        return size

    def readinto(self, view):
        count = min(len(view), random.randint(1, 64), len(self._octets) - self._at)
        for at in range(count):
            view[at] = self._octets[self._at + at]
        self._at += count
        return count

    def close(self):
        pass


class Dialled:
    """A Dial that is there at once."""

    def __init__(self, sock):
        self._sock = sock

    def ready(self):
        return self._sock

    def close(self):
        pass


def _stream():
    """What a broker would say to CONNECT, SUBSCRIBE 1 and PUBLISH 2 of QoS 1."""
    return bytearray(
        CONNACK
        + b"\x90\x03\x00\x01\x00"
        + b"\x40\x02\x00\x02"
        + publish_packet(b"d/ack", bytes(40))
        + publish_packet(b"d/ack", b"one", first=0x32, packet_id=b"\x12\x34")
        + publish_packet(b"d/cmd", bytes(200))
    )


def _distort(octets):
    """One to four bytes changed, lost or doubled."""
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(octets) - 1)
        how = random.randint(0, 2)
        if how == 0:
            octets[at] = random.randint(0, 255)
        else:
            kept = bytes(octets[at + 1 :])
            octets = octets[:at] if how == 1 else octets[: at + 1] + octets[at : at + 1]
            octets.extend(kept)
    return octets


def _meet(client, clock, octets):
    """One connection; the word of the fault that ended it."""
    client._packet_id = 0
    client.connect(ADDRESS)
    client.sock.close()
    client._dial.close()
    client._dial = Dialled(Script(octets))
    client.subscribe(b"d/+")
    client.publish(b"u", b"x", qos=1)
    try:
        for _ in range(500):
            client.check_msg()
            clock.pass_ms(1)
    except mqtt.MqttError as error:
        assert client.state == mqtt.CLOSED and client.sock is None
        return error.what
    raise AssertionError("no end of %s" % octets)


def _survives(make):
    random.seed(7)
    clock, heard = Clock(), [0]
    client = make("n1", rx_size=256, tx_size=256, clock=clock)

    def hear(topic, payload):
        heard[0] += 1

    client.set_callback(hear)
    assert _meet(client, clock, _stream()) == "eof" and heard[0] == 3
    words = {}
    held = 0
    for number in range(600):
        what = _meet(client, clock, _distort(_stream()))
        assert what in WORDS, what
        words[what] = words.get(what, 0) + 1
        if number == 100:
            gc.collect()
            held = gc.mem_alloc()
    gc.collect()
    assert gc.mem_alloc() <= held + 256, gc.mem_alloc() - held
    words["eof"] += 1
    assert client.faults == words
    assert len(words) >= 4 and words["protocol"] > 100, words
    assert _meet(client, clock, _stream()) == "eof"


def test_our_client():
    _survives(mqtt.Client)


def test_umqtt_in_the_adapter():
    _survives(UmqttClient)
