"""The part of the self-test that restarts the board: what must be the same after a reset, and after a sleep.

Between the calls lies a restart, after which the host (tools/selftest.py) sends this file again and hands back what was
noted: a call that restarts prints its note last, as `NOTE` and a literal. `begin` takes main.py away, so that the board
stays at its prompt and no watchdog is armed; `end` puts it back.
"""

import os
import struct

import board
import crc

SLEEP_S = 4
_OFF = "main.off"
_RESTART, _WAKE = 4, 3  # reset reasons, lib/mqtt/PROTOCOL.md
# Of the node's table (firmware/node/retained.py) what is not the board's own: CRC, marks, seconds, sleep, fraction.
_OURS = b"\x00\x00\x9f" + b"\xff" * 5 + bytes(6) + b"\xff" * 12 + b"\x03\xff"


def _there(name):
    try:
        os.stat(name)
        return True
    except OSError:
        return False


def _table(seed):
    """A table of the node's as it could be: the CRC is right, the board's bits are not set."""
    table = bytearray([seed + i & mask for i, mask in enumerate(_OURS)])
    struct.pack_into("<H", table, 0, crc.crc16(memoryview(table)[2:]))
    return table


def _check(name, right, found):
    print("%s %s: %s" % ("ok  " if right else "FAIL", name, found))


def _check_kept(power, seed, over):
    found, wanted = power.retained(), _table(seed)
    right = len(found) == len(wanted) and all([found[i] & _OURS[i] == wanted[i] & _OURS[i] for i in range(2, 28)])
    _check("memory over " + over, right, "kept" if right else "%s, was %s" % (bytes(found), bytes(wanted)))


def _check_cause(power, wanted, over):
    cause = power.reset_cause()
    _check("cause of " + over, cause == wanted, "%d" % cause if cause == wanted else "%d, not %d" % (cause, wanted))


def begin():
    """Before a reset. main.py may be away already, by a self-test that broke off."""
    if _there("main.py"):
        if _there(_OFF):
            os.remove(_OFF)
        os.rename("main.py", _OFF)
    ports = board.build()
    held = bytes(ports.power.retained())
    ports.power.retain(_table(40))
    print("NOTE", {"board": ports.name, "held": held})


def reset():
    """Does not return."""
    board.build().power.reset()


def was_reset():
    """After it."""
    power = board.build().power
    _check_kept(power, 40, "a reset")
    _check_cause(power, _RESTART, "a reset")


def before_sleep():
    """What `woke` is to find."""
    ports = board.build()
    ports.power.retain(_table(70))
    print("NOTE", {"seconds": ports.clock.seconds()})


def sleep():
    """Does not return."""
    board.build().power.sleep(SLEEP_S * 1000)


def woke(seconds, passed_ms):
    """After it, `passed_ms` by the host's clock after `before_sleep`, when the board's showed `seconds`."""
    ports = board.build()
    _check_kept(ports.power, 70, "a sleep")
    _check_cause(ports.power, _WAKE, "a sleep")
    table = ports.power.retained()
    ports.clock.resume(struct.unpack_from("<i", table, 8)[0], 2)
    passed = ports.clock.seconds() - seconds
    right = -2000 < passed * 1000 - passed_ms < 2000
    _check("clock over a sleep", right, "%d s passed%s" % (passed, "" if right else ", of %d ms" % passed_ms))


def end(held):
    """As it was."""
    if _there(_OFF):
        os.rename(_OFF, "main.py")
    if len(held) == len(_OURS):
        board.build().power.retain(held)
