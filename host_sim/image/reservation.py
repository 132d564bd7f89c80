"""Reader of the map of reserved blocks (`lib/reservation/SPEC.md`)."""

from __future__ import annotations

import struct

from host_sim.image.crc import crc24

_HEAD = struct.Struct("<4sH8s")
_MAGIC = b"FNM\0"


def find_maps(image: bytes, count: int) -> list[list[int]]:
    """Every map of `count` blocks that stands anywhere in `image`, each once: of a filesystem that can no longer be
    read, or where nobody can read one.
    """
    found: list[list[int]] = []
    size = _HEAD.size + 2 * count + 3
    at = image.find(_MAGIC)
    while at >= 0:
        try:
            blocks = read_map(image[at : at + size])
        except ValueError:
            blocks = None
        if blocks is not None and blocks not in found:
            found.append(blocks)
        at = image.find(_MAGIC, at + 1)
    return found


def read_map(data: bytes) -> list[int]:
    """The block of each reserved file, counted from the filesystem's first. Raises ValueError for a map that is none.
    """
    end = len(data) - 3
    if end < _HEAD.size or data[:4] != _MAGIC:
        raise ValueError(f"{len(data)} bytes that are no map of reserved blocks")
    if crc24(data[:end]) != int.from_bytes(data[end:], "little"):
        raise ValueError("map of reserved blocks: its CRC does not fit")
    _, count, _ = _HEAD.unpack_from(data)
    if end != _HEAD.size + 2 * count:
        raise ValueError(f"map of {count} reserved blocks in {len(data)} bytes")
    return list(struct.unpack_from(f"<{count}H", data, _HEAD.size))
