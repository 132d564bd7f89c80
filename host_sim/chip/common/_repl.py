"""The REPL of a board: friendly, paste, raw and raw paste, byte for byte what a host sees of shared/runtime/pyexec.c.

It is written anew because the unix port's own blocks in the host's `read`, where no timer of the simulated chip could
run. What it leaves out of the friendly one: cursor keys, completion.
"""

import io
import sys

import _chip
import uselect

_A, _B, _C, _D, _E = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"
_WINDOW = 128  # bytes the host may send ahead in raw paste
_BANNER = 'MicroPython v1.29.0 on a simulated board\nType "help()" for more information.\n'
_RAW_BANNER = "raw REPL; CTRL-B to exit\n"

raw = False  # which of the two it is in
_stdin = sys.stdin.buffer
_poller = uselect.poll()
_poller.register(sys.stdin, uselect.POLLIN)


def run(scope, start_raw):
    """Until a soft reset, which is SystemExit. `scope`: the globals of what is typed."""
    global raw
    raw = start_raw
    while True:
        if raw:
            _raw(scope)
        else:
            _say(_BANNER)
            _friendly(scope)
        raw = not raw


def _say(text):
    sys.stdout.write(text)


def _byte():
    while not _poller.poll(0):
        _chip.wait(_poller, None)
    byte = _stdin.read(1)
    if not byte:
        raise SystemExit  # nobody is there any more
    return byte


def _execute(source, kind, scope):
    """Compiles and runs; returns what it raised, or None."""
    import _cable

    _cable.interrupt_char(3)
    fault = None
    try:
        exec(compile(source, "<stdin>", kind), scope)
    except SystemExit:
        raise
    except BaseException as error:
        fault = error
    _cable.interrupt_char(-1)
    return fault


# The raw REPL


def _raw(scope):
    """Until Ctrl-B."""
    _say(_RAW_BANNER)
    while True:
        _say(">")
        line = bytearray()
        while True:
            byte = _byte()
            if byte == _A:
                if line == b"\x05A":
                    sys.stdout.buffer.write(b"R\x01")
                    _raw_run(_paste(), scope)
                    break
                if len(line) == 2 and line[0] == 5:
                    sys.stdout.buffer.write(b"R\x00")
                    break
                _say(_RAW_BANNER)
                break
            if byte == _B:
                _say("\n")
                return
            if byte == _C:
                line = bytearray()
            elif byte == _D:
                _say("OK")
                if not line:
                    _say("\n")
                    raise SystemExit
                _raw_run(line, scope)
                break
            else:
                line.extend(byte)


def _raw_run(source, scope):
    """`source` None: the host gave up."""
    fault = KeyboardInterrupt() if source is None else _execute(str(source, "utf-8"), "exec", scope)
    _say("\x04")
    _report(fault)
    _say("\x04")


def _paste():
    """Everything up to Ctrl-D, granted to the host window by window; None if it gave up by Ctrl-C."""
    out = sys.stdout.buffer
    out.write(bytes([_WINDOW & 255, _WINDOW >> 8, 1]))
    source = bytearray()
    left = _WINDOW
    while True:
        byte = _byte()
        if byte in (_C, _D):
            out.write(_D)
            return source if byte == _D else None
        source.extend(byte)
        left -= 1
        if not left:
            out.write(b"\x01")
            left = _WINDOW


# The friendly REPL


def _friendly(scope):
    """Until Ctrl-A."""
    lines = []
    while True:
        _say("... " if lines else ">>> ")
        line = _line(not lines)
        if isinstance(line, str):
            lines.append(line)
            if not _goes_on(lines):
                source = "\n".join(lines)
                lines = []
                if source.strip():
                    _report(_execute(source, "single", scope))
        elif line == _A:
            _say("\n")
            return
        elif line == _B:
            _say("\n" + _BANNER)
        elif line == _C:
            lines = []
            _say("\n")
        elif line == _D:
            if not lines:
                _say("\n")
                raise SystemExit
            lines = []
        elif line == _E:
            source = _typed_paste()
            if source is not None:
                _report(_execute(source, "exec", scope))


def _line(empty_allowed):
    """A line of text, or the control byte that ended it."""
    line = ""
    while True:
        byte = _byte()
        if byte in (b"\r", b"\n"):
            _say("\n")
            return line
        if byte == _C or not line and byte in (_A, _B, _D, _E) and (empty_allowed or byte == _D):
            return byte
        if byte in (b"\x08", b"\x7f"):
            if line:
                line = line[:-1]
                _say("\x08 \x08")
        elif 32 <= byte[0] < 127 or byte == b"\t":
            line += chr(byte[0])
            _say(chr(byte[0]))


def _goes_on(lines):
    """Whether more belongs to it (py/repl.c, mp_repl_continue_with_input, without its strings over several lines)."""
    last = lines[-1].rstrip()
    if len(lines) > 1 and (lines[0].rstrip().endswith(":") or lines[0].startswith("@")):
        return bool(last)
    if last.endswith(":") or last.endswith("\\") or last.startswith("@"):
        return True
    text = "".join(lines)
    return sum([text.count(c) for c in "([{"]) > sum([text.count(c) for c in ")]}"])


def _typed_paste():
    """What is typed up to Ctrl-D, or None if Ctrl-C ended it."""
    _say("\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\n=== ")
    text = ""
    while True:
        byte = _byte()
        if byte in (_C, _D):
            _say("\n")
            return text if byte == _D else None
        text += "\n" if byte == b"\r" else chr(byte[0])
        _say("\n=== " if byte == b"\r" else chr(byte[0]))


def _report(fault):
    """The traceback from what was typed on; our own frame above it no board has."""
    if fault is not None:
        text = io.StringIO()
        sys.print_exception(fault, text)
        _say("\n".join([line for line in text.getvalue().split("\n") if "_repl.py" not in line]))
