"""What a ring refuses."""


class RingError(Exception):
    """What the ring refuses; the text says what and where."""


class NoRing(RingError):
    """`mount` found no ring in its sectors; the text says what stands there."""


class RingFull(RingError):
    """No room before unreleased records. `seq`: once it is released or dropped, the call succeeds, unless other moves
    of the cursor have used up the room meanwhile.
    """

    def __init__(self, seq):
        super().__init__("ring full: records up to %d must be released or dropped first" % seq)
        self.seq = seq


class RingBusy(RingError):
    """The next sector has to be erased before this record can be taken: call `idle`, then try again."""
