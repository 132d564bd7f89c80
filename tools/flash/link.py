"""A board's Python prompt over a serial port, by mpremote's own transport (raw REPL, raw paste).

A running node is interrupted by Ctrl-C. Its watchdog may be armed and cannot always be stopped: within 8 seconds it
must be fed or the board restarted, so nothing that takes long runs before `restart`.
"""

from __future__ import annotations

import contextlib
import io
import struct
import time
from collections.abc import Iterator

import serial
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

from tools.flash import FlashError, ports

_ENTER_S = 0.15, 2.0  # one try to reach the prompt: the first, growing to the last
_ANSWER_S = 12.0  # all tries, on a port that is there
_PULSE_S = 4.0  # of silence, then a board is restarted that can be: a first boot formats its filesystem first
_READ_S = 2.0
RESET = "import machine\nmachine.reset()"


class SilentError(FlashError):
    """The port is there, and nobody on it answers as Python's prompt does."""


class BoardError(FlashError):
    """Code on the board raised; `last` is the last line of its traceback, such as `OSError: 28`."""

    def __init__(self, port: str, traceback: str) -> None:
        lines = traceback.strip().splitlines() or ["no reason given"]
        self.last = lines[-1]
        super().__init__(f"{port}: on the board: {self.last}")


class Link:
    """`open` it, `run` code, `close` it; a context manager that opens and closes.

    `pulse`: restart a silent board by its RTS line, as USB bridges of ESP32 boards allow; others ignore it.
    """

    def __init__(self, port: str, wait_s: float = 0, pulse: bool = False) -> None:
        self.port = port
        self._wait_s = wait_s
        self._pulse = pulse
        self._transport: SerialTransport | None = None

    def __enter__(self) -> Link:
        self.open(self._wait_s)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, wait_s: float = 0) -> None:
        """Interrupts what runs and reaches the prompt. `wait_s`: how long the port may be missing, or the board mute.

        Raises FlashError.
        """
        end = time.monotonic() + wait_s
        ports.open_serial(self.port, wait_s).close()
        end = max(end, time.monotonic() + _ANSWER_S)
        tries, pulsed = 0, time.monotonic()
        while True:
            tries += 1
            if self._try(min(_ENTER_S[0] * tries, _ENTER_S[1])):
                return
            if time.monotonic() >= end:
                raise SilentError(
                    f"{self.port}: the board does not answer; it may be asleep: press its RESET button and run the "
                    "same command again at once"
                )
            if self._pulse and time.monotonic() - pulsed >= _PULSE_S:
                self._restart_by_rts()
                pulsed = time.monotonic()

    def _try(self, wait_s: float) -> bool:
        try:
            # mpremote prints what it got when that is not a prompt.
            with contextlib.redirect_stdout(io.StringIO()):
                self._transport = SerialTransport(self.port, timeout=_READ_S)
                self._transport.enter_raw_repl(
                    soft_reset=False,
                    timeout_overall=wait_s,  # pyright: ignore[reportArgumentType] -- any number
                )
                _come_into_step(self._transport)
            return True
        except (TransportError, OSError):
            self.close()
            time.sleep(0.1)
            return False

    def _restart_by_rts(self) -> None:
        with contextlib.suppress(OSError), ports.open_serial(self.port) as line:
            line.dtr = False
            line.rts = True
            time.sleep(0.1)
            line.rts = False

    def run(self, code: str, timeout_s: float = 10) -> str:
        """Runs code on the board -> what it printed. `timeout_s`: the longest silence. BoardError for a traceback."""
        with self._words():
            out, err = self._raw().exec_raw(code, timeout=int(timeout_s))
        if err:
            raise BoardError(self.port, err.decode("utf-8", "replace"))
        return out.decode("utf-8", "replace")

    def begin_anew(self) -> None:
        """A soft reset: boot.py runs, main.py does not, and nothing of what ran before is left in memory."""
        with self._words(), contextlib.redirect_stdout(io.StringIO()):
            self._raw().enter_raw_repl(soft_reset=True)

    def restart(self, code: str = RESET) -> None:
        """Runs code that restarts the board, and closes the link."""
        self.leave(code).close()

    def leave(self, code: str) -> serial.Serial:
        """Runs code that restarts the board -> the port, from which its first words can be read; the link is closed."""
        transport = self._raw()
        # Native USB may be gone before the code's receipt has come.
        with self._words(), contextlib.suppress(OSError):
            transport.exec_raw_no_follow(code)
            time.sleep(0.05)
        self._transport = None
        return transport.serial  # pyright: ignore[reportReturnType] -- nothing is mounted, so it is the port itself

    def close(self) -> None:
        """Gives the port back; a board at its prompt is left there."""
        if self._transport is not None:
            with contextlib.suppress(OSError, TransportError, AttributeError):
                self._transport.close()
            self._transport = None

    def _raw(self) -> SerialTransport:
        if self._transport is None:
            raise FlashError(f"{self.port}: not connected")
        return self._transport

    @contextlib.contextmanager
    def _words(self) -> Iterator[None]:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                yield
        except TransportExecError as error:
            raise BoardError(self.port, error.error_output) from error
        except (TransportError, struct.error) as error:
            raise FlashError(
                f"{self.port}: the board stopped answering ({error}); run the same command again, it goes on from here"
            ) from error
        except (serial.SerialException, OSError) as error:
            raise ports.lost(self.port, error) from error


def _come_into_step(transport: SerialTransport) -> None:
    """Passes over answers to earlier tries that were given up too soon, which else would be taken for those to what
    follows: they come before that to a word never said before. Raises TransportError.
    """
    word = f"{time.monotonic_ns():x}"
    transport.serial.write(f"print('{word}')\x04".encode())
    end = f"{word}\r\n\x04\x04".encode()
    if not transport.read_until(1, end, timeout=int(_READ_S)).endswith(end):
        raise TransportError("the prompt does not answer")
