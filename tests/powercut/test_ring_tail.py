"""A torn record of 62 bytes or more, whose first byte a cut has left as that of a move of the cursor: what follows it
then is the record's own torn payload, and that must witness nothing.

The masks were searched for (one in two million such tears leads on into a place that fits 18 bits of check by chance).
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest
from flashring import Ring, Window, checks

from host_sim.image import read_ring

sys.path.insert(0, str(Path(__file__).parent))
import torncells

FIRST, SECOND = b"\x01" * 37, b"\x02" * 74
# (unit, place of the record, what the cut left of it)
TORN = (
    (256, 512, "fbfe6ff39a7fdf8f9bbf7feebfbefbcabf1f72f6afdfd69fdffff77f57e71fff5ef6ffcff66ffbe7bfcff3beb3ef77f7fb"
               "cbf7f3f7fbcf6ff6fe5ae77fd2dfefd3ebf7f6e7ffe6feefbf7fffbfff5efef7"),
    (256, 512, "fcfffff77fbff6bfbfabbefbd7b3ffaffeffefdfdeff6b3ff7f7ead77fdef6eebb7f9b7e7fe6ffff5757ebcf6677dfaf27"
               "fe57c7db275ffe7eaefa1fe2beeff31fef9b5ffffb7bff6ffb6bdfb6fb7dfebf"),
    (256, 512, "fbfeecd7b7f7fff3df7f6f7fd6defb6697fb3bfe5fcaff76df3fefcff6bf7fbfdfff7fcfdfcfe736bfb7f73fabfb77bb37f"
               "e7f5bf77f4f7f37f2ff5ef6effe3fefab37bbeeaaff7abf73f7cfe7dfff3fbb"),
    (1, 66, "fb5e6fdef7f7baf766dfd2cf8fdbc7ffbbd73bdf9ffb9b8f5faf4faffe97ffffff9fef77bb9ef7ff7fffa7be53fff64ef7fbbb3edf"
            "feefee272fff5fbebffabe1fba971b43bf6bb7fffbdffbcfffbfdfcc"),
)  # fmt: skip


@pytest.mark.parametrize(("unit", "place", "left"), TORN, ids=("cursor", "drop", "two steps on", "byte-programmed"))
def test_the_payload_of_a_torn_record_is_no_witness(unit: int, place: int, left: str) -> None:
    cells = torncells.Cells.erased(4 * 4096)
    flash = torncells.Flash(unit, 4096, cells, random.Random(1))
    made = Ring(flash, 0, 4, Window(flash, 100))
    made.format(2)
    made.append(FIRST)
    flash.operations = []
    made.append(SECOND)
    operation = flash.operations[-1]
    torn = bytes.fromhex(left)
    whole = operation.data[: len(torn)]
    assert operation.start == place and all(a & b == b for a, b in zip(torn, whole, strict=True)), "no tear of it"
    cells = operation.cells.copy()
    cells.data[place : place + len(torn)] = torn
    image = read_ring(bytes(cells.data), 0, 4, 4096, unit)
    flash = torncells.Flash(unit, 4096, cells, random.Random(1))
    made = Ring(flash, 0, 4, Window(flash, 100))
    made.mount()
    assert made.range() == (1, 0, 2)
    assert image.records == [(1, FIRST)] and image.next == 2


@pytest.mark.parametrize(("kind", "behind", "seq"), [(0xF8, 12, 3), (0xFB, 9, 2)], ids=("record", "cursor"))
def test_a_short_record_with_one_bit_missing_leads_into_itself(kind: int, behind: int, seq: int) -> None:
    """The bit makes of its first byte that of another entry; where that would end, the payload holds a valid one."""
    place = 26 + 3 + len(FIRST)
    start = checks.entry_seed(checks.lap_seed(0), place + behind, seq)
    phantom = bytes(10)
    check = checks.short(phantom, start, seq)
    phantom = bytes([len(phantom) << 2 | check >> 16]) + phantom + (check & 0xFFFF).to_bytes(2, "little")
    for filler in range(256):  # until the check's upper bits are those of `kind`
        second = (b"\x05\x00".ljust(behind - 1, b"\x00") + phantom).ljust(60, bytes([filler]))
        cells = torncells.Cells.erased(4 * 4096)
        flash = torncells.Flash(1, 4096, cells, random.Random(1))
        made = Ring(flash, 0, 4, Window(flash, 100))
        made.format(2)
        made.append(FIRST)
        made.append(second)
        if cells.data[place] | 8 == kind:
            break
    cells.data[place] |= 8
    image = read_ring(bytes(cells.data), 0, 4, 4096)
    made = Ring(flash, 0, 4, Window(flash, 100))
    made.mount()
    assert made.range() == (1, 0, 2)
    assert image.records == [(1, FIRST)] and image.next == 2


@pytest.mark.parametrize("after_a_cursor", [False, True], ids=("record", "cursor and record"))
@pytest.mark.parametrize(("unit", "first"), [(1, 37), (16, 37), (256, 37), (1, 4 * 61 + 37)])
def test_what_zeros_have_completed_is_not_believed(unit: int, first: int, after_a_cursor: bool) -> None:
    """A bit was missing; the mount that found it torn was cut as it put zeros there, and just that bit arrived.

    Once the entry ends where a page does.
    """
    flash = torncells.Flash(unit, 4096, torncells.Cells.erased(4 * 4096), random.Random(1))
    made = Ring(flash, 0, 4, Window(flash, 300))
    made.format(2)
    payloads = [bytes([1]) * min(61, first - at) for at in range(0, first, 61)]
    for payload in payloads:
        made.append(payload)
    released = 0
    if after_a_cursor:
        made.release(1, False)
    place = made._head.position
    filler = (-(place + (9 if after_a_cursor else 0) + 3) % 256) % 62 if first > 61 else 10
    made.append(bytes(filler))
    cells = flash.cells
    broken = place + after_a_cursor  # of a cursor two bits: one flipped would be put right
    whole = cells.data[broken]
    cells.data[broken] |= 6 if after_a_cursor else next(bit for bit in (16, 4, 8) if not whole & bit)
    flash.operations = []
    Ring(flash, 0, 4, Window(flash, 300)).mount()
    zeros = next(
        each for each in flash.operations
        if each.start <= place < each.start + len(each.data) and not any(each.data[place - each.start :][:8])
    )  # fmt: skip
    flash.operations = None
    for completed in (False, True):
        cells = zeros.cells.copy()
        if completed:
            cells.data[broken] = whole
        image = read_ring(bytes(cells.data), 0, 4, 4096, unit)
        flash = torncells.Flash(unit, 4096, cells, random.Random(1))
        made = Ring(flash, 0, 4, Window(flash, 300))
        made.mount()
        following = len(payloads) + 1
        assert made.range() == (1, released, following), completed
        assert [payload for _, payload in image.records] == payloads and image.next == following, completed
        assert made.append(b"again") == following and made.read(following) == b"again"


def test_a_cursor_behind_a_gap_that_reads_right_later_changes_nothing() -> None:
    """The first program after a cut is cut as well: its cursor reads wrong at the mount, and right ever after."""
    flash = torncells.Flash(1, 4096, torncells.Cells.erased(4 * 4096), random.Random(1))
    made = Ring(flash, 0, 4, Window(flash, 100))
    made.format(2)
    made.append(FIRST)
    made = Ring(flash, 0, 4, Window(flash, 100))
    made.mount()
    place = made._head.position
    made.append(SECOND)
    right = flash.cells.data[place + 1 : place + 3]
    for at in (1, 2):
        flash.cells.data[place + at] |= 0x40
    made = Ring(flash, 0, 4, Window(flash, 100))
    made.mount()
    assert made.range() == (1, 0, 2)
    assert made.append(b"other") == 2
    flash.cells.data[place + 1 : place + 3] = right
    for clean in (True, False):
        made = Ring(flash, 0, 4, Window(flash, 100))
        made.mount(None, clean)
        assert made.range() == (1, 0, 3) and made.read(2) == b"other"
