"""The stock umqtt.simple in the place of Client, its hazards contained; DESIGN.md lists them.

umqtt.simple builds every packet and reads every packet, but never touches a socket: it gets a pipe that holds what it
writes, and gives it one whole packet, already judged, to read. A call of it that goes on to wait for an answer is ended
right there; when the answer has come, the call is made again with what it writes thrown away, and reads it.
"""

from mqtt import packet
from mqtt.client import Client
from mqtt.error import MqttError

_LONGEST_FILTER = 122  # umqtt.simple writes SUBSCRIBE's remaining length, 5 more, as one byte


class _Waits(Exception):
    """umqtt.simple reads on where there is no more."""


class _Pipe:
    """What umqtt.simple takes for the module socket and for its socket. Nothing here ever waits."""

    def __init__(self):
        self.said = bytearray()
        self._heard = b""
        self._at = 0

    def begin(self, heard):
        """Empties it; `heard` is what can be read."""
        self.said = bytearray()
        self._heard = heard
        self._at = 0

    def socket(self, *_):
        """socket.socket()"""
        return self

    def getaddrinfo(self, *_):
        """Whatever the name, as it is dialled already."""
        return ((0, 0, 0, "", None),)

    def connect(self, *_):
        """Is done."""

    settimeout = setblocking = connect

    def write(self, data, size=None):
        """Takes all."""
        self.said.extend(data if size is None else memoryview(data)[:size])
        return len(data) if size is None else size

    def read(self, size):
        """Exactly `size` bytes, as a blocking socket; _Waits if there are fewer."""
        end = self._at + size
        if end > len(self._heard):
            raise _Waits
        part = bytes(self._heard[self._at : end])
        self._at = end
        return part

    def close(self):
        """The socket is another's."""


class UmqttClient(Client):
    """A Client whose packets umqtt.simple makes and reads; used exactly as a Client. Allocates for every packet.

    `module`: umqtt.simple or one like it, imported if None. MqttError `umqtt` where it raises what it should not.
    """

    def __init__(self, client_id, *args, module=None, **options):
        super().__init__(client_id, *args, **options)
        if module is None:
            from umqtt import simple as module
        self._module = module
        self._pipe = _Pipe()
        self._stock = None
        self._message = None

    def publish(self, topic, *parts, retain=False, qos=0):
        """As Client's."""
        self._demand_open()
        if not 0 <= qos <= 1:
            raise ValueError("mqtt: PUBLISH with QoS %d, can do 0 and 1" % qos)
        message = bytearray()
        for part in parts:
            message.extend(part)
        self._stock.pid = self._next_id() - 1
        queued = self._queue(self._stock.publish, packet.octets(topic), message, retain, qos)
        if queued and qos:
            self._await(packet.PUBACK)
        return queued

    def subscribe(self, topic, qos=0):
        """As Client's; a filter of at most 122 bytes."""
        self._demand_open()
        topic = packet.octets(topic)
        if len(topic) > _LONGEST_FILTER:
            raise ValueError("mqtt: a filter of %d bytes, umqtt.simple can say %d" % (len(topic), _LONGEST_FILTER))
        self._stock.pid = self._next_id() - 1
        queued = self._queue(self._stock.subscribe, topic, qos)
        if queued:
            self._await(packet.SUBACK)
        return queued

    def _hello(self, user, password, keepalive):
        if not 0 <= keepalive <= 65535 or (user is None) != (password is None):
            raise ValueError("mqtt: keepalive %d s, range 0..65535; or one of user and password alone" % keepalive)
        # It takes no name for no user, and joins a str's length in characters with its bytes.
        user = None if user is None else packet.octets(user)
        password = None if password is None else packet.octets(password)
        self._stock = self._module.MQTTClient(
            packet.octets(self.client_id), "", 1883, user, password, keepalive
        )
        self._stock.set_callback(self._hear)
        self._queue(self._connect)

    def _say(self, first):
        return self._queue(self._stock.ping if first == packet.PINGREQ else self._stock.disconnect)

    def _act(self, kind, view, end):
        heard = view[self._inbox.start : end]
        stock = self._stock
        if kind == packet.PUBLISH:
            self._queue(stock.check_msg, heard=heard)
            message, self._message = self._message, None
            if message is None:
                raise MqttError("umqtt", "umqtt.simple did not deliver a PUBLISH of %d bytes" % len(heard))
            if self._callback is not None:
                self._callback(memoryview(message[0]), memoryview(message[1]))
            return
        if kind == packet.PINGRESP:
            self._run(heard, stock.check_msg)
        elif kind == packet.CONNACK:
            self._run(heard, self._connect)
        else:
            ack = self._inbox.body
            stock.pid = (view[ack] << 8 | view[ack + 1]) - 1
            if kind == packet.SUBACK:
                self._run(heard, stock.subscribe, b"", 0)
            else:
                self._run(heard, stock.publish, b"", b"", False, 1)
        super()._act(kind, view, end)

    def _connect(self):
        theirs = self._module.socket  # pyright: ignore[reportAttributeAccessIssue] imported there
        self._module.socket = self._pipe  # pyright: ignore[reportAttributeAccessIssue]
        try:
            self._stock.connect()
        finally:
            self._module.socket = theirs  # pyright: ignore[reportAttributeAccessIssue]

    def _hear(self, topic, message):
        self._message = topic, message

    def _queue(self, call, *args, heard=b""):
        """Queues what `call` says; False if there is no room."""
        said = self._run(heard, call, *args)
        outbox = self._outbox
        if len(said) > outbox.size:
            raise ValueError("mqtt: a packet of %d bytes, the transmit buffer has %d" % (len(said), outbox.size))
        if not outbox.reserve(len(said)):
            return False
        outbox.put(said)
        return True

    def _run(self, heard, call, *args):
        """Calls umqtt.simple with `heard` to read; returns what it wrote. If it waits for more, that is not an error:
        the rest follows with the answer.
        """
        pipe = self._pipe
        pipe.begin(heard)
        self._stock.sock = pipe
        try:
            call(*args)
        except _Waits:
            if heard:
                raise self._failed(MqttError("umqtt", "umqtt.simple reads on after a packet of %d bytes" % len(heard)))
        except MemoryError:
            raise
        except Exception as error:  # its own, assertions, IndexError, OSError(-1): whatever it is, it is a fault
            raise self._failed(MqttError("umqtt", repr(error)))
        return pipe.said
