"""pytest plugin: tests/device/test_*.py run inside the MicroPython VM, in fact inside two.

A device test file is plain MicroPython with functions `test_*()`. Each is one pytest item, `test_x`, in the unix
port, whose small ints have 63 bits, and another, `test_x[31-bit]`, in the WebAssembly port, whose small ints are a
board's (vm31/README.md). Per VM the file gets one process, started when its first item runs, with firmware, lib and
the file's own folder on the path and the repository's root as working directory. Comments at the very top of the
file set up its VMs:

    # heap: 96K             size of the unix port's heap, about twice a 32-bit board's; without it, 192K
    # beside: 3             its tests mostly wait: they are dealt out to three processes for each VM, side by side
    # vm31: no, <reason>    not for the 31-bit VM, which has no sockets, no host files and no waiting in asyncio
    # vm64: no, <reason>    only for the 31-bit VM

The text of a failure is MicroPython's traceback. A VM that dies, hangs or ends early fails the function it
was in and every one after it.
"""

import ast
import fcntl
import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUNNER = ROOT / "tests" / "device" / "_runner.py"
VM31 = ROOT / "tests" / "vm31"
VM31_INSTALLED = ROOT / "build" / "vm31"
VM31_MODULE = VM31_INSTALLED / "node_modules/@micropython/micropython-webassembly-pyscript/micropython.mjs"
MARK = "\x1e"

# Header key -> what its value looks like, its value when absent, an example of one.
HEADERS = {
    "heap": (re.compile(r"\d+K"), "192K", "192K"),
    "beside": (re.compile(r"[1-9]"), "1", "3"),
    "vm31": (re.compile(r"yes|no, .+"), "yes", "no, it opens a socket"),
    "vm64": (re.compile(r"yes|no, .+"), "yes", "no, true of 31-bit small ints only"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Register the plugin's settings."""
    parser.addini("vm_timeout", "seconds one device test file may take in one VM", default="60")
    parser.addini("device_code", "the folder of firmware/ and lib/, if not the repository's root", default=str(ROOT))
    parser.addini("device_heap", "a heap for all files, instead of what they say", default="")


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


@functools.cache
def install_vm31() -> str:
    """Have npm install the 31-bit VM where it is missing or not the locked one; return what went wrong, if anything."""
    lock, stamp = VM31 / "package-lock.json", VM31_INSTALLED / "stamp"
    VM31_INSTALLED.parent.mkdir(exist_ok=True)
    with open(VM31_INSTALLED.with_suffix(".lock"), "w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
            shutil.rmtree(VM31_INSTALLED, ignore_errors=True)
            VM31_INSTALLED.mkdir()
            for file in (VM31 / "package.json", lock):
                shutil.copy(file, VM31_INSTALLED)
            npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(npm, cwd=VM31_INSTALLED, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            if done.returncode:
                return f"the 31-bit VM is not installed, npm ci ended with status {done.returncode}:\n{done.stderr}"
            shutil.copy(lock, stamp)
    return ""


class VMFile(pytest.File):
    """A device test file; owns the one run of each of its VMs."""

    def collect(self) -> Iterator["VMItem"]:
        """Yield an item for each test function at the file's top level and each VM it is for."""
        self.transcripts: dict[str, dict[str, Transcript]] = {}  # VM -> function -> what its process said
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
        vms = [vm for vm in ("vm64", "vm31") if self.headers[vm] == "yes"]
        if not vms:
            raise self.CollectError(f"{self.path}: in no VM at all")
        for vm in vms:
            for node in found:
                name = node.name if vm == "vm64" else f"{node.name}[31-bit]"
                yield VMItem.from_parent(self, name=name, function_name=node.name, vm=vm, line=node.lineno)

    def _headers(self, source: str) -> dict[str, str]:
        headers = {key: default for key, (_, default, _) in HEADERS.items()}
        for number, line in enumerate(source.splitlines(), 1):
            if not line.startswith("#"):
                break
            found = re.fullmatch(r"# ([a-z0-9_]+): (.+)", line)
            if found is None:
                continue
            key, value = found.groups()
            if key not in HEADERS:
                known = ", ".join(HEADERS)
                raise self.CollectError(f"{self.path}:{number}: no header named {key!r}; there are: {known}")
            if not HEADERS[key][0].fullmatch(value):
                raise self.CollectError(
                    f"{self.path}:{number}: {key}: {value!r} is not like {HEADERS[key][2]}"
                )
            headers[key] = value
        return headers

    def outcome(self, vm: str, name: str) -> Outcome:
        """Return what became of `name` in `vm`; the first call runs all functions selected of this file there."""
        if vm not in self.transcripts:
            items = (item for item in self.session.items if isinstance(item, VMItem) and item.parent is self)
            names = [item.function_name for item in items if item.vm == vm]
            if vm == "vm31" and install_vm31():
                raise VMFailure(install_vm31())
            command = self._command31() if vm == "vm31" else self._command64()
            count = int(self.headers["beside"])
            hands = [names[at::count] for at in range(min(count, len(names)))]
            with ThreadPoolExecutor(count) as pool:
                said = pool.map(lambda hand: self._run(command, hand), hands)
            self.transcripts[vm] = {each: one for hand, one in zip(hands, said, strict=True) for each in hand}
        return self.transcripts[vm][name].outcome(name)

    def _folders(self) -> list[str]:
        code = Path(self.config.getini("device_code"))
        return [str(folder) for folder in (code / "firmware", code / "lib", self.path.parent)]

    def _command64(self) -> list[str]:
        heap = self.config.getini("device_heap") or self.headers["heap"]
        path = ":".join([*self._folders(), ".frozen"])
        vm = [sys.executable, "-m", "micropython_unix", "-X", f"heapsize={heap}", str(RUNNER)]
        return ["env", f"MICROPYPATH={path}", *vm]

    def _command31(self) -> list[str]:
        heap = str(int(self.headers["heap"][:-1]) * 1024)
        return ["node", str(VM31 / "vm.mjs"), str(VM31_MODULE), heap, str(RUNNER), *self._folders(), "--"]

    def _run(self, command: list[str], names: list[str]) -> Transcript:
        timeout = float(self.config.getini("vm_timeout"))
        silence, nobody = os.pipe()  # the VM's serial port, at which nobody types; an ended file would be readable
        vm = subprocess.Popen(
            [*command, self.path.stem, *names],
            cwd=ROOT,
            stdin=silence,
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
            os.close(silence)
            os.close(nobody)
        return parse_transcript(said.decode(errors="backslashreplace"), end)


class VMItem(pytest.Item):
    """One test function of a device test file in one VM, "vm64" or "vm31"."""

    def __init__(self, *, function_name: str, vm: str, line: int, **keywords) -> None:
        super().__init__(**keywords)
        self.function_name = function_name
        self.vm = vm
        self.line = line
        if vm == "vm31":
            self.add_marker(pytest.mark.needs("node", package="nodejs"))
            self.add_marker(pytest.mark.needs("npm"))

    def runtest(self) -> None:
        """Raise VMFailure unless the function passed in the VM."""
        outcome = self.parent.outcome(self.vm, self.function_name)  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
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
