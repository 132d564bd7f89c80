"""The transmit buffer: packets go in whole or not at all, bytes go out in attempts that never change.

A TLS layer that answered "not now" may already hold the encrypted record of the bytes it was offered, and
expects the very same bytes again; offering more loses data without a sound. So an attempt, once begun, keeps
its place and its end until its last byte is taken; what is appended meanwhile belongs to the next one.
"""


class Outbox:
    """A linear buffer of `size` bytes, made once; at most 65535, so that no field in it is longer than MQTT can say.

    0 <= head <= mark <= tail <= size. head..mark is the attempt under way (empty if none), mark..tail waits
    behind it.
    """

    def __init__(self, size):
        if size > 65535:
            raise ValueError("mqtt: a transmit buffer of %d bytes, at most 65535" % size)
        self.size = size
        self._buf = bytearray(size)
        self._mv = memoryview(self._buf)
        self.clear()

    def clear(self):
        """Forgets everything."""
        self._head = self._mark = self._tail = 0

    def pending(self):
        """Bytes not yet taken by the network."""
        return self._tail - self._head

    def reserve(self, n):
        """Makes room for a packet of `n` bytes, to be filled by put() calls that follow at once; False if
        there is none.
        """
        if self._head == self._mark and self._tail + n > self.size:
            waiting = self._tail - self._head
            self._mv[:waiting] = self._mv[self._head : self._tail]
            self._head = self._mark = 0
            self._tail = waiting
        return self._tail + n <= self.size

    def begin(self, first, length):
        """Begins a packet with its first byte and remaining length (section 2.2.3), 0 .. 2^28-1; the `length` bytes
        that follow are put() at once. False if there is no room now, ValueError if there can never be.
        """
        size = length + (2 if length < 0x80 else 3 if length < 0x4000 else 4 if length < 0x200000 else 5)
        if size > self.size:
            raise ValueError("mqtt: packet %02Xh of %d bytes, the transmit buffer has %d" % (first, size, self.size))
        if not self.reserve(size):
            return False
        self.put_byte(first)
        while length > 127:
            self.put_byte(length & 127 | 128)
            length >>= 7
        self.put_byte(length)
        return True

    def put(self, part):
        """Appends a bytes-like object."""
        end = self._tail + len(part)
        self._mv[self._tail : end] = part
        self._tail = end

    def put_byte(self, value):
        """Appends one byte."""
        self._buf[self._tail] = value
        self._tail += 1

    def put_u16(self, value):
        """Appends a u16, big-endian as MQTT has it."""
        self.put_byte(value >> 8)
        self.put_byte(value & 255)

    def put_field(self, octets):
        """Appends a field: its length as u16, then itself."""
        self.put_u16(len(octets))
        self.put(octets)

    def send(self, sock):
        """Offers the attempt to `sock`, returns the bytes taken, 0 if none. Raises what `write` does."""
        if self._head == self._mark:
            self._mark = self._tail
        taken = sock.write(self._buf, self._head, self._mark - self._head) or 0
        self._head += taken
        if self._head == self._tail:
            self.clear()
        return taken
