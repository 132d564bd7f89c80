"""A cloud end under load, as its public command starts it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.catalogue import ROOT

_READY_S = 30


class Cloud:
    """A cloud end in `data`, as its public command starts it. Use as a context manager."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.state: dict[str, Any] = {}

    def __enter__(self) -> Cloud:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cloud", "serve", "--until-eof", "--data", self.data, "--listen", "127.0.0.1:0"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        out = self._process.stdout
        if out is None or not select.select([out], [], [], _READY_S)[0]:
            self._process.kill()
            raise RuntimeError("the cloud end does not come up")
        self.state = json.loads(out.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cpu_s(self, child: str) -> float:
        """CPU seconds that a child of it has used (proc(5), utime and stime), 0 where there is no /proc."""
        stat = Path(f"/proc/{self.state[f'{child}_pid']}/stat")
        if not stat.exists():
            return 0.0
        fields = stat.read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def mqtt(self) -> tuple[str, int]:
        """Where its broker listens."""
        host, _, port = self.state["mqtt"].rpartition(":")
        return host, int(port)
