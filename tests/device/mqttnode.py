"""The client against a real broker; tests/host/test_mqtt_broker.py starts it in a VM: mqttnode.py ROLE PORT, and
for `pressed` FOLDER SNDBUF: the folder of `ca`, `cert` and `pkey`, and the number of SO_SNDBUF.
"""

import asyncio
import socket
import sys
import time

import mqtt
from mqtt.aio import wait

MESSAGES = 200
SIZE = 1000
WINDOW = 8
BUDGET_MS = 10000


def _connect(name, port, password="secret", tx_size=4096):
    client = mqtt.Client(name, tx_size=tx_size, answer_ms=2000)
    client.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1], user="node", password=password)
    return client


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
    while far.state != mqtt.UP or far.unanswered():
        await asyncio.sleep_ms(5)
    near.subscribe(b"v1/t/n/dn/+")
    await _run(near, lambda: near.state == mqtt.UP and not near.unanswered())
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
        context.load_verify_locations(sys.argv[3] + "/ca")
        context.load_cert_chain(sys.argv[3] + "/cert", sys.argv[3] + "/pkey")
        self.client = mqtt.Client(name)
        self.client.set_callback(self._heard)
        self.start = time.ticks_ms()
        address = socket.getaddrinfo("127.0.0.1", port)[0][-1]
        self.client.connect(address, ssl=context, server_hostname="127.0.0.1")
        self.client.sock.setsockopt(socket.SOL_SOCKET, int(sys.argv[4]), 2048)
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
        await _run(self.client, lambda: self.client.state == mqtt.UP and not self.client.unanswered())
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
        print("fault", error.what)


asyncio.run(globals()[sys.argv[1]](int(sys.argv[2])))
