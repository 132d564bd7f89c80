"""Debian's Chromium without a window, steered over a pipe by the DevTools protocol: what a page looks like and does."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

WAIT_S = 30.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")


class ChromiumError(Exception):
    """Chromium is missing, or did not do what it was told; one line."""


class Chromium:
    """A browser with one page and a profile of its own, both gone at the end. Use as a context manager.

    `errors` collects what the pages log as an error or a warning, exceptions, and requests that failed.
    """

    def __init__(self) -> None:
        self._program = self.find()
        self.errors: list[str] = []
        self._number = 0
        self._buffer = b""
        self._loaded = False

    @staticmethod
    def find() -> str:
        """Where the program is. Raises ChromiumError with what to install."""
        program = next(filter(None, map(shutil.which, _NAMES)), None)
        if program is None:
            raise ChromiumError("Chromium is not installed (Debian: apt install chromium)")
        return program

    def __enter__(self) -> Chromium:
        # Chromium may still be writing when it is told to end.
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        # It reads from descriptor 3 and writes to 4.
        shell = f'exec "$0" "$@" 3<&{commands} 4>&{answers}'
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--remote-debugging-pipe", f"--user-data-dir={self._profile.name}",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "-c", shell, self._program, *options],
            pass_fds=(commands, answers), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(commands)
        os.close(answers)
        try:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and what it started."""
        os.close(self._commands)  # which is how it is told to end
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the protocol to the page; returns its result. Raises ChromiumError."""
        return self._call(method, self._session, **parameters)

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + WAIT_S
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise ChromiumError(f"{method}: {answer['error'].get('message')}")
                return answer["result"]

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                raise ChromiumError(f"Chromium did not answer within {WAIT_S:.0f} s")
            chunk = os.read(self._answers, 1 << 20)
            if not chunk:
                raise ChromiumError("Chromium ended")
            self._buffer += chunk
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method: str | None, facts: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(facts["exceptionDetails"]["text"])
        elif method == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(each.get("value")) for each in facts["args"]))
        elif method == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.errors.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}".rstrip())
        elif method == "Network.loadingFailed" and not facts.get("canceled"):
            self.errors.append(f"request failed: {facts['errorText']}")

    def view(self, width: int, height: int, dark: bool = False, scale: float = 1) -> None:
        """Set the size of the window in CSS pixels, the theme, and device pixels per CSS pixel."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
            mobile=width < 600,
        )  # fmt: skip
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[theme])

    def open(self, page: Path | str) -> float:
        """Open a file, or an address, and return the milliseconds from the navigation's start to the end of its load
        event. Raises ChromiumError.
        """
        self._loaded = False
        address = page if isinstance(page, str) else page.absolute().as_uri()
        if failed := self.call("Page.navigate", url=address).get("errorText"):
            raise ChromiumError(f"{page}: {failed}")
        deadline = time.monotonic() + WAIT_S
        while not self._loaded:
            self._receive(deadline)
        return self.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")

    def load_images(self) -> None:
        """Wait until the images are there that load only when they are scrolled to; the page is at its top after."""
        self.evaluate("new Promise(done => { scrollTo(0, document.body.scrollHeight); setTimeout(done, 100) })")
        decoded = "Promise.all([...document.images].map(image => image.decode().catch(() => 0)))"
        self.evaluate(f"{decoded}.then(() => scrollTo(0, 0))")

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page. Raises ChromiumError."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise ChromiumError(found["exceptionDetails"]["text"])
        return found["result"].get("value")

    def screenshot(self, height: int | None = None) -> bytes:
        """A PNG of what the window shows; with `height` of so many CSS pixels of the page from its top."""
        options: dict[str, Any] = {}
        if height is not None:
            width = self.evaluate("innerWidth")
            options = {
                "captureBeyondViewport": True,
                "clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
            }
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **options)["data"])
