"""The repository keeps its walls, and each check finds what it is there to find."""

from pathlib import Path

import pytest
from walls import MAX_LINES, RULES, Tree

ROOT = Path(__file__).resolve().parent.parent.parent

DOC = '"""Text."""\n'

# rule, the files of a small checkout, and the start of every line that the rule must say about it.
PLANTED = [
    ("chip_modules", {"firmware/node/a.py": "import machine\n"}, ["firmware/node/a.py:1: imports machine"]),
    ("chip_modules", {"lib/a.py": "def f():\n    from board import build\n"}, ["lib/a.py:2: imports board"]),
    ("chip_modules", {"lib/a.py": "x = __import__('rp2')\n"}, ["lib/a.py:1: imports rp2"]),
    (
        "chip_modules",
        {"boards/esp32/board/__init__.py": "import utime\n"},
        ["boards/esp32/board/__init__.py:1: "],
    ),
    (
        "chip_modules",
        {"boards/esp32/board/__init__.py": "import machine\n", "firmware/main.py": "import board\n"},
        [],
    ),
    ("chip_modules", {"host_sim/chip/esp32/time.py": "import utime\n"}, []),
    (
        "host_walls",
        {"cloud/a.py": "from codec import decode\n", "lib/codec/__init__.py": ""},
        ["cloud/a.py:1: "],
    ),
    (
        "host_walls",
        {"cloud/a.py": "import host_sim.fleet\n"},
        ["cloud/a.py:1: cloud/ imports host_sim.fleet"],
    ),
    (
        "host_walls",
        {"host_sim/a.py": "from cloud import store\n"},
        ["host_sim/a.py:1: host_sim/ imports cloud"],
    ),
    ("host_walls", {"cloud/a.py": "from . import codec\n", "lib/codec/__init__.py": ""}, []),
    (
        "cycles",
        {"lib/a.py": "import b\n", "lib/b.py": "def f():\n    import a\n"},
        ["lib/a.py:1: import cycle: a -> b"],
    ),
    (
        "cycles",
        {"lib/p/__init__.py": "from p.q import X\n", "lib/p/q.py": "from . import X\n"},
        ["lib/p/__init__.py:1: import cycle: p -> p.q -> p"],
    ),
    (
        "cycles",
        {"firmware/main.py": "import board\n", "boards/x/board/__init__.py": "import main\n"},
        ["firmware/main.py:1: import cycle: main -> board -> main"],
    ),
    (
        "cycles",
        {"lib/p/__init__.py": "from p.q import X\n", "lib/p/q.py": "from p import r\n", "lib/p/r.py": ""},
        [],
    ),
    ("size", {"lib/a.py": "x = 1\n" * (MAX_LINES + 1)}, [f"lib/a.py:1: {MAX_LINES + 1} lines"]),
    (
        "size",
        {"lib/a.py": '"""Much\n' + "text\n" * 400 + '"""\n' + "# more\n\n" * 400 + "x = 1\n" * MAX_LINES},
        [],
    ),
    (
        "downwards",
        {"lib/a.py": "from node import x\n", "firmware/node/x.py": ""},
        ["lib/a.py:1: lib imports node"],
    ),
    (
        "downwards",
        {"firmware/node/x.py": "import main\n", "firmware/main.py": ""},
        ["firmware/node/x.py:1: node im"],
    ),
    (
        "downwards",
        {"lib/a.py": "import b.c\n", "lib/b/__init__.py": "", "lib/b/c.py": ""},
        ["lib/a.py:1: reaches"],
    ),
    (
        "downwards",
        {"lib/a.py": "from b import c\n", "lib/b/__init__.py": "", "lib/b/c.py": ""},
        ["lib/a.py:1: rea"],
    ),
    (
        "downwards",
        {"lib/a.py": "from b import _c\n", "lib/b/__init__.py": ""},
        ["lib/a.py:1: reaches inside"],
    ),
    (
        "downwards",
        {
            "firmware/main.py": "import board\nfrom node import x\n",
            "boards/esp32/board/__init__.py": "import crc\n",
            "firmware/node/x.py": "import drivers.bme280\n",
            "lib/drivers/__init__.py": "",
            "lib/drivers/bme280.py": "from crc import crc16\n",
            "lib/crc/__init__.py": "",
        },
        [],
    ),
    ("statements", {"tools/a.py": "try:\n    x\nexcept:\n    pass\n"}, ["tools/a.py:3: bare except"]),
    ("statements", {"cloud/a.py": "assert True\n"}, ["cloud/a.py:1: assert"]),
    ("statements", {"lib/a.py": "print(1)\n"}, ["lib/a.py:1: print"]),
    ("statements", {"tools/a.py": "print(1)\ntry:\n    x\nexcept KeyError:\n    pass\n"}, []),
    ("docstrings", {"lib/a.py": "x = 1\n"}, ["lib/a.py:1: the module"]),
    ("docstrings", {"cloud/a.py": DOC + "def f():\n    pass\n"}, ["cloud/a.py:2: f has no docstring"]),
    (
        "docstrings",
        {"lib/a.py": DOC + "class A:\n    def f(self):\n        pass\n"},
        ["lib/a.py:2: A has no", "lib/a.py:3: f has no"],
    ),
    ("docstrings", {"cloud/a.py": DOC + f"class A(B):\n    {DOC}    def f(self):\n        pass\n"}, []),
    ("docstrings", {"host_sim/chip/esp32/a.py": DOC + "def f():\n    pass\n"}, []),
    ("docstrings", {"lib/__init__.py": "", "lib/a.py": DOC + "def _f():\n    def g():\n        pass\n"}, []),
]


@pytest.mark.parametrize("name", RULES)
def test_the_repository_keeps_the_rule(name):
    found = list(RULES[name](Tree(ROOT)))
    assert not found, "\n".join(["", RULES[name].__doc__ or name, *found])


@pytest.mark.parametrize(("name", "files", "expected"), PLANTED)
def test_the_rule_finds_what_is_planted(tmp_path, name, files, expected):
    for path, text in files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    found = list(RULES[name](Tree(tmp_path)))
    assert len(found) == len(expected), found
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found


def test_every_rule_has_a_planted_violation():
    assert {name for name, _, expected in PLANTED if expected} == set(RULES)
