"""What shall lie on a node's filesystem: code, settings, identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tools import boards, build
from tools.flash import Refusal
from tools.nodefile import NodeFile

IDENTITY = ("key", "ca", "cert", "pkey")
MANIFEST = "deploy.json"
LAST = "main.py"  # without it a board stays at its console: it is there only while all that it imports is

Tree = dict[str, bytes]


def plan(node: NodeFile, identity: Mapping[str, bytes], out: Path = build.OUT) -> Tree:
    """Path on the board -> content, for a node file and what tools/identity.py keeps of the node.

    `out` holds what `build.build` made. The device's path is "", ".frozen", "/lib".
    """
    board = boards.load(node.board)
    own, family = (out / folder.relative_to(build.ROOT) for folder in board.packages)
    rooms = {"node": out / "firmware" / "node", "lib": out / "lib", "lib/board": own / "board"}
    rooms |= {f"lib/{folder.name}": folder for folder in sorted(family.iterdir()) if folder.is_dir()}
    files = {name: (out / "firmware" / name).read_bytes() for name in ("boot.py", LAST)}
    for prefix, folder in rooms.items():
        for path in sorted(folder.rglob("*.mpy")):
            files[f"{prefix}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    files["settings.json"] = json.dumps(node.settings(), separators=(",", ":")).encode()
    files |= identity
    return files


def missing(identity: Mapping[str, bytes]) -> list[str]:
    """What an identity lacks."""
    return [name for name in IDENTITY if name not in identity]


def complete(identity: Mapping[str, bytes], node: NodeFile) -> None:
    """Refuses an identity that lacks something."""
    if lacking := missing(identity):
        raise Refusal(
            f"{node.name} has no {', '.join(lacking)}: first run `fieldnode provision {node.path} --data FOLDER`, "
            "which makes it known to the cloud end"
        )


def digests(files: Tree) -> dict[str, str]:
    """Path -> SHA-256, hex."""
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def manifest(names: Mapping[str, str]) -> bytes:
    """The file that tells on the board which files are ours: what is no longer wanted is removed by it."""
    return json.dumps({"format": 1, "files": dict(sorted(names.items()))}, separators=(",", ":")).encode()


def parse_manifest(data: bytes) -> dict[str, str]:
    """The files that a manifest names; none for one that is missing or damaged."""
    try:
        found = json.loads(data)
        return dict(found["files"]) if found["format"] == 1 else {}
    except (ValueError, KeyError, TypeError):
        return {}
