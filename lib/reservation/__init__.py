"""Blocks of a littlefs that are used raw: files of one block each, found on the device. SPEC.md: the bytes;
DESIGN.md: why.

`device` is the block device that carries the mounted littlefs, with blocks of 4096 bytes and the extended interface;
`folder` a path in it. The map is an array of block numbers, one for each file.
"""

import errno
import os
from array import array
from struct import pack_into, unpack_from

from crc import crc24

BLOCK = 4096  # bytes; a file of one block has no pointers inside it
_MAP_MAGIC = b"FNM\x00"
_FILE_MAGIC = b"FNV\x00"
_HEAD = 14  # of the map: magic, count u16, nonce
_NONCE = 8
_SIGNATURE = 16  # magic, index u16, spare u16, nonce
_NO_BLOCK = 0xFFFF
_ENOSPC = 28  # not in MicroPython's errno


class ReservationError(Exception):
    """The reserved blocks cannot be used; the text says which file and why."""


def load(folder, count):
    """The map of `folder`, or None if none was ever finished. ReservationError for one that is damaged or another's."""
    path = folder + "/map"
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return None
    body = len(data) - 3
    if body < _HEAD or data[:4] != _MAP_MAGIC:
        raise ReservationError("%s: not a map of reserved blocks" % path)
    if crc24(memoryview(data)[:body]) != data[body] | data[body + 1] << 8 | data[body + 2] << 16:
        raise ReservationError("%s: damaged (CRC); the blocks hold data, so nothing is reserved anew" % path)
    if unpack_from("<H", data, 4)[0] != count or body != _HEAD + 2 * count:
        raise ReservationError("%s: of %d blocks, not %d" % (path, unpack_from("<H", data, 4)[0], count))
    return array("H", data[_HEAD:body])


def reserve(device, folder, count, nonce):
    """Makes `count` files in `folder`, finds their blocks, and stores and returns the map.

    `nonce`: 8 random bytes, so that no file of an earlier try is taken for one of this. A cut on the way leaves no map:
    call it again. ReservationError if the filesystem has no room for them: then nothing is left of them. That is found
    by trying: what littlefs tells of its free blocks is a bound, and may be too low by many.
    """
    _clear(folder)
    made = 0
    try:
        os.mkdir(folder)
        data = bytearray(b"\xff" * BLOCK)
        data[:4] = _FILE_MAGIC
        data[8:_SIGNATURE] = nonce
        for made in range(count):
            pack_into("<HH", data, 4, made, 0)
            with open(_path(folder, made), "wb") as file:
                file.write(data)
        blocks = _find(device, folder, count, nonce)
        _store(folder, blocks, nonce)
        return blocks
    except ReservationError:
        _clear(folder)
        raise
    except OSError as error:
        if error.errno != _ENOSPC:
            raise
    _clear(folder)
    raise ReservationError("%s: room for %d of %d blocks" % (folder, made, count))


def check(device, folder, blocks):
    """Whether every file still is where the map says; ReservationError names the first that is not.

    Call it before anything is written raw in this boot: littlefs may remember what it read before.
    """
    seen, raw = bytearray(_SIGNATURE), bytearray(_SIGNATURE)
    for index in range(len(blocks)):
        path = _path(folder, index)
        try:
            size = os.stat(path)[6]
            with open(path, "rb") as file:
                file.readinto(seen)
        except OSError as error:
            raise ReservationError("%s: gone (%s); its block %d is not ours" % (path, error, blocks[index]))
        device.readblocks(blocks[index], raw, 0)
        if size != BLOCK or seen != raw:
            raise ReservationError("%s: no longer in block %d, which is not ours" % (path, blocks[index]))


def _path(folder, index):
    return "%s/%03d" % (folder, index)


def _clear(folder):
    """What a try before this one has left, if any."""
    try:
        entries = list(os.ilistdir(folder))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        return
    for entry in entries:
        os.remove(folder + "/" + entry[0])
    os.rmdir(folder)


def _find(device, folder, count, nonce):
    blocks = array("H", [_NO_BLOCK] * count)
    head = bytearray(_SIGNATURE)
    for block in range(device.ioctl(4, 0)):
        device.readblocks(block, head, 0)
        if head[:4] == _FILE_MAGIC and head[8:] == nonce:
            index = unpack_from("<H", head, 4)[0]
            if index >= count or blocks[index] != _NO_BLOCK:
                raise ReservationError("%s: its signature stands in block %d too" % (_path(folder, index), block))
            blocks[index] = block
    for index in range(count):
        if blocks[index] == _NO_BLOCK:
            raise ReservationError("%s: in no block of the device" % _path(folder, index))
    return blocks


def _store(folder, blocks, nonce):
    body = _HEAD + 2 * len(blocks)
    data = bytearray(body + 3)
    data[:4] = _MAP_MAGIC
    pack_into("<H", data, 4, len(blocks))
    data[6:_HEAD] = nonce
    for index in range(len(blocks)):
        pack_into("<H", data, _HEAD + 2 * index, blocks[index])
    crc = crc24(memoryview(data)[:body])
    pack_into("<HB", data, body, crc & 0xFFFF, crc >> 16)
    with open(folder + "/new", "wb") as file:
        file.write(data)
    os.rename(folder + "/new", folder + "/map")
