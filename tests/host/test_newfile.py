"""What the host keeps is whole or as it was, and a disk that takes nothing is one line."""

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tools import newfile
from tools.flash import FlashError
from tools.newfile import new_file

ROOT = Path(__file__).resolve().parent.parent.parent
NODE = str(ROOT / "nodes" / "greenhouse.toml")


def full_disk() -> None:
    """Of a process whose files may not grow beyond 64 KiB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))


def fieldnode(*words: str, full: bool = False) -> str:
    """What the command says when it fails: one line."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.cli", *words], cwd=ROOT, capture_output=True, text=True, timeout=60,
        preexec_fn=full_disk if full else None, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"before, and longer")
    with pytest.raises(KeyboardInterrupt), new_file(path, 100) as write:
        write(b"now")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"before, and longer" and list(tmp_path.iterdir()) == [path]
    with new_file(path, 100) as write:
        assert (tmp_path / "x.new").stat().st_size == 100
        write(b"now")
    assert path.read_bytes() == b"now" and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "near").symlink_to(tmp_path / "far" / "x")
    with new_file(tmp_path / "near") as write:
        write(b"now")
    assert (tmp_path / "near").is_symlink() and (tmp_path / "far" / "x").read_bytes() == b"now"


def test_a_disk_that_fills_up_in_the_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(place: int) -> None:
        raise OSError(28, "No space left on device")

    said = "x: cannot be written: No space left on device; make room"
    with pytest.raises(FlashError, match=said) as caught, new_file(tmp_path / "x") as write:
        monkeypatch.setattr(newfile.os, "fsync", full)
        write(b"now")
    assert caught.value.status == 1 and list(tmp_path.iterdir()) == []


def test_where_no_backup_can_be_kept_none_is_read(tmp_path: Path) -> None:
    """There is no board: whoever looked for one first would say that there is none."""
    (tmp_path / "folder").mkdir()
    for file, full, said in (
        (tmp_path / "folder", False, "folder: is no file; name one"),
        (tmp_path / "missing" / "x", False, "x: cannot be written: No such file or directory; name another place"),
        (Path("/dev/full"), False, "/dev/full: is no file"),
        (tmp_path / "x", True, "x: cannot be written: File too large; make room, then run the same command again"),
    ):
        assert said in fieldnode("backup", NODE, str(file), "--port", "/dev/nothing", full=full)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_where_no_identity_can_be_kept_it_is_one_line(tmp_path: Path) -> None:
    node = tmp_path / "x.toml"
    node.write_text(Path(NODE).read_text())
    (tmp_path / ".identity").write_text("in the way")
    assert f"{tmp_path}/.identity: File exists; put that right" in fieldnode("provision", str(node))
    (tmp_path / ".identity").unlink()
    (tmp_path / ".identity" / "greenhouse" / "key.new").mkdir(parents=True)
    assert "greenhouse/key: cannot be written: Is a directory; name another" in fieldnode("provision", str(node))
