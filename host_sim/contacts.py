"""What each contact of a node took, as its surroundings saw it: radio time and bytes."""

from pathlib import Path

from host_sim.proxy import Proxy

COLUMNS = "join_ms,open_ms,end_ms,bytes_up,bytes_down"


class ContactLog:
    """Writes a line per contact, from the request to join a network until its sockets are closed or the boot has ended.

    `open_ms` is empty where it never came to a socket. The bytes are those on the wire, TLS included, TCP/IP headers
    not. Times are simulated microseconds.
    """

    def __init__(self, path: Path, proxy: Proxy) -> None:
        self._file = path.open("w", buffering=1)
        self._file.write(COLUMNS + "\n")
        self._proxy = proxy
        self._joined: int | None = None
        self._opened: int | None = None
        self._before = (0, 0)
        self._line = ""  # of the contact before, but for its bytes

    @property
    def state(self) -> str:
        """`connecting` or `sending` while there is a contact, else empty."""
        if self._joined is None:
            return ""
        return "connecting" if self._opened is None else "sending"

    def joining(self, now: int) -> None:
        """The radio is told to join; a second try belongs to the same contact."""
        if self._joined is None:
            self._flush()
            self._joined = now
            self._before = (self._proxy.bytes_up, self._proxy.bytes_down)

    def opened(self, now: int) -> None:
        """A socket may be opened."""
        if self._opened is None:
            self._opened = now

    def ended(self, now: int) -> None:
        """The sockets are closed, or the boot is over."""
        if self._joined is not None:
            opened = "" if self._opened is None else self._opened // 1000
            self._line = f"{self._joined // 1000},{opened},{now // 1000}"
            self._joined = self._opened = None

    def _flush(self) -> None:
        """What the proxy has still passed on since the contact's end was its own."""
        if self._line:
            up, down = self._proxy.bytes_up - self._before[0], self._proxy.bytes_down - self._before[1]
            self._file.write(f"{self._line},{up},{down}\n")
            self._line = ""

    def close(self) -> None:
        """Writes the last contact; nothing more comes."""
        self._flush()
        self._file.close()
