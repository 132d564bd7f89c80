"""Waiting for a Client in asyncio: woken by the socket, never by a tick of its own.

asyncio's own Stream is not used: over TLS its writer offers a grown buffer after a write that could not go
on, which loses bytes without an error.
"""

import asyncio
from asyncio import core  # pyright: ignore[reportAttributeAccessIssue] MicroPython has it, its stubs do not

from mqtt.client import CLOSED


async def wait(client, timeout_ms):
    """Returns when check_msg() may have something to do, or after `timeout_ms`. Only the task that owns
    `client` calls it.

    Call it only after a check_msg() that returned False: a TLS socket may hold decrypted bytes while its
    descriptor is quiet. A closed client returns at once. Bytes that another task queues meanwhile leave with
    the next check_msg(). While bytes are pending only writability wakes it: the two directions of one task
    cannot both be in asyncio's poller.
    """
    if client.state == CLOSED:
        return
    due = client.due_ms()
    try:
        await asyncio.wait_for_ms(_ready(client), timeout_ms if due < 0 else min(due, timeout_ms))
    except asyncio.TimeoutError:
        pass


async def _ready(client):
    if client.wants_write():
        yield core._io_queue.queue_write(client.sock)
    else:
        yield core._io_queue.queue_read(client.sock)
