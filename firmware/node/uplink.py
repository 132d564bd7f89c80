"""One contact: radio up, a connection, the session's records out, its acknowledgements in, radio down. While an alarm
waits, a connection that fails is followed by another.
"""

import asyncio
import gc
import hashlib
import os
import time

from mqtt import DIAL, Client, MqttError
from mqtt.aio import wait

from . import release, schedule, tls, wire
from . import settings as stored
from .control import Control
from .session import NEW, Session

LAST_CONN = 0xFFFF  # sessions of one boot: the cloud ignores a birth whose (boot, conn) is not newer
_WAIT_MS = 1000
_RX_SIZE = 512  # an ACK with all its ranges and its topic takes 300
_TX_SIZE = 2304  # two DATA messages with their topics
_ROUND_TRIP_MS = 2000  # up to here an answer may correct a clock that was set before


class Uplink:
    """`node` is the waking node (`node.app`). `run` is one contact; a contact that fails leaves everything in the
    rings. `make_client`: mqtt.Client, or `mqtt.umqtt_adapter.UmqttClient` where the stock umqtt.simple must do.
    """

    def __init__(self, node, make_client=Client):
        self._node = node
        self._make_client = make_client
        self._settings = node.settings
        self.usb = False  # known once `run` has ended
        self._client = None
        self._reader = None
        self._session = None
        self._identity = None
        self._nonce = None  # of the session, from its birth on
        self._joined = False
        self.control = None  # once a connection is made: what commands it brought (`node.control`)
        self._began = None
        self._crowded = False  # the client had no room for what has its turn
        self._buf = bytearray(wire.MESSAGE_MAX)

    async def run(self, fresh_from):
        """True when the cloud has committed everything. Never raises for what a network can do; ends within
        awake_cap.
        """
        cap_ms = self._settings["awake_cap"] * 1000
        radio = self._node.board.radio()
        try:
            await asyncio.wait_for_ms(self._connections(radio, fresh_from, cap_ms), cap_ms)
        except asyncio.TimeoutError:
            _log("not done after %d s awake" % self._settings["awake_cap"])
        finally:
            self._close()
            self.usb = self._node.board.power.usb()  # asked while the radio is on: some boards need it for that
            radio.down()
        return self._session is not None and self._session.done()

    async def _connections(self, radio, fresh_from, cap_ms):
        tries = 0
        while True:
            try:
                return await self._talk(radio, fresh_from, cap_ms)
            except MqttError as error:
                _log("%s" % error)
            except (OSError, ValueError) as error:  # ValueError: what mbedTLS says of a certificate
                _log("no connection: %s" % error)
            self._close()
            tries += 1
            if tries % 2 == 0:
                self._joined = False
                radio.down()  # it may say that it is connected and be wrong: join anew
            if not self._node.contacts.alarm_waits() or tries == schedule.CONNECTIONS:
                return
            await asyncio.sleep_ms(schedule.pause_ms(tries, _u32(os.urandom(4))))

    def _close(self):
        """The connection and its buffers: the next one needs the memory."""
        if self._client is not None:
            self._client.close()
        self._client = None
        gc.collect()

    def _now(self):
        """Milliseconds since the first write left, 0 before: no deadline runs across the handshake, whose public-key
        step alone takes seconds.
        """
        return 0 if self._began is None else time.ticks_diff(time.ticks_ms(), self._began)

    async def _talk(self, radio, fresh_from, cap_ms):
        import socket

        if not self._joined:
            await radio.up(self._settings["wifi"], cap_ms)
            self._joined = True
        self._identity = wire.Identity(stored.key(), self._settings["tenant"], self._settings["node"])
        host, port = self._settings["cloud"]
        # Resolving blocks, as on every MicroPython; nothing else is awake that could starve.
        self._node.watch.feed()
        address = socket.getaddrinfo(host, port)[0][-1]
        client = self._client = self._make_client(self._identity.node, rx_size=_RX_SIZE, tx_size=_TX_SIZE)
        client.set_callback(self._received)
        store = self._node.store
        self._began = None
        self._crowded = False
        self._session = Session(store.alerts, store.frames, fresh_from, store.unreadable)
        if self.control is None:
            self.control = Control(self._identity, self._node.bootlog.last_cmd)
        self._node.keeper.raise_clock(release.DATE)
        client.connect(address, ssl=tls.context(), server_hostname=host)
        client.subscribe(self._identity.down)
        self._send()
        while not self._finished():
            if client.state == DIAL:
                self._node.watch.feed()  # the handshake's public-key step blocks for seconds
            more = client.check_msg()
            if self._began is None and client.state != DIAL:
                self._began = time.ticks_ms()
            if not more:
                if self._send():
                    continue
                if self._finished():
                    break
                due = None if self._crowded else self._session.due_ms(self._now())
                await wait(client, _WAIT_MS if due is None else max(1, due))
            else:
                await asyncio.sleep_ms(0)
        client.disconnect()

    def _finished(self):
        return self._session.done() and not self.control.wants(self._now())

    def _new_session(self):
        """What tells this session's birth and ACKs from every other's. A contact has counted `conn` once itself."""
        node = self._node
        if self._nonce is not None:
            if node.retained.conn == LAST_CONN:
                raise MqttError("birth", "no session left in this boot")
            node.retained.conn += 1
        self._nonce = self._identity.nonce(node.bootlog.boot, node.retained.conn, os.urandom(16))
        self._reader = wire.AckReader(self._identity, self._nonce)
        self.control.begin(self._nonce)

    def _pack_birth(self):
        """Packs the birth of this session; returns its length."""
        node = self._node
        wall, quality = node.keeper.wall()
        rings = []
        for ring in (node.store.alerts, node.store.frames):
            oldest, _, following = ring.range()
            rings.append((ring.stream, oldest, following))
        return wire.pack_birth(
            self._buf,
            self._identity,
            self._nonce,
            flags=wire.RING_FORMATTED if node.store.formatted else 0,
            boot=node.bootlog.boot,
            conn=node.retained.conn,
            chip=_u32(hashlib.sha256(node.board.chip_id()).digest()),
            firmware=release.FIRMWARE,
            config=self._settings["version"],
            last_cmd=node.bootlog.last_cmd,
            uptime_ms=node.keeper.uptime_ms(),
            wall=wall,
            quality=quality,
            next_contact=node.contacts.latest(),
            battery_mv=node.contacts.battery_mv,
            reset=node.reason,
            rings=rings,
        )

    def _send(self):
        """Queues what the session wants sent, as long as the client has room; True if anything was queued."""
        any_queued = False
        while True:
            now = self._now()
            item = self._session.next(now)
            if item is None:
                return any_queued
            letter, lane, seq, payload = item
            if letter == "s":
                if self._session.state == NEW:
                    self._new_session()
                message = memoryview(self._buf)[: self._pack_birth()]
            elif letter == "l":
                message = payload
            else:
                size = wire.pack_data(self._buf, self._identity, lane.number, lane.ring.stream, seq, payload)
                message = memoryview(self._buf)[:size]
            self._crowded = not self._client.publish(self._identity.up[letter], message)
            if self._crowded:
                return any_queued
            self._session.sent(item, now)
            any_queued = True

    def _received(self, topic, message):
        if topic == self._identity.cmd:
            self.control.received(message, self._session.age(self._now()))
            return
        if topic != self._identity.ack:
            return
        ack = self._reader.read(message, self._session.rings())
        if ack is None:
            _log("ack not taken: %s" % self._reader.reason)
            return
        now = self._now()
        if not self._session.acknowledged:
            # Authenticated and bound to this session's nonce, hence not replayable: it may set the clock, which is
            # then right to half the round trip. A clock that is right already is not made worse by a slow answer.
            round_trip = self._session.age(now)
            if round_trip <= _ROUND_TRIP_MS or not self._node.keeper.wall()[1]:
                ms = ack.ms + round_trip // 2
                self._node.set_clock(ack.now + ms // 1000, ms % 1000)
        self._session.take(ack, now)
        self.control.announced(self._session.commands_wait, now)


def _u32(data):
    return int.from_bytes(data[:4], "little")


def _log(text):
    from . import log  # most contacts have nothing to say

    log.warning("uplink: " + text)
