"""Commands as a contact meets them: it takes one at most, and stays open for one that is announced. What is taken is
performed after the contact (`node.commands`): acts and their code do not fit into memory beside a TLS session.
"""

from . import wire

_EXPECT_MS = 5000  # how long a command that the cloud has announced is waited for


class Control:
    """One contact's. `identity` is the wire's; ids up to `last_cmd` were taken before. Times are the contact's, in ms.

    Attributes: `taken`, (id, op, args, whether its time to live has passed) or None; `counts`, reason to how many
    messages were not taken for it.
    """

    def __init__(self, identity, last_cmd):
        self.taken = None
        self.counts = {}
        self._identity = identity
        self._last_cmd = last_cmd
        self._nonce = b""
        self._until = None  # a command is expected up to then

    def begin(self, nonce):
        """A session with this nonce begins; commands of any other are not taken from now on."""
        self._nonce = nonce
        self._until = None

    def announced(self, wait, now):
        """An ACK was taken; `wait` is its flag that commands wait."""
        self._until = now + _EXPECT_MS if wait else None

    def received(self, message, age_ms):
        """A message on dn/cmd, `age_ms` after the birth of the session."""
        read = wire.read_command(message, self._identity, self._nonce)
        if isinstance(read, str):
            reason = read
        elif read[0] <= self._last_cmd:
            reason = "old"
        elif self.taken is not None:
            reason = "busy"  # the cloud offers it again
        else:
            number, ttl_s, op, args = read
            self.taken = number, op, args, age_ms > ttl_s * 1000
            return
        self.counts[reason] = self.counts.get(reason, 0) + 1

    def wants(self, now):
        """Whether the contact is to stay open although everything is committed."""
        return self.taken is None and self._until is not None and now < self._until
