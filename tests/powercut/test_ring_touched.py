"""No record goes where a cut may have been, nor into the page behind: such cells may read right now and wrong later.

What of the cut program shows is nothing at all, the worst case for a mount: it can know only by where it would have
written.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flashring import Ring, RingBusy, RingFull, Window, head

sys.path.insert(0, str(Path(__file__).parent))
import ringtorture as torture
import torncells

PAGE = torncells.PAGE


class PowerCut(Exception):
    """In a program of which nothing shows."""


class Touched(torncells.Flash):
    """Remembers `pages` that a cut program was in, or that stand behind one: nothing but marks may go there."""

    def begin(self) -> None:
        """As new."""
        self.pages: set[int] = set()
        self.left = -1  # programs until a cut
        self.cuts = 0

    def program(self, addr: int, buf: bytes | bytearray | memoryview) -> None:
        """Refuses records where a cut may have been."""
        data = bytes(buf)
        old = self.cells.data[addr : addr + len(data)]
        self.left -= 1
        if self.left == -1:
            self.cuts += 1
            page = addr // PAGE
            self.pages.add(page)
            if (page + 1) * PAGE % self.sector_size:
                self.pages.add(page + 1)
            raise PowerCut
        marks = all(new in (0, was) for new, was in zip(data, old, strict=True))
        hit = self.pages & set(range(addr // PAGE, (addr + len(data) - 1) // PAGE + 1))
        assert marks or not hit, f"a record at {addr}, where a cut may have been"
        super().program(addr, data)

    def erase(self, sector: int) -> None:
        """The pages are as new."""
        super().erase(sector)
        first = sector * self.sector_size // PAGE
        self.pages -= set(range(first, first + self.sector_size // PAGE))


def lead(name: str, seeds: int) -> int:
    """Lives of boots, cut and not, and of sleeps; returns how many cuts there were."""
    geometry, cuts = torture.GEOMETRIES[name], 0
    for seed in range(seeds):
        rng = random.Random(seed)
        flash = Touched(geometry.unit, geometry.sector, geometry.flash(rng).cells, rng)
        flash.begin()
        ring = geometry.ring(flash)
        ring.format(torture.STREAM)
        for _ in range(40):
            flash.left = rng.choice((-1, 0, 0, 1, 2, 3, 6))
            try:
                for _ in range(rng.randrange(6)):
                    step(geometry, ring)
                clean = True
            except PowerCut:
                clean = False
            flash.left = rng.choice((-1, -1, 0, 1, 2)) if not clean else -1
            while True:
                ring = geometry.ring(flash)
                try:
                    ring.mount(ring.hint() if clean else None, clean)
                    break
                except PowerCut:
                    flash.left = -1
        cuts += flash.cuts
    return cuts


def step(geometry: torture.Geometry, ring: Ring) -> None:
    """One record more, the oldest given up if need be."""
    for _ in range(4):
        try:
            ring.append(geometry.payload(ring.range()[2]))
            return
        except RingBusy:
            ring.idle()
        except RingFull as full:
            ring.drop(full.seq)


@pytest.mark.parametrize("name", torture.GEOMETRIES)
def test_no_record_goes_where_a_cut_may_have_been(name: str) -> None:
    assert lead(name, 25) > 200


def _one_page_less(patch: pytest.MonkeyPatch) -> None:
    def skip(self: head.Head, at: int) -> None:
        self.position = min((at // PAGE + 2) * PAGE, self.size)
        self.gap = True

    def mark(self: head.Head, sector: int, at: int) -> None:
        self._window.void(sector, at - PAGE)

    patch.setattr(head.Head, "skip", skip)
    patch.setattr(head.Head, "_mark", mark)


def _no_marks_before_a_new_beginning(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(head.Head, "_mark", lambda *_: None)


def _what_looks_untouched_is_trusted_after_a_sleep(patch: pytest.MonkeyPatch) -> None:
    void = Window.void

    def only_what_is_torn(self: Window, sector: int, at: int) -> None:
        view = self._view
        if sector != self._sector or view is None or any(byte != 0xFF for byte in view[at:]):
            void(self, sector, at)

    patch.setattr(Window, "void", only_what_is_torn)


@pytest.mark.parametrize("name", ["byte", "page"])
@pytest.mark.parametrize(
    "plant", [_one_page_less, _no_marks_before_a_new_beginning, _what_looks_untouched_is_trusted_after_a_sleep]
)
def test_a_planted_bug_is_caught(
    plant: Callable[[pytest.MonkeyPatch], None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match="where a cut may have been"):
        lead(name, 25)
