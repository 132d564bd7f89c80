"""The radio, and the way to the cloud."""

import asyncio
from collections import OrderedDict
from time import ticks_diff, ticks_ms

from ..candidate import Candidate
from ..refused import Refused

_UP_MS = 20000
_PING_MS = 30000


async def status(console, words):
    """The radio, without turning it on."""
    node = console.node
    signal = None
    if node.contacts.busy():
        try:
            signal = node.board.radio().signal() or None
        except OSError:
            pass  # not joined yet
    networks = [OrderedDict(ssid=ssid, protected=bool(key)) for ssid, key in node.settings["wifi"]]
    return OrderedDict(radio="on" if node.contacts.busy() else "off", signal_dbm=signal, networks=networks)


async def scan(console, words):
    """What networks are in reach; a contact under way goes on."""
    node = console.node
    node.watch.feed()  # it blocks for some seconds
    known = [ssid for ssid, _ in node.settings["wifi"]]
    found = sorted(node.board.radio().scan(), key=lambda network: -network[1])
    return OrderedDict(networks=[
        OrderedDict(ssid=ssid, signal_dbm=signal, channel=channel, protected=protected, known=ssid in known)
        for ssid, signal, channel, protected in found
    ])  # fmt: skip


async def set(console, words):
    """The network that is tried first."""
    if not 1 <= len(words) <= 2:
        raise Refused("wifi set SSID [PASSPHRASE]; quotes hold words together")
    key = words[1] if len(words) == 2 else await console.read_line("passphrase (empty: open network): ", hidden=True)
    if key is None:
        raise Refused("the passphrase was not taken")
    candidate = console.candidate or Candidate()
    kept = [network for network in candidate.new["wifi"] if network[0] != words[0]]
    before = candidate.new["wifi"]
    candidate.new["wifi"] = [["", ""]] + kept
    try:
        candidate.set("wifi[0].ssid", words[0])
        candidate.set("wifi[0].password", key)
        if len(candidate.new["wifi"]) > 4:
            raise Refused("4 networks are the most; wifi forget one")
    except Refused:
        candidate.new["wifi"] = before
        raise
    console.candidate = candidate
    return OrderedDict(networks=[ssid for ssid, _ in candidate.new["wifi"]], saved=False)


async def forget(console, words):
    """A network that is not to be tried any more."""
    candidate = console.candidate or Candidate()
    kept = [network for network in candidate.new["wifi"] if [network[0]] != words]
    if len(kept) == len(candidate.new["wifi"]):
        raise Refused("no network %r; wifi status lists them" % " ".join(words))
    if not kept:
        raise Refused("it is the only network; set another first")
    candidate.new["wifi"] = kept
    console.candidate = candidate
    return OrderedDict(networks=[ssid for ssid, _ in kept], saved=False)


async def ping(console, words):
    """Goes the way of a contact, step by step, and says how long each step took."""
    node = console.node
    if node.contacts.busy():
        raise Refused("a contact is under way; there is memory for one TLS session only")
    steps = []
    radio = node.board.radio()
    try:
        await asyncio.wait_for_ms(_steps(node, radio, steps), _UP_MS + _PING_MS)
        error = None
    except asyncio.TimeoutError:
        error = "no answer"
    except (OSError, ValueError) as wrong:
        error = str(wrong)
    finally:
        radio.down()
    if error:
        done = ", ".join(["%s %d ms" % (step["step"], step["took_ms"]) for step in steps]) or "nothing"
        raise Refused("%s failed: %s; before it went %s" % (_STEPS[len(steps)], error, done))
    return OrderedDict(host=node.settings["cloud"][0], port=node.settings["cloud"][1], steps=steps)


_STEPS = ("radio", "name", "tcp", "tls and mqtt")


async def _steps(node, radio, steps):
    import socket

    from mqtt import UP, Client, MqttError
    from mqtt.aio import wait
    from mqtt.dial import Dial

    from ... import release, tls

    async def pinged(began):
        steps.append(OrderedDict(step=_STEPS[len(steps)], took_ms=ticks_diff(ticks_ms(), began)))
        await asyncio.sleep_ms(0)
        node.watch.feed()
        return ticks_ms()

    began = ticks_ms()
    await radio.up(node.settings["wifi"], _UP_MS)
    began = await pinged(began)
    host, port = node.settings["cloud"]
    address = socket.getaddrinfo(host, port)[0][-1]
    began = await pinged(began)
    dial = Dial(address, None, host)
    try:
        dial.start()
        while dial.ready() is None:
            await asyncio.sleep_ms(5)
        dial.ready().read(1)  # raises what went wrong
    finally:
        dial.close()
    began = await pinged(began)
    node.keeper.raise_clock(release.DATE)
    client = Client(node.settings["node"], rx_size=256, tx_size=256)
    try:
        client.connect(address, ssl=tls.context(), server_hostname=host)
        while client.state != UP:
            if not client.check_msg():
                node.watch.feed()
                await wait(client, 1000)
        client.disconnect()
    except MqttError as error:
        raise OSError(str(error))
    finally:
        client.close()
    await pinged(began)
