"""The web process: it listens, says "ready", and ends with the supervisor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from cloud.child import stdin_closed
from cloud.clock import Clock
from cloud.web.app import application

MAX_CONNECTIONS = 100
"""More are answered 503 at once."""


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print("ready", flush=True)


async def _serve(server: _Server, listener: socket.socket) -> None:
    watch = asyncio.create_task(stdin_closed())
    watch.add_done_callback(lambda _: setattr(server, "should_exit", True))
    await server.serve([listener])
    watch.cancel()


def run(data: Path, host: str, port: int, hosts: Sequence[str], clock: Clock) -> None:
    """Serve the page on host:port until SIGTERM or the end of standard input. Raises OSError if it cannot listen.

    `hosts` are names by which browsers may ask for it, besides those of this machine.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host.strip("[]"), port))
    config = uvicorn.Config(
        application(data, clock, [host, *hosts]), http="h11", ws="none", lifespan="off", log_level="warning",
        access_log=False, server_header=False, proxy_headers=False, limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=20, timeout_graceful_shutdown=1,
    )  # fmt: skip
    with listener:
        asyncio.run(_serve(_Server(config), listener))
