"""A client against a real broker; tests/host/test_mqtt_broker.py starts it in a VM: mqttnode.py ROLE CLIENT PORT,
CLIENT `own` or `umqtt`, and for `pressed` FOLDER SNDBUF: the folder of `ca`, `cert` and `pkey`, and the number of
SO_SNDBUF.
"""

import asyncio
import select
import socket
import sys
import time

import mqtt
from mqtt.aio import wait

MESSAGES = 200
SIZE = 1000
WINDOW = 8
BUDGET_MS = 10000


if sys.argv[2] == "umqtt":
    from mqtt.umqtt_adapter import UmqttClient as Client
else:
    from mqtt import Client


def _connect(name, port, password="secret", keepalive=60, **options):
    client = Client(name, answer_ms=2000, **options)
    address = socket.getaddrinfo("127.0.0.1", port)[0][-1]
    client.connect(address, user="node", password=password, keepalive=keepalive)
    return client


def _subscribed(client):
    return client.state == mqtt.UP and not client.unanswered()


async def _run(client, done):
    start = time.ticks_ms()
    while not done():
        if time.ticks_diff(time.ticks_ms(), start) > BUDGET_MS:
            raise RuntimeError("not done in %d ms" % BUDGET_MS)
        if not client.check_msg() and not done():
            await wait(client, 1000)


def _payload(number):
    return b"%05d" % number * (SIZE // 5)


async def round_trip(port):
    """`far` sends back what `near` publishes, WINDOW under way at a time; every byte and the order are checked."""
    near, far = _connect("near", port), _connect("far", port, tx_size=WINDOW * (SIZE + 50))
    back = []

    def send_back(topic, payload):
        if not far.publish(b"v1/t/n/dn/x", payload):
            raise RuntimeError("no room to send back")

    def come_back(topic, payload):
        if bytes(payload) != _payload(len(back)) or bytes(topic) != b"v1/t/n/dn/x":
            raise RuntimeError("message %d came back as %s" % (len(back), bytes(payload)[:20]))
        back.append(None)

    far.set_callback(send_back)
    near.set_callback(come_back)
    far.subscribe(b"v1/t/n/up/+")
    other = asyncio.create_task(_run(far, lambda: len(back) == MESSAGES))
    while not _subscribed(far):
        await asyncio.sleep_ms(5)
    near.subscribe(b"v1/t/n/dn/+")
    await _run(near, lambda: _subscribed(near))
    start = time.ticks_ms()
    sent = 0
    while len(back) < MESSAGES:
        while sent < MESSAGES and sent - len(back) < WINDOW and near.publish(b"v1/t/n/up/t", _payload(sent)):
            sent += 1
        heard = len(back)
        await _run(near, lambda heard=heard: len(back) > heard)
    print("round trips", len(back), "in ms", time.ticks_diff(time.ticks_ms(), start))
    other.cancel()
    near.disconnect()
    far.disconnect()


PRESSED = 300


class Pressed:
    """A client over TLS that publishes PRESSED messages as fast as there is room, and checks as many that come."""

    def __init__(self, name, port, to, source):
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(sys.argv[4] + "/ca")
        context.load_cert_chain(sys.argv[4] + "/cert", sys.argv[4] + "/pkey")
        self.client = Client(name)
        self.client.set_callback(self._heard)
        self.start = time.ticks_ms()
        address = socket.getaddrinfo("127.0.0.1", port)[0][-1]
        self.client.connect(address, ssl=context, server_hostname="127.0.0.1")
        self.client.sock.setsockopt(socket.SOL_SOCKET, int(sys.argv[5]), 2048)
        self.client.subscribe(source)
        self.to = to
        self.sent = self.heard = self.stalls = 0
        send = self.client._outbox.send

        def counted(sock):
            taken = send(sock)
            # The handshake takes nothing either.
            self.stalls += not taken and self.client.state == mqtt.UP
            return taken

        self.client._outbox.send = counted

    def _heard(self, topic, payload):
        if bytes(payload) != _payload(self.heard):
            raise RuntimeError("message %d came as %s" % (self.heard, bytes(payload)[:20]))
        self.heard += 1

    async def up(self):
        await _run(self.client, lambda: _subscribed(self.client))
        return time.ticks_diff(time.ticks_ms(), self.start)

    async def run(self):
        start = time.ticks_ms()
        while self.sent < PRESSED or self.client.pending() or self.heard < PRESSED:
            # One at a time, so that the buffer grows behind a write that was refused.
            if self.sent < PRESSED and self.client.publish(self.to, _payload(self.sent)):
                self.sent += 1
            if time.ticks_diff(time.ticks_ms(), start) > BUDGET_MS:
                raise RuntimeError("sent %d, heard %d" % (self.sent, self.heard))
            if not self.client.check_msg() and (self.client.pending() or self.sent == PRESSED):
                await wait(self.client, 10)
            else:
                await asyncio.sleep_ms(0)


async def pressed(port):
    """Two clients flood each other over TLS; nothing may be lost, doubled or reordered on the way."""
    near = Pressed("near", port, b"v1/t/n/up/t", b"v1/t/n/dn/+")
    first_ms = await near.up()
    far = Pressed("far", port, b"v1/t/n/dn/x", b"v1/t/n/up/+")
    await far.up()
    start = time.ticks_ms()
    await asyncio.gather(near.run(), far.run())
    taken = time.ticks_diff(time.ticks_ms(), start)
    print("handshake ms %d, exchange ms %d, stalls %d %d" % (first_ms, taken, near.stalls, far.stalls))


async def one_write(port):
    """CONNECT, SUBSCRIBE and PUBLISHes leave in one write, and the broker acts upon all of them."""
    client = _connect("one", port)
    writes, heard = [], []
    send = client._outbox.send

    def counted(sock):
        writes.append(send(sock))
        return writes[-1]

    client._outbox.send = counted
    client.set_callback(lambda topic, payload: heard.append(bytes(payload)))
    client.subscribe(b"v1/t/n/dn/+")
    client.publish(b"v1/t/n/dn/x", b"birth")
    client.publish(b"v1/t/n/dn/x", b"alert")
    queued = client.pending()
    await _run(client, lambda: len(heard) == 2)
    if heard != [b"birth", b"alert"] or writes != [queued]:
        raise RuntimeError("heard %s, writes %s" % (heard, writes))
    client.disconnect()


async def sizes(port):
    """Messages around every step of the remaining length, up to 1,024 bytes of payload, of either QoS, come back whole,
    in order, each alone and all at once.
    """
    topic = b"v1/t/n/up/t"
    around = 128 - 2 - len(topic)
    lengths = [0, 1, around - 3, around - 2, around - 1, around, around + 1, 512, 1000, 1023, 1024]
    heard, sent = [], []
    buf = bytearray(1024)

    def hear(got, payload):
        whole = len(payload) == 0 or bytes(payload) == bytes(payload[:1]) * len(payload)
        heard.append((len(payload), payload[0] if payload else 0, whole and bytes(got) == topic))

    def send(length, qos):
        for at in range(length):
            buf[at] = len(sent)
        sent.append((length, len(sent) if length else 0, True))
        if not client.publish(topic, memoryview(buf)[:length], qos=qos):
            raise RuntimeError("no room")

    client = _connect("sizes", port, tx_size=4096)
    client.set_callback(hear)
    client.subscribe(b"v1/t/n/up/+", 1)
    await _run(client, lambda: _subscribed(client))
    for qos in (0, 1):
        for length in lengths:
            send(length, qos)
            await _run(client, lambda: len(heard) == len(sent) and not client.unanswered())
    for _ in range(3):
        send(1024, 0)
    await _run(client, lambda: len(heard) == len(sent))
    if heard != sent:
        raise RuntimeError("sent %s, heard %s" % (sent, heard))
    print("whole", len(heard))
    client.disconnect()


async def idle(port):
    """Says nothing for several keepalive times and is still there; then is not looked after and is thrown out."""
    client = _connect("idle", port, keepalive=1)
    pings, heard = [], []
    say = client._say

    def counted(first):
        pings.append(first)
        return say(first)

    client._say = counted
    client.set_callback(lambda topic, payload: heard.append(None))
    client.subscribe(b"v1/t/n/dn/+")
    await _run(client, lambda: len(pings) == 2 and not client._incoming.pinging)
    client.publish(b"v1/t/n/dn/x", b"there")
    await _run(client, lambda: bool(heard))
    print("pings", len(pings))
    poll = select.poll()
    poll.register(client.sock, select.POLLIN)
    poll.poll(9000)  # mosquitto looks every few seconds
    await _fault(client)


async def killed(port):
    """Stays connected until the connection fails; the host kills the broker after `up`."""
    client = _connect("victim", port)
    await _run(client, lambda: client.state == mqtt.UP)
    print("up")
    await _fault(client)


async def refused(port):
    """A wrong password."""
    await _fault(_connect("intruder", port, "wrong"))


async def denied(port):
    """A topic filter that the broker's permissions forbid."""
    client = _connect("curious", port)
    client.subscribe(b"v1/t/other/dn/+")
    await _fault(client)


async def _fault(client):
    try:
        await _run(client, lambda: False)
    except mqtt.MqttError as error:
        print("fault", error.what, client.faults[error.what])


asyncio.run(globals()[sys.argv[1]](int(sys.argv[3])))
