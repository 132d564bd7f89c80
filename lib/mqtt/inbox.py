"""The receive buffer: bytes come in as they please, packets come out whole."""

from mqtt.error import MqttError


class Inbox:
    """A buffer of `size` bytes, made once; `size` is the largest packet accepted.

    After packet() returned a first byte, `view[start:end]` is that packet, `view[body:end]` its variable header and
    payload, valid until drop().
    """

    def __init__(self, size):
        self.size = size
        self._buf = bytearray(size)
        self.view = memoryview(self._buf)
        self.clear()

    def clear(self):
        """Forgets everything."""
        self.start = self._filled = self.body = self.end = 0

    def held(self):
        """Bytes received and not yet dropped."""
        return self._filled - self.start

    def fill(self, sock):
        """Reads what is there. Returns the bytes read, 0 at end of stream, None if there is nothing or no
        room.
        """
        if self.start:
            held = self._filled - self.start
            self.view[:held] = self.view[self.start : self._filled]
            self.start = 0
            self._filled = held
        if self._filled == self.size:
            return None
        count = sock.readinto(self.view[self._filled :] if self._filled else self.view)
        if count:
            self._filled += count
        return count

    def packet(self):
        """First byte of the next packet if all of it is here, else None.

        MqttError `protocol` for a remaining length over four bytes, `oversize` for a packet that can never
        fit.
        """
        buf = self._buf
        at = self.start + 1
        length = shift = 0
        while at < self._filled:
            byte = buf[at]
            at += 1
            length |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift == 28:
                raise MqttError("protocol", "a remaining length over 4 bytes")
        else:
            return None
        if at - self.start + length > self.size:
            raise MqttError("oversize", "a packet with %d bytes to come, room for %d" % (length, self.size))
        if at + length > self._filled:
            return None
        self.body = at
        self.end = at + length
        return buf[self.start]

    def drop(self):
        """Gives the packet up: its bytes may be overwritten from now on."""
        self.start = self.body = self.end
