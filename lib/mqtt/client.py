"""A non-blocking MQTT 3.1.1 client: whoever owns it calls check_msg(), and no call ever waits.

The method names are those of umqtt.simple. States: CLOSED -> DIAL (TCP, TLS) -> AUTH (CONNECT is out) -> UP;
any fault closes the socket and raises MqttError.
"""

import time

from micropython import const

from mqtt import packet
from mqtt.deadline import Deadlines
from mqtt.dial import Dial
from mqtt.error import MqttError
from mqtt.inbox import Inbox
from mqtt.outbox import Outbox

CLOSED = const(0)
DIAL = const(1)
AUTH = const(2)
UP = const(3)

# What may take too long, by index.
_WHAT = ("dial", "connack", "suback", "pingresp", "write", "packet")
_DIAL = const(0)
_CONNACK = const(1)
_SUBACK = const(2)
_PINGRESP = const(3)
_WRITE = const(4)
_PACKET = const(5)

# Reads within one check_msg(): a peer that never stops sending must not keep the caller.
_READS = const(8)


class Client:
    """One connection at a time, made anew by every connect().

    `client_id` str or bytes. `rx_size` and `tx_size`: bytes of the two buffers, made here; the largest
    packet that can be received and sent. `dial_ms` for TCP and TLS together, `answer_ms` for CONNACK,
    SUBACK, PINGRESP, the rest of a packet, and any progress of a write. `clock` has ticks_ms() and
    ticks_diff(). One task owns a client; others may publish() between its calls.
    """

    def __init__(self, client_id, rx_size=1200, tx_size=4096, dial_ms=15000, answer_ms=10000, clock=time):
        self.client_id = client_id
        self.state = CLOSED
        self.sock = None
        self._inbox = Inbox(rx_size)
        self._outbox = Outbox(tx_size)
        self._clock = clock
        self._deadlines = Deadlines(_WHAT, (dial_ms,) + (answer_ms,) * (len(_WHAT) - 1), clock)
        self._callback = None
        self._will = None
        self._dial = None
        self._packet_id = 0
        self._awaited = []  # packet ids of SUBSCRIBEs without a SUBACK
        self._pinging = False
        self._keepalive_ms = 0
        self._last_write = 0

    def set_callback(self, callback):
        """`callback(topic, payload)` gets two memoryviews into the receive buffer, valid only until it
        returns.
        """
        self._callback = callback

    def set_last_will(self, topic, msg, retain=False, qos=0):
        """The will of the connections to come; `topic` None for none."""
        self._will = None if topic is None else (topic, msg, retain, qos)

    def connect(self, sockaddr, user=None, password=None, keepalive=60, ssl=None, server_hostname=None):
        """Begins a connection and returns; check_msg() carries it on, `state` tells how far it is.

        `sockaddr` is the last element of a getaddrinfo() entry: resolving blocks and is the caller's.
        `keepalive` in seconds, 0 none. `ssl` an SSLContext, or None for plain TCP. Packets queued before the
        first check_msg() leave together with CONNECT in one write. An earlier connection is closed.
        MqttError `dial` if there is no network.
        """
        self.close()
        hello = packet.connect(self.client_id, user, password, keepalive, self._will)
        if not self._outbox.reserve(len(hello)):
            raise ValueError("mqtt: CONNECT of %d bytes in %d" % (len(hello), self._outbox.size))
        self._outbox.put(hello)
        self._keepalive_ms = keepalive * 1000
        self._dial = Dial(sockaddr, ssl, server_hostname)
        self.state = DIAL
        try:
            self.sock = self._dial.start()
        except OSError as error:
            self._fail(error)
        self._deadlines.watch(_DIAL, True, self._clock.ticks_ms())

    def publish(self, topic, *parts):
        """Queues a QoS 0 PUBLISH whose payload is `parts`, bytes-like objects, one after another.

        True if the whole packet is queued, False if there is no room now. ValueError if it could never fit.
        """
        self._demand_open()
        topic = packet.octets(topic)
        length = 2 + len(topic)
        for part in parts:
            length += len(part)
        outbox = self._outbox
        size = 1 + packet.length_size(length) + length
        if size > outbox.size:
            raise ValueError("mqtt: PUBLISH of %d bytes, the transmit buffer has %d" % (size, outbox.size))
        if not outbox.reserve(size):
            return False
        outbox.put_byte(packet.PUBLISH)
        outbox.put_length(length)
        outbox.put_u16(len(topic))
        outbox.put(topic)
        for part in parts:
            outbox.put(part)
        return True

    def subscribe(self, topic, qos=0):
        """Queues a SUBSCRIBE to one topic filter; False if there is no room. A refusal is MqttError `denied`
        later.
        """
        self._demand_open()
        packet_id = self._packet_id % 65535 + 1
        if not self._queue(packet.subscribe(packet_id, topic, qos)):
            return False
        self._packet_id = packet_id
        self._awaited.append(packet_id)
        return True

    def ping(self):
        """Queues a PINGREQ unless one is unanswered; False if there is no room. check_msg() does it too."""
        self._demand_open()
        if not self._pinging:
            self._pinging = self._queue(packet.PINGREQ_PACKET)
        return self._pinging

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
            if self.state != DIAL or self._connected():
                self._write(now)
            stalled = self._outbox.pending() > 0
            if self.state != DIAL:
                more = self._read()
            if self.state != CLOSED:
                self._keep_alive(now)
                if not stalled:
                    self._write(now)  # what reading has caused
                self._watch(now)
        except MqttError:
            self.close()
            raise
        return more

    def disconnect(self):
        """Says DISCONNECT if that can be done at once, and closes. Never raises a network fault."""
        if self.state == UP and self._queue(packet.DISCONNECT_PACKET):
            try:
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
        self._awaited.clear()
        self._pinging = False
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
        if self._pings():
            ping = max(0, self._ping_after() - self._clock.ticks_diff(now, self._last_write))
            due = ping if due is None else min(due, ping)
        return -1 if due is None else due

    def _demand_open(self):
        if self.state == CLOSED:
            raise MqttError("closed", "there is no connection")

    def _fail(self, error):
        what = "dial" if self.state == DIAL else "socket"
        self.close()
        raise MqttError(what, str(error))

    def _queue(self, octets):
        if not self._outbox.reserve(len(octets)):
            return False
        self._outbox.put(octets)
        return True

    def _connected(self):
        """Whether the socket can be written to; it may be another one then, wrapped for TLS."""
        try:
            sock = self._dial.ready()
        except (OSError, ValueError) as error:
            self._fail(error)
        if sock is None:
            return False
        self.sock = sock
        return True

    def _write(self, now):
        while self._outbox.pending():
            try:
                taken = self._outbox.send(self.sock)
            except (OSError, ValueError) as error:  # mbedTLS reports some certificate faults as ValueError
                self._fail(error)
            if not taken:
                return
            self._last_write = now
            self._deadlines.progress(_WRITE)
            if self.state == DIAL:
                self.state = AUTH

    def _read(self):
        """Takes in what there is; True if the number of reads ended it."""
        inbox = self._inbox
        for _ in range(_READS):
            try:
                count = inbox.fill(self.sock)
            except (OSError, ValueError) as error:
                self._fail(error)
            if count == 0:
                raise MqttError("eof", "closed by the peer, %d bytes into a packet" % inbox.held())
            if not self._handle_all() or count is None:
                return False
        return True

    def _handle_all(self):
        """Handles the packets that are here; False if one must wait for room to answer, or the callback
        closed.
        """
        inbox = self._inbox
        while True:
            first = inbox.packet()
            if first is None:
                return True
            if first & 0xF6 == 0x32 and not self._outbox.reserve(4):
                return False
            self._deadlines.progress(_PACKET)
            try:
                self._handle(first, inbox.view, inbox.body, inbox.end)
            finally:
                inbox.drop()
            if self.state == CLOSED:
                return False

    def _handle(self, first, view, body, end):
        size = end - body
        if self.state == AUTH:
            if first != packet.CONNACK or size != 2 or view[body] > 1:
                raise MqttError("protocol", "%02Xh of %d bytes in place of CONNACK" % (first, size))
            code = view[body + 1]
            if code:
                reason = packet.REFUSALS[code] if code < len(packet.REFUSALS) else "not of MQTT 3.1.1"
                raise MqttError("refused", "CONNACK code %d, %s" % (code, reason))
            self.state = UP
        elif first & 0xF0 == packet.PUBLISH:
            self._handle_publish(first, view, body, end)
        elif first == packet.SUBACK and size == 3 and view[body] << 8 | view[body + 1] in self._awaited:
            self._awaited.remove(view[body] << 8 | view[body + 1])
            self._deadlines.progress(_SUBACK)
            if view[body + 2] > 2:
                raise MqttError("denied", "SUBACK code %02Xh" % view[body + 2])
        elif first == packet.PINGRESP and size == 0:
            self._pinging = False
        else:
            raise MqttError("protocol", "unexpected packet %02Xh of %d bytes" % (first, size))

    def _handle_publish(self, first, view, body, end):
        qos = first >> 1 & 3
        if qos > 1:
            raise MqttError("protocol", "PUBLISH with QoS %d, asked for at most 1" % qos)
        start = body + 2
        payload = start + (view[body] << 8 | view[body + 1]) + 2 * qos if start <= end else end + 1
        if payload > end:
            raise MqttError("protocol", "PUBLISH of %d bytes, too short for its topic" % (end - body))
        topic_end = payload - 2 * qos
        if qos:
            self._queue(packet.puback(view[topic_end] << 8 | view[topic_end + 1]))
        if self._callback is not None:
            self._callback(view[start:topic_end], view[payload:end])

    def _pings(self):
        # Pending bytes are traffic enough, and their own deadline runs.
        idle = self.state == UP and not self._pinging and not self._outbox.pending()
        return idle and self._keepalive_ms > 0

    def _ping_after(self):
        return self._keepalive_ms * 3 // 4

    def _keep_alive(self, now):
        if self._pings() and self._clock.ticks_diff(now, self._last_write) >= self._ping_after():
            self.ping()

    def _watch(self, now):
        """Starts, clears and enforces the deadlines; what made progress has cleared its own before."""
        state = self.state
        self._hold(_DIAL, state == DIAL, now)
        self._hold(_CONNACK, state == AUTH, now)
        self._hold(_SUBACK, state == UP and len(self._awaited) > 0, now)
        self._hold(_PINGRESP, state == UP and self._pinging, now)
        self._hold(_WRITE, state != DIAL and self._outbox.pending() > 0, now)
        self._hold(_PACKET, self._inbox.held() > 0, now)

    def _hold(self, which, active, now):
        passed = self._deadlines.watch(which, active, now)
        if passed:
            raise MqttError(_WHAT[which], "no progress in %d ms" % passed)
