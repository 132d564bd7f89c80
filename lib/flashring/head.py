"""The sector being written: what stands where in it, and what its entries have said last."""

from flashring import checks
from flashring.commit import HEADER
from flashring.entries import CURSOR_SIZE, DROP_SIZE, PAGE, blank, extent, mark, void
from flashring.headers import DROPPED, FIRST, RELEASED
from flashring.walk import Walk


class Head:
    """Fields, integers but for `skipped`: `stream` (0: no ring is mounted), `lap`, `seed` (of its checks), `position`
    (of the next entry; `size`: closed), `gap` (the next entry must begin anew behind a place that a cut may have
    touched), `first` (seq of the first record of this sector), `next` (seq), `released`, `dropped`; `unsaved`:
    `released` is not in flash yet; `owed`: `dropped` is not; `damaged` and `skipped`: as the ring's; `failed`: the lap
    that did not hold when it was opened last; `unsettled`: as its walk's.
    """

    def __init__(self, window):
        self._window = window
        self.size = window.size
        self.unit = window.unit
        # A move that frees the next sector must find room, behind a gap too.
        self.spare = self.round(CURSOR_SIZE + DROP_SIZE)
        self.stream = self.damaged = 0
        self.skipped = None
        self.failed = -1
        self.unsettled = False
        self.torn = False  # something stands behind the last entry that is none, at `end`
        self.settle = self.end = 0
        self.take(0, 0, 1, 0, 0)
        self.position = self.size

    def round(self, length):
        """`length` in whole units."""
        return (length + self.unit - 1) // self.unit * self.unit

    def take(self, lap, seed, first, released, dropped):
        """A sector that was just opened."""
        self.lap = lap
        self.seed = seed
        self.first = self.next = first
        self.released = released
        self.dropped = dropped
        self.position = self.round(HEADER)
        self.gap = self.unsaved = self.owed = False
        self._spoilt = 0  # where a write of this sector has failed

    def load(self, view, lap, found, clean):
        """The sector `view` as it was found, with the header that was read last in `found`. `clean`: no cut has come
        since the last write. Sets `settle`, from where to `end` what is valid must be programmed once more after a cut.
        """
        first, released, dropped = found.field(FIRST), found.field(RELEASED), found.field(DROPPED)
        self.take(lap, checks.lap_seed(lap), first, released, dropped)
        if found.plain:
            from flashring.plain import PlainWalk

            walk, at = PlainWalk(self.unit), self.round(28)
        else:
            walk, at = Walk(self.unit), HEADER
        walk.look(view, self.seed, at, first, released, dropped, clean)
        found.mended += walk.mended
        self.unsettled = walk.unsettled
        self.next, self.released, self.dropped = walk.next, walk.released, walk.dropped
        self.settle, self.end = walk.settle, walk.end(view)
        self.torn = not blank(view, walk.at)
        entry_torn = self.torn and self.end < self.size
        self.damaged = walk.damaged + (self.torn and not (entry_torn and void(view, self.end)))
        if found.plain:
            self.position = self.size
        elif clean and not self.torn:
            self.position = self.round(walk.at)
        else:
            torn_end = extent(view, self.end)[0] if entry_torn else 0
            self.skip(max(self.round(walk.at), self._window.tail(walk.at) - 1, torn_end - 1))

    def mark_torn(self, sector):
        """Make sure that nothing torn behind the last entry is ever believed: zeros at `end`, and where an entry may
        begin anew behind it. What may come to fit while they are programmed is named behind it before.
        """
        view = self._window.load(sector)
        places = [self.end] if self.end < self.size else []
        for at in range(self.end // PAGE * PAGE + PAGE, self._window.tail(self.end), PAGE):
            if not void(view, at):
                places.append(at)
        marks = False
        for at in places:
            view = self._window.load(sector)
            free = self._window.tail(self.end)
            if free == self.size:
                free -= 8
            if not blank(view, at) and not void(view, at) and blank(view, free):
                self._window.void(sector, free, mark(at))
                marks = True
            self._window.void(sector, at)
        if marks:
            self._window.load(sector)
            self.skip(max(self.position - 3 * PAGE, self._window.tail(self.end) - 1))

    def skip(self, at):
        """The page of `at` is the last that may have been written to, or that shows it.

        The page behind may have been begun with no bit to show for it, and the one behind that have suffered from it.
        The next entry goes to the third, after marks in those two.
        """
        self.position = min((at // PAGE + 3) * PAGE, self.size)
        self.gap = True

    def fits(self, size, spare):
        """Whether entries of `size` bytes have room, what must go before them too, and `spare` bytes behind.
        """
        if self.gap or self.unsaved:
            size += CURSOR_SIZE
        if self.owed:
            size += DROP_SIZE
        return self.position + self.round(size) + spare <= self.size

    def begin(self, commit):
        """Start a commit at `position`, with the cursor where one must go first."""
        commit.begin(self.position, self.seed)
        if self.gap or self.unsaved:
            commit.cursor(self.released, self.next)
        if self.owed:
            commit.drop(self.released, self.dropped, self.next)

    def write(self, sector):
        """Program what the window's commit holds at `position`. False: it did not hold, and `position` is beyond it."""
        at = self.position
        data = self._window.commit.data
        if self._spoilt:
            self._window.void(sector, self._spoilt)
        if self.gap:
            self._mark(sector, at)
        self._spoilt = at
        self.skip(at + len(data) - 1)  # nothing more goes there, should the port raise
        if not self._window.write(sector, at):
            self._window.void(sector, at)  # at once: after a sleep it might be taken for damage
            self._spoilt = 0
            return False
        self._spoilt = 0
        self.position = at + len(data)
        self.gap = self.unsaved = self.owed = False
        return True

    def _mark(self, sector, at):
        """Show the next mount that `at` was begun, even if nothing of it is seen there."""
        self._window.void(sector, at - 2 * PAGE)
        self._window.void(sector, at - PAGE)
