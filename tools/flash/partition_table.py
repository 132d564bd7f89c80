"""An ESP32's partition table as it lies in flash."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from tools.boards import Partition

ADDRESS = 0x8000  # CONFIG_PARTITION_TABLE_OFFSET of the stock images
SIZE = 0xC00
_ENTRY = struct.Struct("<HBBII16sI")  # esp_partition_info_t (ESP-IDF, esp_flash_partitions.h)
_MAGIC = 0x50AA
_MD5 = b"\xeb\xeb" + b"\xff" * 14


def encode(partitions: Sequence[Partition]) -> bytes:
    """The table with the MD5 entry that ESP-IDF's gen_esp32part.py appends, SIZE bytes."""
    table = b"".join(
        _ENTRY.pack(_MAGIC, each.type, each.subtype, each.offset, each.size, each.label.encode(), 0)
        for each in partitions
    )
    return (table + _MD5 + hashlib.md5(table).digest()).ljust(SIZE, b"\xff")


def decode(table: bytes) -> tuple[Partition, ...] | None:
    """What a chip's flash holds at ADDRESS: the partitions, () for an erased place, None for anything else."""
    if not table.strip(b"\xff"):
        return ()
    found = []
    for at in range(0, len(table) - _ENTRY.size + 1, _ENTRY.size):
        entry = table[at : at + _ENTRY.size]
        if entry.startswith(_MD5):
            return tuple(found) if hashlib.md5(table[:at]).digest() == entry[16:] else None
        magic, kind, subtype, offset, size, label, _ = _ENTRY.unpack(entry)
        if magic != _MAGIC:
            return tuple(found) if found and not entry.strip(b"\xff") else None
        found.append(Partition(label.rstrip(b"\0").decode("ascii", "replace"), kind, subtype, offset, size))
    return None
