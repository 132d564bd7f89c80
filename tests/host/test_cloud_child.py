"""The supervisor and its children's output: nothing that they say or cannot write ends it, or keeps it from ending."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cloudkit as kit
import pytest

from cloud import log as logs
from cloud.child import Child, lines
from cloud.log import Log

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) and /proc are Linux's")
A, F = 0xAAAA, 0xFFFF
HALF = 2048
CHATTY = "import signal as s\ns.signal(s.SIGTERM, s.SIG_IGN)\nwhile True: print('x' * 1000)\n"


async def read(*chunks: bytes) -> list[str]:
    """The lines of a stream in which these come one after another."""
    reader = asyncio.StreamReader()
    found = list[str]()

    async def take() -> None:
        async for line in lines(reader):
            found.append(line)

    task = asyncio.create_task(take())
    for chunk in chunks:
        reader.feed_data(chunk)
        await asyncio.sleep(0)
    reader.feed_eof()
    await asyncio.wait_for(task, 5)
    return found


def test_lines_however_they_are_cut_and_whatever_they_hold() -> None:
    """Split anywhere, empty, without an end, no UTF-8."""
    text = b"one\n\ntwo\xff\r\nthe last"
    expected = ["one", "", "two\ufffd", "the last"]
    assert asyncio.run(read(text)) == asyncio.run(read(*(bytes([byte]) for byte in text))) == expected


@pytest.mark.parametrize("step", [100, 4096, 1 << 20])
def test_a_long_line_keeps_beginning_and_end(step: int) -> None:
    """What the broker says of a connection stands in front of the stranger's name and behind it."""
    text = b"begin " + b"x" * 300_000 + b" end\nnext\n" + b"y" * 2 * HALF + b"\n" + b"z" * (2 * HALF + 1)
    long, *rest = asyncio.run(read(*(text[at : at + step] for at in range(0, len(text), step))))
    assert long.startswith("begin x") and long.endswith("x end") and len(long) == 2 * HALF + 5
    assert rest == ["next", "y" * 2 * HALF, "z" * HALF + " ... " + "z" * HALF]


def test_a_child_that_writes_without_end_and_minds_no_sigterm_is_ended(tmp_path: Path) -> None:
    """Even after its reader has failed, so that its pipe is full."""
    def heard(line: str) -> bool:
        raise RuntimeError("planted")

    async def scenario() -> float:
        child = Child("chatty", [sys.executable, "-uc", CHATTY], "ready", Log(tmp_path / "log"), heard=heard)
        with pytest.raises(RuntimeError, match="planted"):
            await asyncio.wait_for(child.run(lambda: None), 5)
        await asyncio.sleep(0.3)
        began = time.monotonic()
        await asyncio.wait_for(child.end(), 5)
        assert child.pid is not None and not kit.alive(child.pid)
        return time.monotonic() - began

    assert asyncio.run(scenario()) < 2.5


def test_an_error_of_the_supervisors_own_ends_all_with_a_status(tmp_path: Path) -> None:
    """Though the broker writes faster than anybody reads, and minds no SIGTERM."""
    chatty = tmp_path / "broker"
    chatty.write_text(f"#!{sys.executable}\n{CHATTY}")
    chatty.chmod(0o755)
    script = f"""
import asyncio
from cloud import broker, cli, serve
broker.program = lambda: {str(chatty)!r}
async def follow(self):
    await asyncio.sleep(1)
    print(json.dumps([child.pid for child in self._children.values()]), flush=True)
    raise RuntimeError("planted")
import json
serve.Supervisor._follow = follow
cli.main(["serve", "--data", {str(tmp_path / "data")!r}, "--listen", "127.0.0.1:0"])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=kit.ROOT, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "RuntimeError: planted" in done.stderr, done.stderr
    assert not any(map(kit.alive, json.loads(done.stdout)))


def test_a_log_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is said once each time, and afterwards how much is missing."""
    path = tmp_path / "folder" / "log"
    log = Log(path)
    for _ in range(2):
        for number in range(3):
            log.note("who", f"lost {number}")
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1 and str(path) in said
        path.parent.mkdir()
        log.note("who", "kept")
        log.note("who", "kept, too")
        written = [line.split(" ", 1)[1] for line in path.read_text().splitlines() if line]
        assert written == ["log: 3 lines are missing", "who: kept", "who: kept, too"]
        shutil.rmtree(path.parent)
    assert capsys.readouterr().err == ""


def test_a_log_is_bounded(tmp_path: Path) -> None:
    """The newest lines are there, without a hole, in two files of at most a line more than what was asked for."""
    log = Log(tmp_path / "log", 1000)
    for number in range(500):
        log.note("who", f"line {number}")
    files = [logs.older(tmp_path / "log"), tmp_path / "log"]
    numbers = [int(line.rpartition(" ")[2]) for file in files for line in file.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 500)) and len(numbers) > 20
    assert all(file.stat().st_size < 1100 for file in files)
    assert sorted(tmp_path.iterdir()) == sorted(files)


def _limit(pid: int, most: int) -> None:
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@LINUX
def test_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    """The supervisor can write neither log nor run.json while a worker dies; when there is room, both are right."""
    with kit.Cloud(tmp_path) as cloud:
        keys = cloud.add("n1", os.urandom(32), [(1, "air.temperature", "degC")])
        node = kit.MqttNode(cloud.state["mqtt"], keys)
        node.connect()
        node.born(1, 1, [(A, 1, 1), (F, 1, 2)])
        supervisor, (_, killed) = cloud.state["pid"], cloud.children()
        before, log = set(_children(supervisor)), (tmp_path / "cloud.log").read_text()
        _limit(supervisor, 0)
        os.kill(killed, signal.SIGKILL)
        kit.wait_for(lambda: set(_children(supervisor)) - before, "another worker")
        time.sleep(0.5)
        assert kit.alive(supervisor) and killed in cloud.children() and (tmp_path / "cloud.log").read_text() == log
        for pid in (supervisor, *_children(supervisor)):
            _limit(pid, resource.RLIM_INFINITY)
        (new,) = kit.wait_for(lambda: kit.alive(cloud.children()[1]) and {cloud.children()[1]}, "run.json", 10)
        assert new != killed and new in _children(supervisor)
        node.persist()
        node.born(1, 2, [(A, 1, 1), (F, 1, 2)])
        os.kill(new, signal.SIGKILL)
        kit.wait_for(lambda: "lines are missing" in (tmp_path / "cloud.log").read_text(), "the log")
        assert cloud.stop(signal.SIGTERM) == 0
        node.close()
