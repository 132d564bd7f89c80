"""`socket` behind the simulated radio: no link, no socket; the only way out is the node's proxy."""

import _chip
import usocket
import ustruct
from usocket import AF_INET, SO_REUSEADDR, SOCK_DGRAM, SOCK_STREAM, SOL_SOCKET  # noqa: F401

_CLOCK = ""
_up = False
_powered = False  # RP2: the radio takes current, joined or not


def _link(up):
    """Called by `network` when the link comes or goes. When it goes every socket is dead, and so is the pacing."""
    global _up
    if _up and not up:
        for each in _open:
            each.close()
        _open.clear()
        _chip.free()
    _up = up


_open = []


def getaddrinfo(host, port, af=0, type=0, proto=0, flags=0):
    """Resolves as lwIP does; the answer is the proxy that stands for `host`. OSError(-202) without a link or an
    answer.
    """
    if not _up:
        raise OSError(-202)
    status, answer = _chip.call(_chip.OPEN, 0, host.encode() + b"\0" + str(port).encode())
    if status:
        raise OSError(-202)
    _chip.pace(_CLOCK)
    return usocket.getaddrinfo("127.0.0.1", ustruct.unpack("<H", answer)[0])


def socket(af=AF_INET, type=SOCK_STREAM, proto=0):
    if not _up:
        _chip.unreachable()
    made = usocket.socket(af, type)
    _open.append(made)
    return made
