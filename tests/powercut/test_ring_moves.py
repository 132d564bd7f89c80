"""A move of the cursor that a cut has torn before a whole record in the same program: what a mount has said of the
cursor, every later one says, however the torn bits read by then. And what only looks like one.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import ringtorture as torture
import torncells


@pytest.mark.parametrize("unit", [1, 16, 256])
@pytest.mark.parametrize("missing", [(9, 16), (8, 17), (8, 9, 33)], ids=str)
def test_it_stays_as_the_mount_said(unit: int, missing: tuple[int, ...]) -> None:
    """`missing`: the bits of the cursor that first read 1; of those that may, what was to be 0 is 0 later."""
    geometry = torture.Geometry(unit)
    flash = geometry.flash(random.Random(1))
    ring = geometry.ring(flash)
    ring.format(torture.STREAM)
    for _ in range(5):
        ring.append(b"before")
    at = ring._head.position
    ring.release(4, False)
    ring.append(bytes(90))  # with a check that proves it
    meant = bytes(flash.cells.data)
    moved = torture.State.of(ring)
    for count in range(1, len(missing) + 1):
        data = bytearray(meant)
        for bit in missing[:count]:
            data[at + bit // 8] |= 1 << bit % 8
        torn = geometry.flash(random.Random(1), torncells.Cells(data, bytearray(len(data))))
        ring = geometry.ring(torn)
        ring.mount()
        said = torture.State.of(ring)
        assert said.next == moved.next and said.released in (0, 4)
        for bit in missing[:count]:
            torn.cells.data[at + bit // 8] &= meant[at + bit // 8] | ~(1 << bit % 8)
            for clean in (True, False):
                ring = geometry.ring(torn)
                ring.mount(None, clean)
                assert torture.State.of(ring) == said, (bit, clean)
    assert said.released == 0, "one flipped bit is put right, more are not"


@pytest.mark.parametrize("first", [0xFB, 0xF7], ids=hex)
def test_padding_that_reads_like_a_move_is_none(first: int) -> None:
    """`first`: what the first byte of the padding before the newest record reads, of which one bit was flipped."""
    geometry = torture.Geometry(16)
    flash = geometry.flash(random.Random(1))
    ring = geometry.ring(flash)
    ring.format(torture.STREAM)
    for _ in range(5):
        ring.append(b"before")
    newest = ring._head.position - 16
    behind = []
    for byte in (0xFF, first):
        data = bytearray(flash.cells.data)
        assert data[newest - 7] == 0xFF
        data[newest - 7] = byte
        ring = geometry.ring(geometry.flash(random.Random(1), torncells.Cells(data, bytearray(len(data)))))
        ring.mount()
        assert ring.range() == (1, 0, 6)
        behind.append(ring._head.position)
    assert behind[0] == behind[1], "nothing is written behind the newest record"
