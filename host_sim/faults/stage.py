"""How far a connection has come, as its TLS records show from outside (RFC 5246, 6.2.1): content types and sizes."""

from collections.abc import Iterator

HANDSHAKE, BIRTH, CONNACK, SUBACK, DATA, ACK = "handshake", "birth", "connack", "suback", "data", "ack"
RECORD = "record"  # in the middle of any record behind the handshake
STAGES = (HANDSHAKE, BIRTH, CONNACK, SUBACK, DATA, ACK, RECORD)
_TYPES = range(20, 24)
_ALERT, _APPLICATION = 21, 23
_HEADER = 5
# Bytes: CONNACK has 4 and SUBACK 5, AES-GCM adds 24 and ChaCha20 16; nats-server says both in one record to a node that
# sends CONNECT and SUBSCRIBE in one write. The shortest ACK has more.
_BOTH = (9 + 24, 9 + 16)
_SHORT = 40


class Stages:
    """One connection. `birth` is the node's first write (CONNECT, SUBSCRIBE, BIRTH and alerts), `data` all later ones;
    `connack` and `suback` are the broker's first words, `ack` all later ones.
    """

    def __init__(self) -> None:
        # Of each direction, down and up: what is still to come of the record, its stage, the header so far.
        self._rest = [0, 0]
        self._stage = ["", ""]
        self._head = [b"", b""]
        self._foreign = False
        self._answers = 0

    def parts(self, data: bytes, up: bool) -> Iterator[tuple[str, bytes]]:
        """`data` in records or pieces of them, each with its stage, or two with a space between; "" for what is no TLS,
        or an alert. The first bytes of a header that is not yet whole still count to the record before.
        """
        while data:
            if not self._rest[up]:
                here = data[: _HEADER - len(self._head[up])]
                head = self._head[up] + here
                if self._foreign or head[0] not in _TYPES:
                    self._foreign = True
                    yield "", data
                    return
                if len(head) < _HEADER:
                    self._head[up] = head
                    yield self._stage[up], here
                    return
                size = int.from_bytes(head[3:], "big")
                self._head[up], self._rest[up] = b"", len(here) + size
                self._stage[up] = self._of(head[0], size, up)
            part, data = data[: self._rest[up]], data[self._rest[up] :]
            self._rest[up] -= len(part)
            yield self._stage[up], part

    def _of(self, kind: int, size: int, up: bool) -> str:
        if kind != _APPLICATION:
            return HANDSHAKE if kind != _ALERT else ""
        if up:
            return DATA if self._answers else BIRTH
        self._answers += 1
        if self._answers == 1:
            return f"{CONNACK} {SUBACK}" if size in _BOTH else CONNACK
        return SUBACK if self._answers == 2 and size < _SHORT else ACK
