"""A node's secrets on the host: `.identity/<node>/` beside the node file, readable by its owner only.

    key    K, 32 random bytes, which the cloud end knows too
    ca     the cloud's authority        cert   the node's certificate        pkey   its private key (all DER)

They are made by `fieldnode provision`, copied to the board by `fieldnode deploy`, and never committed.
"""

from __future__ import annotations

import secrets

from tools.newfile import new_file
from tools.nodefile import NodeFile

NAMES = ("key", "ca", "cert", "pkey")
KEY_BYTES = 32


class Identity:
    """The identity of the node of `node`; `name` if it goes by another."""

    def __init__(self, node: NodeFile, name: str | None = None) -> None:
        self.folder = node.path.resolve().parent / ".identity" / (name or node.name)

    def read(self) -> dict[str, bytes]:
        """What there is of it: name of the file -> content."""
        paths = {name: self.folder / name for name in NAMES}
        return {name: path.read_bytes() for name, path in paths.items() if path.exists()}

    def make_key(self) -> bytes:
        """K: the one kept here, or a new one."""
        path = self.folder / "key"
        if not path.exists():
            self.write("key", secrets.token_bytes(KEY_BYTES))
        return path.read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Keeps one file, whole; nobody else ever sees it."""
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        with new_file(self.folder / name) as write:
            write(content)
