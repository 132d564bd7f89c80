"""Makes a node known to a cloud end, and keeps what the node must carry (tools/identity.py).

The cloud end is a black box: its public command `python -m cloud add` is called where it runs. That is here, or, where
the cable and the cloud end are at different machines, by a person who is told what to run there; this side then needs
nothing of the cloud end's.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.catalogue import ROOT
from tools.flash import FlashError, Refusal
from tools.identity import Identity
from tools.nodefile import NodeFile

ISSUED = ("ca", "cert", "pkey")  # by the cloud end
_TIMEOUT_S = 60


def provision(node: NodeFile, data: Path, renew: bool = False) -> dict[str, Any]:
    """Registers `node` with the cloud end whose data folder is `data`; again changes nothing but its channels.

    A certificate that is there is kept while it is of the same authority, unless `renew`. Returns what was done.
    """
    identity = Identity(node)
    had_key = "key" in identity.read()
    key = identity.make_key()
    with tempfile.TemporaryDirectory() as folder:
        _add(node, key, Path(folder), data)
        kept = _keep(identity, Path(folder), renew)
    return _facts(node, identity, had_key, kept) | {"data": str(data)}


def key_only(node: NodeFile) -> dict[str, Any]:
    """Makes the node's key, and tells by `command` what is to be run where the cloud end is, and what it then reads."""
    identity = Identity(node)
    had_key = "key" in identity.read()
    key = identity.make_key()
    command = shlex.join(["python", "-m", "cloud", "add", *_words(node), "--credentials", node.name, "--key", "-"])
    return _facts(node, identity, had_key, None) | {"command": command, "reads": key.hex()}


def take(node: NodeFile, folder: Path) -> dict[str, Any]:
    """Keeps what that command has written to `folder`."""
    identity = Identity(node)
    if "key" not in identity.read():
        raise Refusal(f"{node.name} has no key: first run `fieldnode provision {node.path}`, which makes it")
    try:
        kept = _keep(identity, folder, renew=False)
    except OSError as error:
        raise Refusal(f"{error.filename}: {error.strerror}; give the folder that `cloud add` has written") from error
    return _facts(node, identity, True, kept)


def _keep(identity: Identity, folder: Path, renew: bool) -> bool:
    """Takes what the cloud end has issued, unless what is there is still good -> whether it is."""
    before = identity.read()
    made = {name: (folder / name).read_bytes() for name in ISSUED}
    if not renew and before.get("ca") == made["ca"] and {"cert", "pkey"} <= before.keys():
        return True
    # Without `ca` the next call begins anew: it goes first and comes last, so that no pair is ever mixed.
    (identity.folder / "ca").unlink(missing_ok=True)
    for name in reversed(ISSUED):
        identity.write(name, made[name])
    return False


def _facts(node: NodeFile, identity: Identity, had_key: bool, kept: bool | None) -> dict[str, Any]:
    certificate = {True: "kept", False: "made", None: "none"}[kept]
    return {
        "node": node.name, "tenant": node.settings()["tenant"], "identity": str(identity.folder),
        "key": "kept" if had_key else "made", "certificate": certificate,
    }  # fmt: skip


def _words(node: NodeFile) -> list[str]:
    settings = node.settings()
    channels = [[number, channel, unit] for number, channel, unit, _ in settings["channels"]]
    return [node.name, "--tenant", settings["tenant"], "--channels", json.dumps(channels)]


def _add(node: NodeFile, key: bytes, folder: Path, data: Path) -> None:
    command = [sys.executable, "-m", "cloud", "add", *_words(node), "--key", "-"]
    command += ["--credentials", str(folder), "--data", str(data.absolute())]
    try:
        done = subprocess.run(
            command, input=key.hex() + "\n", capture_output=True, text=True, timeout=_TIMEOUT_S, cwd=ROOT
        )
    except subprocess.TimeoutExpired as error:
        raise FlashError(f"{data}: the cloud end took more than {_TIMEOUT_S} s; run the same command again") from error
    if done.returncode:
        said = (done.stderr.strip() or "no word from it").splitlines()[-1].removeprefix("Error: ")
        if "No module named" in said:
            raise Refusal(
                f"the cloud end is not installed here ({said.partition(': ')[2]}): pip install 'fieldnode[cloud]', or "
                f"leave out --data to provision {node.name} with a cloud end elsewhere"
            )
        raise FlashError(f"{data}: the cloud end did not take {node.name}: {said}")
