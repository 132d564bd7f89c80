"""One line being typed: bytes in, echo out, no waiting. What a VT100 and most terminals since send is understood.

Text is UTF-8. Whatever else comes, noise of a floating pin included, costs a byte's time each and is told of once,
when the line ends.
"""

LONGEST = 256  # bytes of a line: what the serial ports of boards hold before they drop
_KEPT = 8  # lines of history

# What `feed` returns.
MORE, DONE, INTERRUPT, END, TAB = range(5)

_TEXT, _ESCAPE, _CSI = range(3)
_LETTER_KEYS = {65: "up", 66: "down", 67: "right", 68: "left", 70: "end", 72: "home"}
_NUMBER_KEYS = {1: "home", 3: "delete", 4: "end", 7: "home", 8: "end"}


class Editor:
    """`write(bytes)` takes the echo. `begin` a line, `feed` it its bytes, ask `text()` when that returned DONE."""

    def __init__(self, write):
        self._write = write
        self._buf = bytearray(LONGEST)
        self._view = memoryview(self._buf)
        self._echo = bytearray(1)
        self._history = []
        self._state = _TEXT
        self._number = 0
        self._after_return = False
        self.begin(False)

    def begin(self, hidden):
        """A new, empty line; a `hidden` one is not echoed."""
        self._hidden = hidden
        self._size = self._at = 0  # bytes, and where the cursor is
        self._noise = 0  # bytes that no one types
        self._lost = 0  # bytes that had no room
        self._place = len(self._history)

    def empty(self):
        """Nothing was typed, noise neither."""
        return not (self._size or self._noise or self._lost)

    def text(self):
        """The line. ValueError, in one sentence, for one that cannot be taken."""
        if self._noise:
            raise ValueError("%d bytes of noise; the line was not taken" % (self._noise + self._size))
        if self._lost:
            raise ValueError("%d bytes, at most %d; the line was not taken" % (self._size + self._lost, LONGEST))
        try:
            return bytes(self._view[: self._size]).decode()
        except UnicodeError:
            raise ValueError("%d bytes that are no UTF-8; the line was not taken" % self._size)

    def before(self):
        """The text left of the cursor, as far as it is text."""
        try:
            return bytes(self._view[: self._at]).decode()
        except UnicodeError:
            return ""

    def remember(self, text):
        """Keeps a line for the up key."""
        if text and self._history[-1:] != [text]:
            self._history.append(text)
            if len(self._history) > _KEPT:
                self._history.pop(0)

    def feed(self, byte):
        """Takes one byte. -> MORE; DONE: the line is complete; INTERRUPT: Ctrl-C; END: Ctrl-D in an empty line; TAB."""
        after_return, self._after_return = self._after_return, byte == 13
        if self._state != _TEXT:
            self._escape(byte)
        elif byte == 13 or byte == 10:
            return MORE if byte == 10 and after_return else DONE
        elif byte >= 32 and byte != 127:
            self._insert(byte)
        elif byte == 3:
            return INTERRUPT
        elif byte == 4 and self.empty():
            return END
        elif byte == 9:
            return MORE if self._hidden or self._noise else TAB
        elif byte == 8 or byte == 127:
            if self._at:
                self._move(self._left())
                self._cut()
        elif byte == 21:  # Ctrl-U
            self._replace(b"")
            self._noise = self._lost = 0
        elif byte == 27:
            self._state = _ESCAPE
        else:
            self._noise += 1
        return MORE

    def insert(self, text):
        """As if `text` had been typed."""
        for byte in text.encode():
            self._insert(byte)

    def show(self):
        """Writes the line anew, behind a new prompt."""
        if not self._hidden:
            self._write(self._view[: self._size])
            self._back(self._at)

    def _insert(self, byte):
        if self._noise:
            self._noise += 1
            return
        if self._size == LONGEST:
            self._lost += 1
            return
        buf, at = self._buf, self._at
        for i in range(self._size, at, -1):
            buf[i] = buf[i - 1]
        buf[at] = byte
        self._size += 1
        self._at += 1
        if self._hidden:
            return
        if self._at == self._size:
            self._echo[0] = byte
            self._write(self._echo)
        else:
            if byte & 0xC0 == 0x80:  # the letter is written whole, or it is none
                at = self._left()
                self._write(b"\x1b[1D\x1b[K")
            self._write(self._view[at : self._size])
            self._back(self._at)

    def _back(self, at):
        """Moves the cursor from the line's end to `at`."""
        columns = self._columns(at, self._size)
        if columns:
            self._write(b"\x1b[%dD" % columns)

    def _columns(self, start, end):
        """Letters between two places: UTF-8 continues a letter with bytes 10xxxxxx."""
        columns = 0
        for i in range(start, end):
            columns += self._buf[i] & 0xC0 != 0x80
        return columns

    def _left(self):
        at = max(self._at - 1, 0)
        while at and self._buf[at] & 0xC0 == 0x80:
            at -= 1
        return at

    def _right(self):
        at = min(self._at + 1, self._size)
        while at < self._size and self._buf[at] & 0xC0 == 0x80:
            at += 1
        return at

    def _move(self, at):
        columns = self._columns(min(at, self._at), max(at, self._at))
        if columns and not self._hidden:
            self._write(b"\x1b[%d%s" % (columns, b"D" if at < self._at else b"C"))
        self._at = at

    def _cut(self):
        """Takes out the letter at the cursor."""
        gone = self._right() - self._at
        if not gone:
            return
        buf = self._buf
        self._size -= gone
        for i in range(self._at, self._size):
            buf[i] = buf[i + gone]
        if not self._hidden:
            self._write(b"\x1b[K")
            self._write(self._view[self._at : self._size])
            self._back(self._at)

    def _replace(self, data):
        """Another line in place of this one."""
        self._move(0)
        if not self._hidden:
            self._write(b"\x1b[K")
        self._size = self._at = min(len(data), LONGEST)
        self._view[: self._size] = data[: self._size]
        if not self._hidden:
            self._write(self._view[: self._size])

    def _escape(self, byte):
        """The next byte of a key's sequence: ESC [ letter, ESC O letter, ESC [ number ~; others are passed over."""
        if self._state == _ESCAPE:
            self._state = _CSI if byte in b"[O" else _TEXT
            self._number = 0
        elif 48 <= byte <= 57:
            self._number = (self._number * 10 + byte - 48) % 1000
        elif byte != 59:
            self._state = _TEXT
            self._key(_NUMBER_KEYS.get(self._number) if byte == 126 else _LETTER_KEYS.get(byte))

    def _key(self, key):
        if key == "left":
            self._move(self._left())
        elif key == "right":
            self._move(self._right())
        elif key == "home":
            self._move(0)
        elif key == "end":
            self._move(self._size)
        elif key == "delete":
            self._cut()
        elif key in ("up", "down") and not self._hidden:
            place = self._place + (-1 if key == "up" else 1)
            if 0 <= place <= len(self._history):
                self._place = place
                self._replace(self._history[place].encode() if place < len(self._history) else b"")
