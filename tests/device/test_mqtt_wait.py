# vm31: no, its peer is a socket
"""Waiting in asyncio: woken by the socket at once, by nothing else before its time."""

import asyncio
import time

import mqtt
from mqtt.aio import wait
from mqttpeer import CONNACK, Clock, Peer, publish_packet, up


def _timed(client, timeout_ms, act=None, after_ms=0):
    """Milliseconds that wait() took while another task did `act` after `after_ms`; no trace may be left."""

    async def main():
        other = asyncio.create_task(later())
        start = time.ticks_ms()
        await wait(client, timeout_ms)
        took = time.ticks_diff(time.ticks_ms(), start)
        await other
        assert not asyncio.core._io_queue.map
        return took

    async def later():
        await asyncio.sleep_ms(after_ms)
        if act is not None:
            act()

    asyncio.new_event_loop()
    return asyncio.run(main())


def test_wakes_when_readable():
    client, peer, _ = up()
    client.check_msg()
    took = _timed(client, 5000, lambda: peer.send(publish_packet(b"t", b"x")), 30)
    assert 25 <= took < 1000, took
    client.close()
    peer.close()


def test_wakes_at_the_end_of_stream():
    client, peer, _ = up()
    assert _timed(client, 5000, peer.close, 30) < 1000
    client.close()


def test_times_out():
    client, peer, _ = up()
    took = _timed(client, 60)
    assert 55 <= took < 1000, took
    client.close()
    peer.close()


def test_ends_when_a_deadline_of_the_client_is_due():
    client, peer, clock = up()
    clock.pass_ms(45000 - 40)
    took = _timed(client, 5000)
    assert 35 <= took < 1000, took
    client.close()
    peer.close()


def test_pending_bytes_wait_for_room_alone():
    client, peer, _ = up()
    assert client.publish(b"t", b"x")
    assert _timed(client, 5000) < 1000
    while client.publish(b"t", bytes(1000)) or not client.check_msg() and client.publish(b"t", bytes(1000)):
        pass
    client.check_msg()
    took = _timed(client, 60)
    assert 55 <= took < 1000, took

    def read_all():
        for _ in range(2000):
            peer.take()
            peer.got = b""

    assert _timed(client, 5000, read_all, 30) < 1000
    client.close()
    peer.close()


def test_dial_and_a_closed_client():
    client, peer = mqtt.Client("n1", clock=Clock()), Peer()
    client.connect(peer.address)
    assert _timed(client, 5000) < 1000
    client.check_msg()
    assert client.state == mqtt.AUTH
    peer.take()
    assert _timed(client, 5000, lambda: peer.send(CONNACK), 30) < 1000
    client.check_msg()
    assert client.state == mqtt.UP
    client.close()
    assert _timed(client, 5000) < 50
    peer.close()


def test_cancelling_a_wait_leaves_nothing_behind():
    client, peer, _ = up()

    async def main():
        task = asyncio.create_task(wait(client, 5000))
        await asyncio.sleep_ms(10)
        task.cancel()
        try:
            await task
            raise AssertionError("not cancelled")
        except asyncio.CancelledError:
            pass
        assert not asyncio.core._io_queue.map

    asyncio.new_event_loop()
    asyncio.run(main())
    client.close()
    peer.close()
