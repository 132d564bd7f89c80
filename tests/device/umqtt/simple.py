"""A stand-in for the stock umqtt.simple: the same names, the same bytes on the wire, and every hazard that
test_umqtt_adapter.py names. Written for the tests; nobody should use it.
"""

import socket


class MQTTException(Exception):
    """A refusal by the broker; args[0] is the code."""


def _field(text):
    return len(text).to_bytes(2, "big") + (text.encode() if isinstance(text, str) else bytes(text))


def _head(first, length):
    head = [first]
    while length >= 128:
        head.append(length % 128 + 128)
        length //= 128
    return bytes(head + [length])


class MQTTClient:
    """Blocks."""

    def __init__(self, client_id, server, port=0, user=None, password=None, keepalive=0, ssl=None):
        self.client_id = client_id
        self.address = (server, port or (8883 if ssl else 1883))
        self.login = (user, password) if user else ()
        self.keepalive = keepalive
        self.ssl = ssl
        self.pid = 0
        self.cb = None
        self.sock = None

    def set_callback(self, f):
        """f(topic, msg)"""
        self.cb = f

    def connect(self, clean_session=True, timeout=None):
        """Hazards: it resolves, dials, shakes hands and waits, unbounded; a failure leaves the socket open."""
        self.sock = socket.socket()
        self.sock.settimeout(timeout)
        self.sock.connect(socket.getaddrinfo(*self.address)[0][-1])
        if self.ssl:
            self.sock = self.ssl.wrap_socket(self.sock, server_hostname=self.address[0])
        fields = [self.client_id] + list(self.login)
        length = 10 + sum([2 + len(field) for field in fields])
        flags = (2 if clean_session else 0) | (0xC0 if self.login else 0)
        self.sock.write(_head(0x10, length))
        self.sock.write(b"\x00\x04MQTT\x04" + bytes((flags,)) + self.keepalive.to_bytes(2, "big"))
        for field in fields:
            self.sock.write(_field(field))
        answer = self.sock.read(4)
        assert answer[0] == 0x20 and answer[1] == 2
        if answer[3]:
            raise MQTTException(answer[3])
        return answer[2] & 1

    def disconnect(self):
        """Hazard: it waits for the socket to take two bytes."""
        self.sock.write(b"\xe0\x00")
        self.sock.close()

    def ping(self):
        """Hazard: nobody looks for the answer."""
        self.sock.write(b"\xc0\x00")

    def publish(self, topic, msg, retain=False, qos=0):
        """Hazards: several small writes, whose results nobody looks at; QoS 1 waits for its PUBACK, unbounded; the
        packet id does not wrap, what goes out of it does; characters are counted, bytes sent.
        """
        assert qos < 2
        self.sock.write(_head(0x30 | qos << 1 | (1 if retain else 0), 2 + len(topic) + 2 * qos + len(msg)))
        self.sock.write(_field(topic))
        if qos:
            self.pid += 1
            mine = self.pid
            self.sock.write((mine & 0xFFFF).to_bytes(2, "big"))
        self.sock.write(msg)
        while qos:
            if self.wait_msg() == 0x40:
                length, high, low = self.sock.read(3)
                assert length == 2
                if high << 8 | low == mine:
                    return

    def subscribe(self, topic, qos=0):
        """Hazards: it waits for the SUBACK, unbounded; a long filter's length does not fit its byte."""
        assert self.cb is not None
        self.pid += 1
        mine = (self.pid & 0xFFFF).to_bytes(2, "big")
        self.sock.write(bytes((0x82, 5 + len(topic) & 255)) + mine)
        self.sock.write(_field(topic))
        self.sock.write(bytes((qos,)))
        while self.wait_msg() != 0x90:
            pass
        answer = self.sock.read(4)
        assert answer[1:3] == mine
        if answer[3] == 0x80:
            raise MQTTException(answer[3])

    def wait_msg(self):
        """Hazards: it makes the socket block, whatever its timeout was; the end of the stream is OSError(-1) before a
        packet and an IndexError in one; it believes every length; of an ack that nobody waits for it leaves the rest in
        the stream; QoS 2 is delivered, then asserted away.
        """
        first = self.sock.read(1)
        self.sock.setblocking(True)
        if first is None:
            return None
        if first == b"":
            raise OSError(-1)
        first = first[0]
        if first == 0xD0:
            assert self.sock.read(1)[0] == 0
            return None
        if first >> 4 != 3:
            return first
        length = shift = 0
        while True:
            byte = self.sock.read(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        prefix = self.sock.read(2)
        topic = self.sock.read(prefix[0] << 8 | prefix[1])
        length -= 2 + len(topic)
        qos = first >> 1 & 3
        if qos:
            mine = self.sock.read(2)
            mine = bytes((mine[0], mine[1]))
            length -= 2
        self.cb(topic, self.sock.read(length))
        if qos == 1:
            self.sock.write(b"\x40\x02" + mine)
        assert qos < 2
        return first

    def check_msg(self):
        """Hazard: only the first byte of a packet is not waited for."""
        self.sock.setblocking(False)
        return self.wait_msg()
