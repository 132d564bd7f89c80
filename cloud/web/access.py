"""What every route starts from: the database, opened for one request, the time, and a node that exists."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, HTTPException, Path, Request

from cloud import status, store


@contextmanager
def opened(request: Request) -> Iterator[sqlite3.Connection]:
    """Open the database for a block, for reading only. Raises StoreError."""
    db = store.connect_to_read(request.app.state.data)
    try:
        yield db
    finally:
        db.close()


def database(request: Request) -> Iterator[sqlite3.Connection]:
    """The same for a request."""
    with opened(request) as db:
        yield db


def moment(request: Request) -> int:
    """Unix milliseconds now."""
    return request.app.state.clock.now_ms()


Database = Annotated[sqlite3.Connection, Depends(database)]
Now = Annotated[int, Depends(moment)]


NodeName = Annotated[str, Path(pattern=f"^{store.NAME.pattern}$")]


def existing(node: NodeName, db: Database, now: Now) -> status.NodeStatus:
    """How the node named in the path is; 404 if there is none."""
    found = status.node_status(db, node, now)
    if found is None:
        raise HTTPException(404, f"no node {node}")
    return found


Node = Annotated[status.NodeStatus, Depends(existing)]
