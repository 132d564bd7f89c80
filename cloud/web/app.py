"""The application: routes put together, and what guards every answer."""

from __future__ import annotations

import ipaddress
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.clock import Clock
from cloud.store import StoreError
from cloud.web import api, metrics, pages

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self';"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise."""
_HERE = Path(__file__).parent


class _Guard:
    """Adds HEADERS, and answers HEAD like GET (the server leaves the body out)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] += [
                    (name.lower().encode(), value.encode())
                    for name, value in HEADERS.items()
                    if name.lower().encode() not in given
                ]
            await send(message)

        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self.app(scope, receive, with_headers)


def application(data: Path, clock: Clock, hosts: Iterable[str]) -> FastAPI:
    """Return the application over the database in the folder `data`. Nothing is opened before a request comes.

    On a loopback address only requests that name this machine or one of `hosts` are answered, lest a page elsewhere
    reads this one through a name of its own (DNS rebinding); whoever listens wider has opened it to the network anyway.
    """
    first, *_ = hosts = list(hosts)
    app = FastAPI(
        title="Fieldnode", version="1", docs_url=None, redoc_url=None,
        description="Nodes, their readings and alerts. Read-only; times are UTC.",
    )  # fmt: skip
    app.state.data = data
    app.state.clock = clock
    app.state.plots = pages.Kept(pages.PLOTS_KEPT)
    app.state.lately = pages.Kept(pages.NODES_KEPT)
    for router in (api.router, metrics.router, pages.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_HERE / "static"))
    if _is_loopback(first):
        local = ["localhost", "127.0.0.1", "[::1]"]
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*local, *hosts], www_redirect=False)
    app.add_middleware(_Guard)
    app.add_exception_handler(StoreError, _bad_request)
    app.add_exception_handler(sqlite3.OperationalError, _unavailable)
    return app


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _bad_request(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


def _unavailable(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"database: {error}"}, 503, {"Retry-After": "1"})
