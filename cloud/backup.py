"""Backup and restore of a data folder: one tar file with database, keys and certificates, taken while the cloud runs.

    manifest.json     {"format": 1, "schema": ..., "made": ISO 8601}
    cloud.sqlite3     a consistent snapshot
    ingest.password, control.password
    pki/*             whose private keys make the file as secret as the folder

The broker's store is left out: what it still holds no node has an ACK for, so every node sends it again. A restored
database is older than what its nodes remember; their next births and the ACKs refill it (PROTOCOL.md, "Sending").
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from cloud import pki, schema, store
from cloud.errors import CloudError

FORMAT = 1
_MANIFEST = "manifest.json"
_DATABASE = "cloud.sqlite3"
_FILES = ("ingest.password", "control.password", "pki/ca.pem", "pki/ca.key", "pki/server.pem", "pki/server.key")
_REQUIRED = (_MANIFEST, _DATABASE, "pki/ca.pem", "pki/ca.key")


class BackupError(CloudError):
    """A backup that cannot be made or restored; the text says why, in one line."""


def backup(data: Path, target: Path) -> int:
    """Write a backup of the folder `data` to the file `target` (mode 0600) and return its size in bytes.

    `target` appears whole or not at all. Raises BackupError if it exists, StoreError if there is no database.
    """
    if target.exists():
        raise BackupError(f"{target} exists; a backup overwrites nothing")
    source = store.connect(data)
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=".backup-") as scratch:
        copy, partial = Path(scratch) / _DATABASE, Path(scratch) / "whole"
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            with pki.Authority(data).locked(), tarfile.open(fileobj=file, mode="w:gz") as archive:
                _snapshot(source, copy)
                made = datetime.now(timezone.utc).isoformat(timespec="seconds")
                manifest = {"format": FORMAT, "schema": schema.VERSION, "made": made}
                _add(archive, _MANIFEST, json.dumps(manifest).encode())
                archive.add(copy, _DATABASE, filter=_private)
                for name in _FILES:
                    if (data / name).exists():
                        archive.add(data / name, name, filter=_private)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target)
    source.close()
    return target.stat().st_size


def restore(source: Path, data: Path) -> str:
    """Make the data folder `data` of a backup and return when that was made. It appears whole or not at all.

    Raises BackupError if `data` exists and is not empty, or if `source` is not a whole backup that this program knows.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise BackupError(f"{data} is not empty; a restore overwrites nothing")
    data.absolute().parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=data.absolute().parent, prefix=".restore-"))
    try:
        try:
            made = _extract(source, scratch)
        except (tarfile.TarError, EOFError, KeyError, ValueError, sqlite3.DatabaseError) as error:
            raise BackupError(f"{source} is no whole backup: {error}") from None
        if data.exists():
            data.rmdir()
        scratch.rename(data)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return made


def _snapshot(source: sqlite3.Connection, copy: Path) -> None:
    """Copy the database in one step, which is one read transaction: writers go on, none of them is half in it."""
    target = sqlite3.connect(copy)
    source.backup(target)
    (verdict,) = target.execute("PRAGMA quick_check").fetchone()
    target.close()
    if verdict != "ok":
        raise BackupError(f"the database is damaged: {verdict}")


def _extract(source: Path, folder: Path) -> str:
    """Write the known files of a backup into `folder`, whatever else the archive names, and check them."""
    with tarfile.open(source, mode="r:gz") as archive:
        members = {member.name: member for member in archive if member.isfile()}
        missing = [name for name in _REQUIRED if name not in members]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        manifest = json.loads(_read(archive, members[_MANIFEST]))
        if manifest["format"] != FORMAT or manifest["schema"] > schema.VERSION:
            raise ValueError(f"format {manifest['format']}, schema {manifest['schema']}; this program knows {FORMAT}, "
                             f"{schema.VERSION}")  # fmt: skip
        (folder / "pki").mkdir(mode=0o700)
        for name in (_DATABASE, *_FILES):
            if name in members:
                content = archive.extractfile(members[name])
                if content is not None:
                    with content, open(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                        shutil.copyfileobj(content, file)
                        file.flush()
                        os.fsync(file.fileno())
    db = sqlite3.connect(folder / _DATABASE)
    (verdict,) = db.execute("PRAGMA integrity_check").fetchone()
    db.close()
    if verdict != "ok":
        raise ValueError(f"its database is damaged: {verdict}")
    return str(manifest["made"])


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(member)
    return b"" if content is None else content.read()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o600
    archive.addfile(member, io.BytesIO(content))


def _private(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member
