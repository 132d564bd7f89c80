"""Makes a node known to a cloud end, and keeps what the node must carry (tools/identity.py).

The cloud end is a black box: its public command `python -m cloud add` is called, on the machine where it runs.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.catalogue import ROOT
from tools.flash import FlashError
from tools.identity import Identity
from tools.nodefile import NodeFile

_TIMEOUT_S = 60


def provision(node: NodeFile, data: Path, renew: bool = False) -> dict[str, Any]:
    """Registers `node` with the cloud end whose data folder is `data`; again changes nothing but its channels.

    A certificate that is there is kept while it is of the same authority, unless `renew`. Returns what was done.
    """
    identity = Identity(node)
    settings = node.settings()
    channels = [[number, channel, unit] for number, channel, unit, _ in settings["channels"]]
    before = identity.read()
    key = identity.make_key()
    with tempfile.TemporaryDirectory() as folder:
        _add(node.name, settings["tenant"], key, channels, Path(folder), data)
        made = {name: (Path(folder) / name).read_bytes() for name in ("ca", "cert", "pkey")}
    kept = not renew and before.get("ca") == made["ca"] and {"cert", "pkey"} <= before.keys()
    if not kept:
        # Without `ca` the next call begins anew: it goes first and comes last, so that no pair is ever mixed.
        (identity.folder / "ca").unlink(missing_ok=True)
        for name in ("pkey", "cert", "ca"):
            identity.write(name, made[name])
    return {
        "node": node.name, "tenant": settings["tenant"], "data": str(data), "identity": str(identity.folder),
        "key": "kept" if "key" in before else "made", "certificate": "kept" if kept else "made",
    }  # fmt: skip


def _add(name: str, tenant: str, key: bytes, channels: list[list[Any]], folder: Path, data: Path) -> None:
    command = [sys.executable, "-m", "cloud", "add", name, "--tenant", tenant, "--key", key.hex()]
    command += ["--channels", json.dumps(channels), "--credentials", str(folder), "--data", str(data.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, cwd=ROOT)
    except subprocess.TimeoutExpired as error:
        raise FlashError(f"{data}: the cloud end took more than {_TIMEOUT_S} s; run the same command again") from error
    if done.returncode:
        said = (done.stderr.strip() or "no word from it").splitlines()[-1].removeprefix("Error: ")
        if "No module named" in said:
            said += "; install the cloud end: pip install 'fieldnode[cloud]'"
        raise FlashError(f"{data}: the cloud end did not take {name}: {said}")
