"""A client against a peer that means no good; tests/host/test_mqtt_blocking.py starts it in a VM:
mqttattacked.py CLIENT PORT FOLDER SNDBUF, CLIENT `own` or `umqtt`, FOLDER of a node's credentials or `-` for plain TCP,
SNDBUF the number of SO_SNDBUF.

Says in one line of JSON what became of it: `what` and `detail` of the fault (`none` if there was none in 5 s), `ms`
until then, `longest_ms` the longest time another task of the same loop was not let run, `heard` messages, `grown` bytes
of heap.
"""

import asyncio
import gc
import json
import socket
import sys
import time

import mqtt
from mqtt.aio import wait

if sys.argv[1] == "umqtt":
    from mqtt.umqtt_adapter import UmqttClient as Client
else:
    from mqtt import Client


def _starved_us():
    """Microseconds for which the host did not let this process run though it could; its second figure in Linux."""
    try:
        with open("/proc/self/schedstat") as file:
            return int(file.read().split()[1]) // 1000
    except OSError:
        return 0


class Ticker:
    """A task like any other; `longest_us` is what it was kept waiting at most, the host's share taken off."""

    def __init__(self):
        self.longest_us = 0

    async def run(self):
        while True:
            began, starved = time.ticks_us(), _starved_us()
            await asyncio.sleep_ms(5)
            kept = time.ticks_diff(time.ticks_us(), began) - (_starved_us() - starved) - 5000
            self.longest_us = max(self.longest_us, kept)


def _context(folder):
    if folder == "-":
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(folder + "/ca")
    context.load_cert_chain(folder + "/cert", folder + "/pkey")
    return context


async def main():
    heard = [0]

    def hear(topic, payload):
        heard[0] += 1

    client = Client("n1", rx_size=512, tx_size=2304, dial_ms=1500, answer_ms=1000)
    client.set_callback(hear)
    context = _context(sys.argv[3])
    address = socket.getaddrinfo("127.0.0.1", int(sys.argv[2]))[0][-1]
    ticker = Ticker()
    other = asyncio.create_task(ticker.run())
    await asyncio.sleep_ms(20)
    gc.collect()
    before = gc.mem_alloc()
    said = {}
    start = time.ticks_ms()
    try:
        client.connect(address, ssl=context, server_hostname="127.0.0.1")
        client.sock.setsockopt(socket.SOL_SOCKET, int(sys.argv[4]), 2048)
        client.subscribe(b"d/+")
        while time.ticks_diff(time.ticks_ms(), start) < 5000:
            client.publish(b"u/t", bytes(900))
            if not client.check_msg() and client.pending():
                await wait(client, 1000)
            else:
                await asyncio.sleep_ms(0)
        said["what"] = "none"
    except mqtt.MqttError as error:
        said["what"], said["detail"] = error.what, error.detail
        if client.faults != {error.what: 1} or client.state != mqtt.CLOSED or client.sock is not None:
            said["what"] = "badly closed"
    said["ms"] = time.ticks_diff(time.ticks_ms(), start)
    await asyncio.sleep_ms(10)
    other.cancel()
    said["longest_ms"] = ticker.longest_us // 1000
    said["heard"] = heard[0]
    gc.collect()
    said["grown"] = gc.mem_alloc() - before
    print(json.dumps(said))


asyncio.run(main())
