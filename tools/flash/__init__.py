"""From a bare board to a running node: images, loaders, and the files of a node, over a cable."""


class FlashError(Exception):
    """What was asked for could not be done; the text is one line: what, where, what to do. The board is in a state
    from which the same command, run again, goes on.
    """

    status = 1


class Refusal(FlashError):
    """What was asked for is wrong; nothing was done to the board."""

    status = 2


class FirmwareError(Refusal):
    """The board's MicroPython cannot take what we copy: another has to be flashed first."""


class WrongBoardError(Refusal):
    """Another board than the node file's is on the port."""
