"""The bytes of MQTT 3.1.1 packets (OASIS standard, chapters 2 and 3). No I/O, no state.

Packets made a few times in a connection are built here whole; PUBLISH, made often, is written in place by
the client.
"""

from micropython import const

# First byte of a packet: type << 4, and the flags that type demands (section 2.2).
CONNECT = const(0x10)
CONNACK = const(0x20)
PUBLISH = const(0x30)
PUBACK = const(0x40)
SUBSCRIBE = const(0x82)
SUBACK = const(0x90)
PINGRESP = const(0xD0)

PINGREQ_PACKET = b"\xc0\x00"
DISCONNECT_PACKET = b"\xe0\x00"

# CONNACK return codes, section 3.2.2.3.
REFUSALS = ("", "protocol version", "client id", "unavailable", "user name or password", "not authorised")


def octets(text):
    """`text` as bytes: a str is encoded as UTF-8, bytes-like objects pass unchanged."""
    return text.encode() if isinstance(text, str) else text


def length_size(n):
    """Bytes that the remaining length `n` (0 .. 2^28-1) takes on the wire."""
    return 1 if n < 0x80 else 2 if n < 0x4000 else 3 if n < 0x200000 else 4


def _packet(first, body):
    n = len(body)
    head = bytearray((first,))
    while n > 127:
        head.append(n & 127 | 128)
        n >>= 7
    head.append(n)
    return bytes(head) + body


def _field(value):
    value = octets(value)
    if len(value) > 65535:
        raise ValueError("mqtt: a field of %d bytes, at most 65535" % len(value))
    return bytes((len(value) >> 8, len(value) & 255)) + value


def connect(client_id, user, password, keepalive, will):
    """CONNECT with a clean session, as bytes.

    `user` and `password` str, bytes or None; `keepalive` in seconds, 0..65535, 0 none; `will` None or
    (topic, message, retain, qos). ValueError for what the packet cannot say.
    """
    if not 0 <= keepalive <= 65535:
        raise ValueError("mqtt: keepalive %d s, range 0..65535" % keepalive)
    if password is not None and user is None:
        raise ValueError("mqtt: a password without a user name")
    flags = 2
    payload = _field(client_id)
    if will is not None:
        topic, message, retain, qos = will
        flags |= 4 | qos << 3 | (32 if retain else 0)
        payload += _field(topic) + _field(message)
    if user is not None:
        flags |= 128
        payload += _field(user)
    if password is not None:
        flags |= 64
        payload += _field(password)
    return _packet(CONNECT, b"\x00\x04MQTT\x04" + bytes((flags, keepalive >> 8, keepalive & 255)) + payload)


def subscribe(packet_id, topic, qos):
    """SUBSCRIBE to one topic filter, as bytes. `packet_id` 1..65535."""
    return _packet(SUBSCRIBE, bytes((packet_id >> 8, packet_id & 255)) + _field(topic) + bytes((qos,)))


def puback(packet_id):
    """PUBACK, as bytes. `packet_id` 1..65535."""
    return bytes((PUBACK, 2, packet_id >> 8, packet_id & 255))
