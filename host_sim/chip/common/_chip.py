"""The simulated chip's line to the supervisor, and its clock (README.md beside this folder).

Runs inside the VM. `u...` names reach the unix port's own modules past the simulated ones.
"""

import uerrno
import uselect
import usocket
import ustruct
import utime

HELLO, _, PROGRAM, ERASE, I2C, ADC, JOIN, KEEP, RTC_SET, SLEEP, RESET, OPEN, CLOSED, WAIT, WAKE, REPL = range(16)
LIGHTSLEEP, WATCHDOG, PIN, CONSOLE, SOFT_RESET, BOOTLOADER, SCAN = range(16, 23)

_HEAD = 12
_SMALL = 128
_tx = bytearray(_HEAD + _SMALL)
_tx_mv = memoryview(_tx)
_rx = bytearray(8)
_line = None
_image = None
_clock_file = None
_clock = bytearray(32)
_now = 0  # true simulated time while free-running, microseconds since 1970
_paced = False
_bite = _NEVER = 1 << 62  # when the watchdog will bite, as the supervisor said last


def connect(path, name, image):
    """Opens the line and the flash image; returns the answer to hello."""
    global _line, _now, _image
    _image = open(image, "rb")
    _line = usocket.socket(usocket.AF_UNIX)
    _line.connect(bytes([usocket.AF_UNIX, 0]) + path.encode())
    _, answer = call(HELLO, 0, name.encode())
    _now = ustruct.unpack_from("<Q", answer, 0)[0]
    return answer


def call(op, arg=0, payload=b"", into=None):
    """One question and its answer: (status, bytes or the filled `into`). The chip's clock moves on by what it took."""
    global _now
    _send(op, arg, payload)
    status, _, size, took = _receive()
    if size == 0:
        answer = b""
    elif into is not None:
        _line.readinto(into, size)
        answer = into
    else:
        answer = _line.read(size)
    if _paced:
        if took >= 1000:
            utime.sleep_us(took)
    else:
        _now += took
    return status, answer


def tell(op, payload):
    """Says something that has no answer and takes no time; the next question waits for it to be heard."""
    _send(op, 0, payload)


def check(op, arg=0, payload=b"", into=None):
    """`call` that raises OSError for a status other than 0."""
    status, answer = call(op, arg, payload, into)
    if status:
        raise OSError(status)
    return answer


def read_flash(addr, mv):
    """Reads straight from the image: reading changes nothing, and the line would cost more than all else in a wake."""
    global _now
    _image.seek(addr)
    _image.readinto(mv)
    # 40 MHz dual I/O is 10 bytes a microsecond, behind some 20 us of driver.
    _now += 20 + len(mv) // 10


def leave(op, arg, payload=b""):
    """Says the last word of this boot; the supervisor ends the process, so this never returns."""
    _send(op, arg, payload)
    while True:
        utime.sleep(60)


def _send(op, arg, payload):
    size = len(payload)
    ustruct.pack_into("<BBHQ", _tx, 0, op, arg, size, now_us())
    if size <= _SMALL:
        _tx_mv[_HEAD : _HEAD + size] = payload
        _line.write(_tx_mv[: _HEAD + size])
    else:
        _line.write(_tx_mv[:_HEAD])
        _line.write(payload)


def _receive():
    _line.readinto(_rx)
    return ustruct.unpack("<BBHI", _rx)


def now_us():
    """True simulated time, microseconds since 1970."""
    global _now
    if not _paced:
        _now += 1
        if _now > _bite:
            watchdog_looks()
        return _now
    while True:
        _clock_file.seek(0)
        _clock_file.readinto(_clock)
        version, sim, mono, rate = ustruct.unpack("<QqqQ", _clock)
        if not version & 1:
            break
    return (sim + rate * (utime.ticks_us() * 1000 - mono)) // 1000


def pace(clock_path):
    """From here the clock is the supervisor's: a socket is open."""
    global _paced, _clock_file
    if _clock_file is None:
        _clock_file = open(clock_path, "rb")
    _paced = True


def free():
    """From here the clock is the VM's own again."""
    global _paced, _now
    if _paced:
        now = now_us()
        call(CLOSED)
        _now = now
        _paced = False


def paced():
    return _paced


def sleep_us(us):
    """The CPU waits."""
    global _now
    if _paced:
        wait(uselect.poll(), now_us() + us)
    else:
        _now += us
        if _now > _bite:
            watchdog_looks()


def wait(poller, until):
    """Ready (object, event) pairs of a unix-port poller, at the latest at simulated microsecond `until` (None: no
    limit). KeyboardInterrupt for a Ctrl-C at the console (host_sim/bench), which is taken where code waits.
    """
    ready = poller.poll(0)
    if ready:
        return ready
    if until is None:
        until = 0xFFFFFFFFFFFFFFF
    now = now_us()
    if until <= now:
        return ready
    _send(WAIT, 0, ustruct.pack("<Q", until))
    poller.register(_line, uselect.POLLIN)
    ready = poller.poll(min((until - now) // 1000 + 1, 1 << 30))
    poller.unregister(_line)
    moved = False
    others = []
    for entry in ready:
        if entry[0] is _line:
            moved = True
        else:
            others.append(entry)
    if moved:
        if _receive()[0]:
            raise KeyboardInterrupt
        return others or poller.poll(0)
    _send(WAKE, 0, b"")
    # The supervisor may have ended the wait just before it read this: then its answer to `wait` lies in front.
    status, op, _, _ = _receive()
    if op != WAKE:
        _receive()
    if status:
        raise KeyboardInterrupt
    return others


def watchdog(timeout_ms=None):
    """Starts the watchdog, or feeds it."""
    global _bite
    if timeout_ms is None and _bite == _NEVER:
        return
    payload = b"" if timeout_ms is None else ustruct.pack("<I", timeout_ms)
    _bite = ustruct.unpack("<Q", check(WATCHDOG, 1, payload))[0]


def watchdog_looks():
    """The VM's clock has passed the moment: the supervisor ends the boot, or says why not yet."""
    global _bite
    _bite = _NEVER  # the request itself asks for the time
    _bite = ustruct.unpack("<Q", check(WATCHDOG))[0]


def unreachable():
    raise OSError(uerrno.EHOSTUNREACH)
