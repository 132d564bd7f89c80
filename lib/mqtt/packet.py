"""The packets of MQTT 3.1.1 that a client sends (OASIS standard, chapters 2 and 3), written into an Outbox. No I/O, no
state.

Each function returns True if the whole packet is queued, False if there is no room now; ValueError if it could never
fit, or says what MQTT cannot.
"""

from micropython import const

# First byte of a packet: type << 4, and the flags that type demands (section 2.2).
_CONNECT = const(0x10)
CONNACK = const(0x20)
PUBLISH = const(0x30)
PUBACK = const(0x40)
_SUBSCRIBE = const(0x82)
SUBACK = const(0x90)
PINGREQ = const(0xC0)
PINGRESP = const(0xD0)
DISCONNECT = const(0xE0)

# CONNACK return codes, section 3.2.2.3.
REFUSALS = ("", "protocol version", "client id", "unavailable", "user name or password", "not authorised")


def octets(text):
    """`text` as bytes: a str is encoded as UTF-8, bytes-like objects pass unchanged."""
    return text.encode() if isinstance(text, str) else text


def connect(outbox, client_id, user, password, keepalive):
    """CONNECT with a clean session and no will. `client_id`, `user` and `password` str or bytes, the last two also
    None; `keepalive` in seconds, 0..65535, 0 none.
    """
    if not 0 <= keepalive <= 65535 or user is None and password is not None:
        raise ValueError("mqtt: keepalive %d s, range 0..65535; or a password without a user name" % keepalive)
    flags = 2
    fields = [octets(client_id)]
    if user is not None:
        flags |= 128
        fields.append(octets(user))
    if password is not None:
        flags |= 64
        fields.append(octets(password))
    length = 10
    for field in fields:
        length += 2 + len(field)
    if not outbox.begin(_CONNECT, length):
        return False
    outbox.put(b"\x00\x04MQTT\x04")
    outbox.put_byte(flags)
    outbox.put_u16(keepalive)
    for field in fields:
        outbox.put_field(field)
    return True


def publish(outbox, topic, parts, retain, qos, packet_id):
    """PUBLISH of the bytes-like objects `parts`, one after another; `qos` 0, or 1 with a `packet_id` 1..65535.
    Allocates nothing if `topic` is bytes.
    """
    if not 0 <= qos <= 1:
        raise ValueError("mqtt: PUBLISH with QoS %d, can do 0 and 1" % qos)
    topic = octets(topic)
    length = 2 + len(topic) + 2 * qos
    for part in parts:
        length += len(part)
    if not outbox.begin(PUBLISH | qos << 1 | (1 if retain else 0), length):
        return False
    outbox.put_field(topic)
    if qos:
        outbox.put_u16(packet_id)
    for part in parts:
        outbox.put(part)
    return True


def subscribe(outbox, packet_id, topic, qos):
    """SUBSCRIBE to one topic filter. `packet_id` 1..65535; `qos` 0 or 1."""
    topic = octets(topic)
    if not outbox.begin(_SUBSCRIBE, 5 + len(topic)):
        return False
    outbox.put_u16(packet_id)
    outbox.put_field(topic)
    outbox.put_byte(qos)
    return True
