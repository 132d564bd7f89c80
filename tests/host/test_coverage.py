"""The counting copies of device code: what they compute stays, lines stay, and what was not run shows."""

import os
import subprocess
import sys
from pathlib import Path

from tools import coverage

SOURCE = '''"""Nothing of a docstring counts,
in any of its lines."""
LIMIT = 3


def grade(values):
    """-> how many, and the tail."""
    seen = 0; tail = []
    for value in values:
        if value > LIMIT:
            break
        elif (value < 0 and
                value != -9):
            raise ValueError(value)
        seen += 1
    else:
        tail = [value for value in "é" if value]
    for i in range(seen):
        while seen > 100: seen -= 1
    try:
        with open("/no/such") as file:
            file.read()
    except OSError:
        pass
    return seen, tail, i


def never():
    return 1
'''
RUN = """
import sys, part
print(part.grade([1, 2]), part.grade([1, 9, 2]))
try:
    part.grade([0, -1])
except ValueError as error:
    sys.print_exception(error, sys.stdout)
"""


def room(tmp_path: Path, source: str) -> Path:
    (tmp_path / "firmware").mkdir()
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "part.py").write_text(source)
    return tmp_path


def vm(code: Path, hits: Path, script: str) -> str:
    environment = os.environ | {"MICROPYPATH": f"{code}/lib:.frozen", "COVERAGE_HITS": str(hits)}
    command = [sys.executable, "-m", "micropython_unix", "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=True).stdout


def test_a_copy_computes_the_same_fails_in_the_same_line_and_knows_what_it_missed(tmp_path):
    root, out = room(tmp_path, SOURCE), tmp_path / "copies"
    found = coverage.copies(root, out)
    plain, counting = vm(root, out / "hits", RUN), vm(out, out / "hits", RUN)
    assert counting.replace(str(out), str(root)) == plain
    assert "line 14, in grade" in plain and plain.startswith("(2, ['\\xe9'], 1) (1, [], 0)")
    (part,) = coverage.covered(found, out / "hits")
    assert part.name == "lib/part.py"
    assert part.lines == [3, 8, 9, 10, 11, 12, 14, 15, 17, 18, 19, 21, 22, 24, 25, 29]
    assert part.missing == [22, 29]
    assert part.percent == 87.5


def test_a_loop_over_range_still_takes_no_heap(tmp_path):
    root = room(tmp_path, "#\ndef f(n):\n    for i in range(n):\n        n += i\n    return n\n")
    out = tmp_path / "copies"
    found = coverage.copies(root, out)
    script = "import part, micropython\nmicropython.heap_lock()\npart.f(5)\nmicropython.heap_unlock()\n"
    vm(out, out / "hits", script)
    assert coverage.covered(found, out / "hits")[0].missing == []


def test_several_vms_add_up_and_a_file_nobody_imports_is_all_missing(tmp_path):
    root, out = room(tmp_path, "#\ndef f(n):\n    if n:\n        return 1\n    return 2\n"), tmp_path / "copies"
    (root / "firmware" / "alone.py").write_text("X = 1\n")
    found = coverage.copies(root, out)
    for n in (0, 1):
        vm(out, out / "hits", f"import part\npart.f({n})\n")
    assert {file.name: file.missing for file in coverage.covered(found, out / "hits")} == {
        "firmware/alone.py": [1],
        "lib/part.py": [],
    }


def test_all_device_code_keeps_its_line_numbers_and_compiles():
    for name in coverage.ROOMS:
        for path in (coverage.ROOT / name).rglob("*.py"):
            source = path.read_text()
            text, _ = coverage.instrument(source, path.name)
            compile(text, str(path), "exec")
            assert text.count("\n") == source.count("\n")


def test_neighbours_become_a_range():
    assert coverage.ranges([3, 7, 9, 20], [1, 3, 5, 7, 9, 12, 20]) == "3, 7-9, 20"
    assert coverage.ranges([], [1]) == ""
