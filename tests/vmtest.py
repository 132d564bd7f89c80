"""pytest plugin: tests/device/test_*.py run inside the MicroPython VM.

A device test file is plain MicroPython with functions `test_*()`. Each is one pytest item; the file gets one
VM process, started when its first item runs, with firmware, lib and the file's own folder on the path
and the repository's root as working directory. Comments at the very top of the file set up its VM:

    # heap: 96K      size of the heap on this 64-bit VM, about twice a 32-bit board's; without it, 192K

The text of a failure is MicroPython's traceback. A VM that dies, hangs or ends early fails the function it
was in and every one after it.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUNNER = ROOT / "tests" / "device" / "_runner.py"
MARK = "\x1e"

# Header key -> what its value looks like, and its value when absent.
HEADERS = {"heap": (re.compile(r"\d+K"), "192K")}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the plugin's setting."""
    parser.addini("vm_timeout", "seconds one device test file may take", default="60")


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> "VMFile | None":
    """Take the test files of a folder named `device` away from CPython."""
    if module_path.parent.name == "device":
        return VMFile.from_parent(parent, path=module_path)
    return None


class VMFailure(Exception):
    """A device test failed; the text is all there is to show."""


@dataclass
class Outcome:
    """What became of one function: `failure` is empty if it passed; `printed` is what it wrote."""

    failure: str = ""
    printed: str = ""


@dataclass
class Transcript:
    """What a VM said and how it ended: `end` is empty if the runner came to its end."""

    ready: bool = False
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    end: str = ""
    rest: str = ""

    def outcome(self, name: str) -> Outcome:
        """Return what became of the function `name`, which is a failure if the VM never came to it."""
        if name in self.outcomes:
            return self.outcomes[name]
        if not self.ready:
            return Outcome(f"the file could not be imported: {self.end}\n{self.rest}")
        return Outcome(f"not run: {self.end} in {list(self.outcomes)[-1] if self.outcomes else 'the runner'}")


def parse_transcript(said: str, end: str) -> Transcript:
    """Read what the runner wrote; `end` says how the process ended, empty for exit status 0."""
    first, *chunks = re.split(rf"^{MARK}", said, flags=re.MULTILINE)
    transcript = Transcript(end=end, rest=first)
    running = None
    for chunk in chunks:
        line, _, text = chunk.partition("\n")
        verb, _, name = line.partition(" ")
        if verb == "ready":
            transcript.ready = True
        elif verb == "run":
            running = transcript.outcomes[name] = Outcome("still running", printed=text)
        elif verb in ("pass", "fail") and running:
            running.failure = text if verb == "fail" else ""
            running = None
        elif verb == "end":
            return transcript
    transcript.end = end or "the VM ended before its tests did, with status 0,"
    if running:
        running.failure = f"{transcript.end} here\n{running.printed}"
    return transcript


class VMFile(pytest.File):
    """A device test file; owns the one run of its VM."""

    transcript: Transcript | None = None

    def collect(self) -> Iterator["VMItem"]:
        """Yield an item for each test function at the file's top level."""
        source = self.path.read_text()
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            raise self.CollectError(f"{self.path}:{error.lineno}: {error.msg}") from error
        self.headers = self._headers(source)
        found = [
            node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        ]
        if not found:
            raise self.CollectError(f"{self.path}: no test_ function in it")
        if len({node.name for node in found}) < len(found):
            raise self.CollectError(f"{self.path}: two test functions have the same name")
        for node in found:
            yield VMItem.from_parent(self, name=node.name, line=node.lineno)

    def _headers(self, source: str) -> dict[str, str]:
        headers = {key: default for key, (_, default) in HEADERS.items()}
        for number, line in enumerate(source.splitlines(), 1):
            if not line.startswith("#"):
                break
            found = re.fullmatch(r"# ([a-z_]+): (\S+)", line)
            if found is None:
                continue
            key, value = found.groups()
            if key not in HEADERS:
                known = ", ".join(HEADERS)
                raise self.CollectError(f"{self.path}:{number}: no header named {key!r}; there are: {known}")
            if not HEADERS[key][0].fullmatch(value):
                raise self.CollectError(
                    f"{self.path}:{number}: {key}: {value!r} is not like {HEADERS[key][1]}"
                )
            headers[key] = value
        return headers

    def outcome(self, name: str) -> Outcome:
        """Return what became of `name`; the first call runs all functions selected of this file."""
        if self.transcript is None:
            names = [item.name for item in self.session.items if item.parent is self]
            self.transcript = self._run(names)
        return self.transcript.outcome(name)

    def _run(self, names: list[str]) -> Transcript:
        path = ":".join(str(folder) for folder in (ROOT / "firmware", ROOT / "lib", self.path.parent))
        command = [sys.executable, "-m", "micropython_unix", "-X", f"heapsize={self.headers['heap']}"]
        timeout = float(self.config.getini("vm_timeout"))
        vm = subprocess.Popen(
            [*command, str(RUNNER), self.path.stem, *names],
            cwd=ROOT,
            env=os.environ | {"MICROPYPATH": f"{path}:.frozen"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            said, _ = vm.communicate(timeout=timeout)
            end = f"the VM ended with status {vm.returncode}" if vm.returncode else ""
        except subprocess.TimeoutExpired:
            vm.kill()
            said, _ = vm.communicate()
            end = f"the VM was killed after {timeout:g} s"
        finally:
            vm.kill()
        return parse_transcript(said.decode(errors="backslashreplace"), end)


class VMItem(pytest.Item):
    """One test function of a device test file."""

    def __init__(self, *, line: int, **keywords) -> None:
        super().__init__(**keywords)
        self.line = line

    def runtest(self) -> None:
        """Raise VMFailure unless the function passed in the VM."""
        outcome = self.parent.outcome(self.name)  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        if outcome.printed:
            self.add_report_section("call", "stdout", outcome.printed)
        if outcome.failure:
            raise VMFailure(outcome.failure)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style=None):
        """Show MicroPython's traceback instead of the plugin's own."""
        if isinstance(excinfo.value, VMFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return the file, the line counted from 0, and the title of the failure."""
        return self.path, self.line - 1, self.name
