"""Between the serial port and the VM's standard input and output: one connection for each VM."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path


class Console:
    """`path`: the Unix socket that VMs connect to. `to_host(bytes)` sends; all of it is also kept in the file `log`."""

    def __init__(self, path: Path, to_host: Callable[[bytes], Awaitable[None]], log: Path) -> None:
        self.path = path
        self._to_host = to_host
        self._log = log.open("ab", buffering=0)
        self._server: asyncio.Server | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task | None = None
        self._connected = asyncio.Event()

    async def start(self) -> None:
        """Takes VMs from here on."""
        self.path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._joined, str(self.path))

    async def stop(self) -> None:
        """No VM is connected any more."""
        if self._server is not None:
            self._server.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self.path.unlink(missing_ok=True)
        self._log.close()

    async def joined(self) -> None:
        """Waits for the VM that was just started."""
        await self._connected.wait()

    def give(self, data: bytes) -> None:
        """To the VM's standard input. Without a VM it is lost, as what is sent to a chip that sleeps."""
        if self._writer is not None:
            self._writer.write(data)

    async def drain(self) -> None:
        """The VM has ended: waits until its last words are on their way to the host."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._reading is not None:
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        self._connected.clear()

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reading = asyncio.current_task()
        self._writer = writer
        self._connected.set()
        while data := await reader.read(4096):
            data = data.replace(b"\n", b"\r\n")  # as mp_hal_stdout_tx_strn_cooked
            self._log.write(data)
            await self._to_host(data)
