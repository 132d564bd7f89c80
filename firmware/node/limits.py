"""Limits with hysteresis: one alarm when a value leaves its band, one when it is back."""

NORMAL, HIGH, LOW, SENSOR_FAILS = 0, 1, 2, 3


def judge(state, value, low, high, hysteresis):
    """The next state of one channel. `low` or `high` may be None; all are integers with the channel's exponent.

    A value beyond a limit alarms at once; it is back to normal only when it has come back by `hysteresis`.
    """
    if high is not None and value > high:
        return HIGH
    if low is not None and value < low:
        return LOW
    if state == HIGH and high is not None and value > high - hysteresis:
        return HIGH
    if state == LOW and low is not None and value < low + hysteresis:
        return LOW
    return NORMAL


def get(states, channel):
    """The state of channel id `channel` (1..16) in the two-bits-per-channel field of a journal row."""
    return states >> 2 * (channel - 1) & 3


def put(states, channel, state):
    """`states` with that channel's changed."""
    shift = 2 * (channel - 1)
    return states & ~(3 << shift) | state << shift
