"""The way through one sector of entries, from its header to where the next entry goes."""

from struct import unpack_from

from flashring import checks
from flashring.entries import BLANK, CURSOR, CURSOR_SIZE, DROP, PAGE, RECORD, blank, extent, marked, valid, void

_IN_ONE = 2  # entries behind a move of the cursor in the same program
_LONG_AGO = 4096


class Walk:
    """Steps through one sector: `look` to its end, `find` to one record.

    After `look`: `at` (where what is valid ends), `next` (seq), `released`, `dropped`, `damaged` (records that stand
    there and cannot be read), `settle` (where the last three entries start, 0 if there are fewer), `unsettled` (another
    walk may not say the same: the last entry does not fit and was counted, or a move of the cursor in the last program
    cannot be read). After `find` too: `mended` (entries in which a flipped bit was put right).
    """

    def __init__(self, unit):
        self._unit = unit
        self._found = None
        self._torn_at = ()  # places where nothing is believed, whatever it reads

    def look(self, view, seed, at, first, released, dropped, clean):
        """Walk from byte `at`, where record `first` is the next. `clean`: no cut has come since the last write.

        At first only moves of the cursor and the last entry are checked: a check covers its record's number, so that
        one that fits says that the steps to it went right. If it does not, all are checked.
        """
        self._torn_at = ()
        if not self._walk(view, seed, at, first, released, dropped, -1, False):
            self._walk(view, seed, at, first, released, dropped, -1, True)
        if not blank(view, self.at):
            # What a mount found torn and was cut as it put zeros there may fit by now, with bits that will not last.
            end = self.end(view)
            if end >= len(view) or not void(view, end) or marked(view, end):
                self._torn_at = _named(view, self.rounded(self.at))
                if self._torn_at:
                    self._walk(view, seed, at, first, released, dropped, -1, True)
            if clean and not blank(view, self.at):
                self._amend(view, seed, at, first, released, dropped)

    def _amend(self, view, seed, at, first, released, dropped):
        """Count what stands behind the last entry that fits: it was whole once, for nothing was torn."""
        from flashring.repair import newest

        end, records, fits = newest(self, view, self.end(view), self.next, seed)
        if fits:
            self._walk(view, seed, at, first, released, dropped, -1, True)
            self.mended += 1
        else:
            self.at = end or self.at
            self.next += records
            self.damaged += records
        self.unsettled = self.unsettled or end > 0 or records > 0

    def end(self, view):
        """Where the entry behind the last valid one would stand."""
        end = self.aligned(view, self.at)
        # If that is not padding, something torn reads FFh where it begins.
        return end if view[self.at : end] == b"\xff" * (end - self.at) else self.at

    def find(self, view, seed, at, following, seq):
        """(begin and end of payload, kind, index, end of entry) of record `seq` from `at` on, where `following` is the
        next; None if it is not there or damaged. `index`: of the record in its batch.
        """
        self._found = None
        self._torn_at = ()
        if not self._walk(view, seed, at, following, 0, 0, seq, False):
            self._walk(view, seed, at, following, 0, 0, seq, True)
        return self._found

    def _walk(self, view, seed, at, seq, released, dropped, target, checked):
        """False if something is wrong and `checked` is not set."""
        begin = at, seq, released, dropped
        self.damaged = self.mended = 0
        unread = _LONG_AGO  # entries since a move of the cursor that cannot be read
        third = third_seq = third_end = second = second_seq = second_end = last_end = 0
        last, last_seq = -1, seq
        while True:
            place = self._place(view, at, seq, seed)
            if place < 0:
                place = self.aligned(view, at)
                if place >= len(view) or blank(view, at):
                    break
                if not checked:
                    return False
            if place in self._torn_at:
                view[place : place + 4] = bytes(4)
            if not checked and void(view, place):
                return False  # what stands behind it may be taken for entries
            end, records = extent(view, place)
            if (checked or not records) and (not end or not valid(view, place, end, seq, seed)):
                if not checked:
                    return False
                from flashring.repair import recover  # of no use in most of a node's life

                failed = place
                place, there, end = recover(self, view, at, place, seq, seed)
                if not end:
                    if place < 0:
                        if last_seq < seq and self.beyond(view, at, last_seq, seed) >= 0:
                            # The cursor behind the gap does not count the last entry: it was torn, and fits by now.
                            view[last : last + 4] = bytes(4)
                            return self._walk(view, seed, *begin, target, True)
                        break
                    self.damaged += there - seq
                    # What ends where a unit does was padding, with a flipped bit that makes it look like a move.
                    if there == seq and view[failed] in (CURSOR, DROP) and place != self.rounded(failed):
                        unread = 0
                    at, seq = place, there
                    continue
                records = there - seq
                self.mended += 1
            if seq <= target < seq + records:
                if not checked and not valid(view, place, end, seq, seed):
                    return False
                self._found = self._payload(view, place, end, target - seq)
                return True
            if not records:
                released = unpack_from("<I", view, place + 1)[0]
                if view[place] == DROP:
                    dropped = unpack_from("<I", view, place + 5)[0]
            third, third_seq, third_end = second, second_seq, second_end
            second, second_seq, second_end = max(last, 0), last_seq, last_end
            last, last_seq, last_end = place, seq, end
            seq += records
            unread += 1
            at = end
        if not checked and (target >= 0 or last >= 0 and not valid(view, last, at, last_seq, seed)):
            return False
        if not checked and second and not valid(view, second, second_end, second_seq, seed):
            return False  # a mount programs it once more, and must not program what it misread
        if not checked and third and not valid(view, third, third_end, third_seq, seed):
            return False
        self.at, self.next, self.released, self.dropped, self.settle = at, seq, released, dropped, third
        self.unsettled = unread <= _IN_ONE
        return True

    def _payload(self, view, at, end, index):
        head = view[at]
        if head < RECORD:
            return at + 1, end - 2, RECORD, 0, end
        return at + 3, end - 4, head, index, end

    def _place(self, view, at, seq, seed):
        """Where the next entry starts if what is before `at` is all right; -1: there is none."""
        at = self.aligned(view, at)
        if at < len(view) and view[at] == BLANK:
            return self.beyond(view, at, seq, seed)
        return at if at < len(view) else -1

    def aligned(self, view, at):
        """`at`, or behind the padding that starts there."""
        return self.rounded(at) if at < len(view) and view[at] == BLANK else at

    def rounded(self, at):
        """The next multiple of the unit."""
        return (at + self._unit - 1) // self._unit * self._unit

    def beyond(self, view, at, seq, seed):
        """The entry that begins anew behind a place that a cut may have touched, or -1."""
        for place in range(at // PAGE * PAGE + PAGE, len(view) - CURSOR_SIZE, PAGE):
            if view[place] == BLANK and view[place + 1] == BLANK or not view[place] or place in self._torn_at:
                continue
            entry = view[place : place + CURSOR_SIZE]
            start = checks.entry_seed(seed, place, seq)
            if view[place] == CURSOR and checks.long_fits(entry, 0, CURSOR_SIZE, start) or _mended(entry, start):
                return place
        return -1


def _named(view, start):
    """The places that marks from `start` on call torn."""
    places = list(range((start + PAGE - 1) // PAGE * PAGE, len(view), PAGE))
    places.append(max(start, len(view) - 8))
    return [place for place in [marked(view, at) for at in places] if place]


def _mended(entry, start):
    from flashring.repair import mend

    # A copy: a flipped first byte under one number looks like another flip under another.
    copy = bytearray(entry)
    if not mend(copy, start) or copy[0] != CURSOR:
        return False
    entry[:] = copy
    return True
