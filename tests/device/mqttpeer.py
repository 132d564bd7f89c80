"""What the MQTT tests talk to: a scripted peer on a socket in the same VM, a clock, a fake socket."""

import os
import socket
import time

import mqtt

CONNACK = b"\x20\x02\x00\x00"


class Clock:
    """Ticks with the boards' period of 2^30, moved by hand; they start just before the wrap."""

    def __init__(self):
        self.now = (1 << 30) - 50

    def ticks_ms(self):
        return self.now

    def ticks_diff(self, a, b):
        return ((a - b + (1 << 29)) & ((1 << 30) - 1)) - (1 << 29)

    def pass_ms(self, ms):
        self.now = (self.now + ms) & ((1 << 30) - 1)


class Peer:
    """Listens on a free port of the loopback; takes one connection; never blocks."""

    def __init__(self):
        self.got = b""
        self.sock = None
        self._listener = socket.socket()
        while True:
            port = 20000 + int.from_bytes(os.urandom(2), "big") % 12000
            self.address = socket.getaddrinfo("127.0.0.1", port)[0][-1]
            try:
                self._listener.bind(self.address)
                break
            except OSError:
                continue
        self._listener.listen(1)
        self._listener.setblocking(False)

    def take(self):
        """Accepts if someone is there and reads what there is into `got`."""
        if self.sock is None:
            try:
                self.sock = self._listener.accept()[0]
                self.sock.setblocking(False)
            except OSError:
                return
        got = self.sock.read(8192)
        if got:
            self.got += got

    def send(self, octets):
        """Says `octets`, few enough for the socket's buffer."""
        assert self.sock.write(octets) == len(octets)

    def close(self):
        """Ends the connection and the listening."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None
        self._listener.close()


class FakeSocket:
    """A socket whose `write` answers by script: None, or how many bytes it takes at most; then None for ever.

    `offers` holds what each write was given, `taken` what it took.
    """

    def __init__(self, script):
        self._script = list(script)
        self.offers = []
        self.taken = b""
        self.closed = False

    def write(self, buf, off, size):
        offer = bytes(buf[off : off + size])
        self.offers.append(offer)
        count = self._script.pop(0) if self._script else None
        if count is None:
            return None
        count = min(count, size)
        self.taken += offer[:count]
        return count

    def readinto(self, view):
        return None

    def close(self):
        self.closed = True


def until(client, peer, done, ms=3000):
    """Runs both ends, or the peer alone, until `done()`; fails after `ms` of real time."""
    start = time.ticks_ms()
    while not done():
        assert time.ticks_diff(time.ticks_ms(), start) < ms, "not in time"
        if client is not None:
            client.check_msg()
        peer.take()
        time.sleep_ms(1)


def fault(client, what, peer, ms=3000):
    """Runs both ends until MqttError, which must be `what`; checks that the client is closed."""
    try:
        until(client, peer, lambda: False, ms)
    except mqtt.MqttError as error:
        assert error.what == what, "%s, not %s" % (error, what)
        assert client.state == mqtt.CLOSED and client.sock is None
        return error
    raise AssertionError("no fault")


def up(**options):
    """A Client that is UP, its Peer (whose `got` begins after CONNECT) and the Clock."""
    clock = Clock()
    client = mqtt.Client("n1", clock=clock, **options)
    peer = Peer()
    client.connect(peer.address, keepalive=60)
    until(client, peer, lambda: len(peer.got) > 0)
    peer.send(CONNACK)
    until(client, peer, lambda: client.state == mqtt.UP)
    peer.got = b""
    return client, peer, clock


def publish_packet(topic, payload, first=0x30, packet_id=b""):
    """A PUBLISH as a broker sends it."""
    length = 2 + len(topic) + len(packet_id) + len(payload)
    size = bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))
    return bytes((first,)) + size + bytes((0, len(topic))) + topic + packet_id + payload
