"""A non-blocking MQTT 3.1.1 client: whoever owns it calls check_msg(), and no call ever waits.

The method names are those of umqtt.simple. States: CLOSED -> DIAL (TCP, TLS) -> AUTH (CONNECT is out) -> UP;
any fault closes the socket and raises MqttError. What the broker may say is `mqtt.incoming`'s.
"""

import time

from micropython import const

from mqtt import packet
from mqtt.deadline import Deadlines
from mqtt.dial import Dial
from mqtt.error import MqttError
from mqtt.inbox import Inbox
from mqtt.incoming import Incoming
from mqtt.outbox import Outbox

CLOSED = const(0)
DIAL = const(1)
AUTH = const(2)
UP = const(3)

# What may take too long, by index.
_WHAT = ("dial", "connack", "ack", "pingresp", "write", "packet")
_DIAL = const(0)
_CONNACK = const(1)
_ACK = const(2)
_PINGRESP = const(3)
_WRITE = const(4)
_PACKET = const(5)

# Reads and packets within one check_msg(): a peer that never stops sending must not keep the caller. A buffer
# full of the smallest packets holds hundreds, each some tenths of a millisecond on a board.
_READS = const(8)
_PACKETS = const(32)


class Client:
    """One connection at a time, made anew by every connect().

    `client_id` str or bytes. `rx_size` and `tx_size`: bytes of the two buffers, made here; the largest
    packet that can be received and sent. `dial_ms` for TCP and TLS together, `answer_ms` for CONNACK,
    SUBACK, PUBACK, PINGRESP, the rest of a packet, and any progress of a write. `clock` has ticks_ms() and
    ticks_diff(). `faults` counts the connections that failed, by MqttError.what. One task owns a client;
    others may publish() between its calls.
    """

    def __init__(self, client_id, rx_size=1200, tx_size=4096, dial_ms=15000, answer_ms=10000, clock=time):
        self.client_id = client_id
        self.state = CLOSED
        self.sock = None
        self.faults = {}
        self._incoming = Incoming()
        self._inbox = Inbox(rx_size)
        self._outbox = Outbox(tx_size)
        self._clock = clock
        self._deadlines = Deadlines(_WHAT, (dial_ms,) + (answer_ms,) * (len(_WHAT) - 1), clock)
        self._callback = None
        self._dial = None
        self._packet_id = 0
        self._keepalive_ms = 0
        self._last_write = 0

    def set_callback(self, callback):
        """`callback(topic, payload)` gets two memoryviews into the receive buffer, valid only until it
        returns.
        """
        self._callback = callback

    def set_last_will(self, topic, msg=None, retain=False, qos=0):
        """Refused, ValueError, but for `topic` None: the cloud's presence knows the next contact announced, and a will
        would call every sleeping node dead.
        """
        if topic is not None:
            raise ValueError("mqtt: no will")

    def connect(self, sockaddr, user=None, password=None, keepalive=60, ssl=None, server_hostname=None):
        """Begins a connection and returns; check_msg() carries it on, `state` tells how far it is.

        `sockaddr` is the last element of a getaddrinfo() entry: resolving blocks and is the caller's.
        `keepalive` in seconds, 0 none. `ssl` an SSLContext, or None for plain TCP. Packets queued before the
        first check_msg() leave together with CONNECT in one write. An earlier connection is closed.
        MqttError `dial` if there is no network.
        """
        self.close()
        self._hello(user, password, keepalive)
        self._keepalive_ms = keepalive * 1000
        self._dial = Dial(sockaddr, ssl, server_hostname)
        self.state = DIAL
        try:
            self.sock = self._dial.start()
        except OSError as error:
            raise self._failed(MqttError("dial", str(error)))
        self._deadlines.watch(_DIAL, True, self._clock.ticks_ms())

    def publish(self, topic, *parts, retain=False, qos=0):
        """Queues a PUBLISH whose payload is `parts`, bytes-like objects, one after another. `qos` 0 or 1; one of
        QoS 1 counts as unanswered() until its PUBACK and is not sent again: it ends with its connection.

        True if the whole packet is queued, False if there is no room now. ValueError if it could never fit.
        """
        self._demand_open()
        queued = packet.publish(self._outbox, topic, parts, retain, qos, self._next_id())
        if queued and qos:
            self._await(packet.PUBACK)
        return queued

    def subscribe(self, topic, qos=0):
        """Queues a SUBSCRIBE to one topic filter, `qos` 0 or 1; False if there is no room. A refusal is MqttError
        `denied` later.
        """
        self._demand_open()
        queued = packet.subscribe(self._outbox, self._next_id(), topic, qos)
        if queued:
            self._await(packet.SUBACK)
        return queued

    def ping(self):
        """Queues a PINGREQ unless one is unanswered; False if there is no room. check_msg() does it too."""
        self._demand_open()
        if not self._incoming.pinging:
            self._incoming.pinging = self._say(packet.PINGREQ)
        return self._incoming.pinging

    def unanswered(self):
        """How many SUBSCRIBEs and PUBLISHes of QoS 1 the broker has not acknowledged yet."""
        return len(self._incoming.awaited)

    def check_msg(self):
        """Does all that can be done now: writes, reads, callbacks, pings, deadlines.

        True if the peer has more to read right now (call again before waiting), else False. Raises
        MqttError, the connection then being closed; whatever a callback raises passes through and leaves the
        connection as it is.
        """
        self._demand_open()
        more = False
        now = self._clock.ticks_ms()
        try:
            self._write(now)
            stalled = self._outbox.pending() > 0
            if self.state != DIAL:
                more = self._read()
            if self.state != CLOSED:
                if self._ping_in_ms(now) == 0:
                    self.ping()
                if not stalled:
                    self._write(now)  # what reading has caused
                self._watch(now)
        except MqttError as error:
            raise self._failed(error)
        return more

    def disconnect(self):
        """Says DISCONNECT if that can be done at once, and closes. Never raises a network fault."""
        try:
            if self.state == UP and self._say(packet.DISCONNECT):
                self._outbox.send(self.sock)
        except (OSError, ValueError):
            pass  # The connection is being given up; a fault changes nothing.
        self.close()

    def close(self):
        """Closes the socket at once and forgets what was queued. Harmless when closed."""
        sock, self.sock = self.sock, None
        dial, self._dial = self._dial, None
        self.state = CLOSED
        self._inbox.clear()
        self._outbox.clear()
        self._incoming.clear()
        self._deadlines.clear()
        for each in (sock, dial):
            if each is not None:
                try:
                    each.close()
                except OSError:
                    pass  # A socket in error is closed all the same.

    def pending(self):
        """Bytes queued and not yet taken by the network."""
        return self._outbox.pending()

    def wants_write(self):
        """Whether the next step waits for the socket to become writable (else readable)."""
        if self.state == DIAL:
            return self._dial.wants_write()
        return self._outbox.pending() > 0

    def due_ms(self):
        """Milliseconds until check_msg() has something to do though the socket is quiet: 0.., or -1 for
        never.
        """
        now = self._clock.ticks_ms()
        due = self._deadlines.next_ms(now)
        ping = self._ping_in_ms(now)
        if ping is not None:
            due = ping if due is None else min(due, ping)
        return -1 if due is None else due

    def _demand_open(self):
        if self.state == CLOSED:
            raise MqttError("closed", "there is no connection")

    def _failed(self, error):
        """Counts an MqttError, once for each connection, closes, and returns it."""
        if self.state != CLOSED:
            self.faults[error.what] = self.faults.get(error.what, 0) + 1
        self.close()
        return error

    def _broken(self, error):
        return MqttError("dial" if self.state == DIAL else "socket", str(error))

    def _hello(self, user, password, keepalive):
        packet.connect(self._outbox, self.client_id, user, password, keepalive)

    def _say(self, first):
        return self._outbox.begin(first, 0)

    def _next_id(self):
        return self._packet_id % 65535 + 1

    def _await(self, first):
        self._packet_id = self._next_id()
        self._incoming.awaited.append(first << 16 | self._packet_id)

    def _write(self, now):
        try:
            if self.state == DIAL:
                sock = self._dial.ready()
                if sock is None:
                    return
                self.sock = sock  # for TLS another one, wrapped around the first
            while self._outbox.pending():
                if not self._outbox.send(self.sock):
                    return
                self._last_write = now
                self._deadlines.progress(_WRITE)
                if self.state == DIAL:
                    self.state = AUTH
        except (OSError, ValueError) as error:  # mbedTLS reports some certificate faults as ValueError
            raise self._broken(error)

    def _read(self):
        """Takes in what there is; True if the bounds on one call ended it."""
        inbox = self._inbox
        left = _PACKETS
        for _ in range(_READS):
            left = self._handle_held(left)
            if left <= 0:
                return left == 0
            try:
                count = inbox.fill(self.sock)
            except (OSError, ValueError) as error:
                raise self._broken(error)
            if count is None:
                return False
            if count == 0:
                raise MqttError("eof", "closed by the peer, %d bytes into a packet" % inbox.held())
        return True

    def _handle_held(self, left):
        """Handles at most `left` of the packets that are here. How many more it may be, or -1 if one must wait for
        room to answer, or the callback closed.
        """
        inbox = self._inbox
        while left:
            first = inbox.packet()
            if first is None:
                break
            if first & 0xF6 == 0x32 and not self._outbox.reserve(4):
                return -1
            self._deadlines.progress(_PACKET)
            try:
                kind = self._incoming.take(first, inbox.view, inbox.body, inbox.end)
                self._act(kind, inbox.view, inbox.end)
            finally:
                inbox.drop()
            if self.state == CLOSED:
                return -1
            left -= 1
        return left

    def _act(self, kind, view, end):
        """Does what a packet of this kind, which has been judged, calls for."""
        incoming = self._incoming
        if kind == packet.PUBLISH:
            if incoming.packet_id:
                self._outbox.begin(packet.PUBACK, 2)
                self._outbox.put_u16(incoming.packet_id)
            if self._callback is not None:
                self._callback(view[incoming.topic : incoming.topic_end], view[incoming.payload : end])
        elif kind == packet.CONNACK:
            self.state = UP
        elif kind != packet.PINGRESP:
            self._deadlines.progress(_ACK)

    def _ping_in_ms(self, now):
        """Milliseconds until a PINGREQ is due, or None. While bytes are pending there is traffic enough, and their own
        deadline runs.
        """
        if not self._keepalive_ms or self.state != UP or self._incoming.pinging or self._outbox.pending():
            return None
        return max(0, self._keepalive_ms * 3 // 4 - self._clock.ticks_diff(now, self._last_write))

    def _watch(self, now):
        """Starts, clears and enforces the deadlines; what made progress has cleared its own before."""
        state, incoming, deadlines = self.state, self._incoming, self._deadlines
        deadlines.watch(_DIAL, state == DIAL, now)
        deadlines.watch(_CONNACK, state == AUTH, now)
        deadlines.watch(_ACK, state == UP and len(incoming.awaited) > 0, now)
        deadlines.watch(_PINGRESP, state == UP and incoming.pinging, now)
        deadlines.watch(_WRITE, state != DIAL and self._outbox.pending() > 0, now)
        deadlines.watch(_PACKET, self._inbox.held() > 0, now)
