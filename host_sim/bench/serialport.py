"""The serial port of a board on the bench, as the host sees it: a pty behind a link that stays the same."""

import asyncio
import contextlib
import os
import termios
import tty
from collections.abc import Callable
from pathlib import Path


class SerialPort:
    """Nothing until `appear`. `link`: a symbolic link to the pty while it is there; `received(bytes)`: what the host
    sends.
    """

    def __init__(self, link: Path, received: Callable[[bytes], None]) -> None:
        self.link = link
        self._received = received
        self._master = self._slave = -1

    @property
    def there(self) -> bool:
        """Whether the host has a port to open."""
        return self._master >= 0

    def appear(self) -> None:
        """The port is there; a USB device was recognised, or the cable plugged in."""
        if self.there:
            return
        self._master, self._slave = os.openpty()
        # We keep our own end of the slave open: a host that closes the port must not close the line.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        made = self.link.with_name(f"{self.link.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            made.unlink()
        made.symlink_to(os.ttyname(self._slave))
        made.replace(self.link)

    def vanish(self) -> None:
        """The port is gone: whoever has it open reads an end, whoever opens it finds nothing."""
        if not self.there:
            return
        asyncio.get_running_loop().remove_reader(self._master)
        self.link.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)
        self._master = self._slave = -1

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self._received(os.read(self._master, 4096))

    async def write(self, data: bytes) -> None:
        """Sends to the host. Where nobody reads for a while, what waits is lost, as on any serial line."""
        patience = 200
        while data and self.there:
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                patience -= 1
                if patience:
                    await asyncio.sleep(0.005)
                else:
                    termios.tcflush(self._slave, termios.TCIFLUSH)
