"""Finding the end of the log after a boot, and settling what a cut has left half done there."""

from flashring import checks
from flashring.error import NoRing, RingError
from flashring.headers import STREAM


def find(found, window, head, hint, clean):
    """Take the newest sector for `head`, its stream last. Returns the lap of the sector after it, -1 if that has none.

    Writes nothing but zeros over a header that has once read as the newest and does not any more. Raises NoRing,
    RingError.
    """
    lap = -1
    if hint is not None and hint[0] < found.count:
        lap = found.read(hint[0])
        if lap >= 0 and not found.is_newest(lap):
            lap = -1
    if lap < 0:
        lap = found.newest()
    above = found.above
    for _ in range(2 * found.count):
        if lap < 0:
            from flashring import setup

            raise NoRing("no ring in " + setup.describe(found))
        stream = _load(found, window, head, lap, clean)
        if not stream:
            # It was read otherwise before: a cut has left it between 0 and 1.
            window.spoil(found.sector(lap))
        else:
            if not clean and not 0 <= above < lap:
                above = found.read((lap + 1) % found.count)
            if clean or above <= lap:
                head.stream = stream
                return above
            # The end of the log is further on: what was read of it before was misread.
        lap, above = found.newest_of_all(), -1
    raise RingError("no two reads of the headers agree")


def _load(found, window, head, lap, clean):
    """Take the sector of `lap` for the head. Returns its stream; 0: the header does not stand there, however often it
    is read.

    What is to be marked as torn or damaged must read so twice in a row.
    """
    seen, stream = None, 0
    for _ in range(6):
        view = window.load(found.sector(lap))
        stream = 0
        if found.look(view, lap % found.count) == lap:
            stream = found.field(STREAM)
            head.load(view, lap, found, clean)
            before, seen = seen, (head.next, head.end, head.released, head.damaged)
            if not head.damaged or seen == before:
                break
        window.forget()
    return stream


def settle(found, window, head, tail, above):
    """Whatever this mount has said, every later one says: program the last entries once more, mark a torn end, spoil a
    sector after the head that may be erased or not. `above`: as `find` returns it.
    """
    sector = found.sector(head.lap)
    window.rewrite(sector, head.settle, head.end)
    # Torn or not, who knows: even the mount after a sleep is to skip what a cut may have touched.
    head.mark_torn(sector)
    # Erased or not, who knows: only one that was never touched since it was written is left as it is.
    if not 0 <= above < head.lap:
        _spoil_after(found, window, head, tail)


def _spoil_after(found, window, head, tail):
    """See to it that the sector after the head, whose header was read last and does not fit, is not taken for erased,
    nor for one that was opened, by a later mount.
    """
    lap = head.lap + 1
    if not found.looks_erased() and found.start()[0] and tail.is_free() and head.skipped:
        from flashring.repair import stands

        # Damage to the header alone: it is left to whoever can read it better.
        if stands(window.load(found.sector(lap)), checks.lap_seed(lap - found.count)):
            return
    window.spoil(found.sector(lap))
