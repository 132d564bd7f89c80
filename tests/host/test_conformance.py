"""The simulated chips' modules against MicroPython's type stubs, family by family (conformkit.py says what counts)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from conformkit import Modules, Scope, differences

ROOT = Path(__file__).resolve().parents[2]
CHIP = ROOT / "host_sim" / "chip"
FAMILIES = sorted(folder.name for folder in CHIP.iterdir() if (folder / "machine.py").exists())

# Where MicroPython's source, named here, is right and the stub is not; or what the host's end of a thing demands.
# Each of these must be found, or it goes.
_POSITIONAL = "all by position, so none has a name"
_HOSTS = "goes to the host's own socket, which has the host's numbers"
_SSL = "micropython-lib, python-stdlib/ssl/ssl.py: none of them is by keyword only"
_WAKE = "ports/esp32/modesp32.c: pin and level are arguments of their own, neither is required"
_WDT = "extmod/machine_wdt.c, make_new: id and timeout go by position too"
_FLASH = "ports/rp2/rp2_flash.c, make_new: without start and len it is the filesystem's region"
KNOWN = {
    "esp32.Partition.find takes 4 arguments, the stub does not": "ports/esp32/esp32_partition.c: the 4th is block_size",
    "esp32.Partition.readblocks calls argument 1 block, the stub block_num": f"esp32_partition.c: {_POSITIONAL}",
    "esp32.wake_on_ext0 takes 1 arguments, the stub does not": _WAKE,
    "esp32.wake_on_ext1 takes 1 arguments, the stub does not": _WAKE,
    "esp32.wake_on_gpio takes 1 arguments, the stub does not": _WAKE,
    "machine.ADC.__init__ calls argument 1 pin, the stub id": f"ports/esp32/machine_adc.c, make_new: {_POSITIONAL}",
    "machine.I2C.__init__ takes 0 arguments, the stub does not": "ports/*/machine_i2c.c, make_new: id defaults to 0",
    "machine.RTC.datetime calls argument 1 moment, the stub datetimetuple": f"ports/esp32/machine_rtc.c: {_POSITIONAL}",
    "machine.WDT.__init__ takes 1 arguments, the stub does not": _WDT,
    "machine.WDT.__init__ takes 2 arguments, the stub does not": _WDT,
    "network.WLAN.connect sets key to '' by default, the stub to None": "an open network either way",
    "rp2.Flash.__init__ sets len to None by default, the stub to -1": _FLASH,
    "rp2.Flash.__init__ sets start to 0 by default, the stub to -1": _FLASH,
    "rp2.Flash.readblocks calls argument 1 block, the stub block_num": f"ports/rp2/rp2_flash.c: {_POSITIONAL}",
    "rp2.Flash.writeblocks calls argument 1 block, the stub block_num": f"ports/rp2/rp2_flash.c: {_POSITIONAL}",
    "ssl.SSLContext.wrap_socket takes 2 arguments, the stub does not": _SSL,
    "ssl.SSLContext.wrap_socket takes 3 arguments, the stub does not": _SSL,
    "ssl.SSLContext.wrap_socket takes 4 arguments, the stub does not": _SSL,
    "socket.socket sets proto to 0 by default, the stub to 6": "ports/esp32/modsocket.c, socket_make_new",
    "socket.SOL_SOCKET is 1, in the stub 4095": _HOSTS,
    "socket.SO_REUSEADDR is 2, in the stub 4": _HOSTS,
}


def stubs(family: str) -> Modules:
    """The family's stubs, and behind them those of the modules that all have in common."""
    folders = [ROOT / ".venv" / ("typings" if family == "esp32" else f"typings-{family}"), ROOT / ".venv" / "typings"]
    assert folders[0].is_dir(), f"no stubs for {family}: tools/setup_env.py, TYPINGS"
    return Modules(folders, ".pyi")


def pairs(family: str) -> dict[str, tuple[Scope, Scope]]:
    """Each module that firmware on a simulated chip can import, the family's before the common one, and its stub."""
    folders = [CHIP / family, CHIP / "common"]
    ours, theirs = Modules(folders, ".py"), stubs(family)
    found = {}
    for name in sorted({path.stem for folder in folders for path in folder.glob("[a-z]*.py")} - {"bootstrap"}):
        module, stub = ours.find(name), theirs.find(name)
        assert module is not None
        assert stub is not None, f"a {family} has no module {name}"
        found[name] = (module, stub)
    return found


def offered(family: str) -> set[str]:
    """How the family's modules differ from the stubs, a line each."""
    return {
        f"{name}.{where} {what}" for name, pair in pairs(family).items() for where, what in differences(*pair)
    }


def numbers(family: str) -> set[str]:
    """Where a number that a module passes on from the unix port is not the chip's, a line each."""
    asked = {
        f"{name}.{what}": (f"__import__({origin!r}).{there}", stub.value(ast.Name(what)))
        for name, (module, stub) in pairs(family).items()
        for what, (origin, there) in module.imported.items()
        if not what.startswith("_") and what != "*" and module.modules.find(origin) is None
    }
    script = "".join(f"print({how} if isinstance({how}, int) else '-')\n" for how, _ in asked.values())
    command = [sys.executable, "-m", "micropython_unix", "-c", script]
    said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()
    return {
        f"{name} is {value}, in the stub {expected}"
        for (name, (_, expected)), value in zip(asked.items(), said, strict=True)
        if value != "-" and isinstance(expected, int) and int(value) != expected
    }


def test_there_are_families_with_modules():
    assert "esp32" in FAMILIES
    for family in FAMILIES:
        assert {"machine", "network", "time", "select", "socket"} <= set(pairs(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_module_offers_what_the_stubs_know_and_no_more(family):
    assert not sorted(offered(family) - set(KNOWN))


@pytest.mark.parametrize("family", FAMILIES)
def test_constants_of_the_unix_port_that_are_passed_on_have_the_chips_values(family):
    assert not sorted(numbers(family) - set(KNOWN))


def test_nothing_is_listed_as_known_that_is_not_found():
    assert not set(KNOWN).difference(*(offered(family) | numbers(family) for family in FAMILIES))


NONE = Modules([], "")
STUB = Scope(
    ast.parse(
    """
from typing import Final, overload
from machine import Pin
NARROW: Final[int] = 1
WIDE: Final[int] = 1001
LATER: Incomplete
def reset() -> NoReturn: ...
@overload
def sleep() -> None: ...
@overload
def sleep(ms: int, /) -> None: ...
def find(type: int = NARROW, *, label: str | None = None) -> list: ...
def anything(*args, **kwargs): ...
class Base:
    def level(self, value: int, /) -> None: ...
class Port(Base):
    IN: Final[int] = 1
    def __init__(self, id: int, mode: int = -1) -> None: ...
    @staticmethod
    def count() -> int: ...
    def write(self, buf, stop: bool = True, /) -> int: ...
"""
    ),
    NONE,
)


@pytest.mark.parametrize(
    "source",
    [
        "NARROW = 1\nWIDE = 1000 + 1\nLATER = 5\n_private = 9\nimport json",
        "def reset(): pass\ndef sleep(ms=0): pass\ndef find(type=1, *, label=None): pass\nfrom json import reset",
        "def anything(a, b=2, *, c): pass\ndef sleep(whatever): pass",
        "class Port:\n    IN = 1\n    def __init__(self, id): pass\n    @staticmethod\n    def count(): return 1",
        "class Port:\n    def write(self, data, stop=True): pass\n    def level(self, v): pass\n    def _own(): pass",
    ],
)
def test_less_than_the_stub_is_no_difference(source):
    assert list(differences(Scope(ast.parse(source), NONE), STUB)) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("NAROW = 1", ("NAROW", "is not in the stub")),
        ("def rest(): pass", ("rest", "is not in the stub")),
        ("class Ports: pass", ("Ports", "is not in the stub")),
        ("from uos import system", ("system", "is not in the stub")),
        ("WIDE = 1002", ("WIDE", "is 1002, in the stub 1001")),
        ("NARROW = 1001\nWIDE = NARROW\nNARROW = 1", ("WIDE", "is 1, in the stub 1001")),
        ("def WIDE(): pass", ("WIDE", "is a function, in the stub it is none")),
        ("reset = 1", ("reset", "is a constant, in the stub it is none")),
        ("class reset: pass", ("reset", "is a class, in the stub it is none")),
        ("def reset(hard=False): pass", ("reset", "takes 1 arguments, the stub does not")),
        ("def sleep(ms, us): pass", ("sleep", "takes 2 arguments, the stub does not")),
        ("def sleep(*ms): pass", ("sleep", "takes any number of arguments, the stub does not")),
        ("def sleep(**ms): pass", ("sleep", "takes any keyword, the stub does not")),
        ("def sleep(*, ms=1): pass", ("sleep", "takes ms=, the stub does not")),
        ("def find(kind=1): pass", ("find", "calls argument 1 kind, the stub type")),
        ("def find(type=0): pass", ("find", "sets type to 0 by default, the stub to 1")),
        ("def find(type=1, label=None): pass", ("find", "takes 2 arguments, the stub does not")),
        ("def find(*, label='x'): pass", ("find", "sets label to 'x' by default, the stub to None")),
        ("class Port:\n    OUT = 3", ("Port.OUT", "is not in the stub")),
        ("class Port:\n    IN = 2", ("Port.IN", "is 2, in the stub 1")),
        ("class Port:\n    def __init__(self): pass", ("Port.__init__", "takes 0 arguments, the stub does not")),
        ("class Port:\n    def level(self): pass", ("Port.level", "takes 0 arguments, the stub does not")),
        ("class Port:\n    def read(self): pass", ("Port.read", "is not in the stub")),
        ("class Port:\n    def level(self, v): pass\n    read = level", ("Port.read", "is not in the stub")),
        ("class Port:\n    @staticmethod\n    def count(n): 1", ("Port.count", "takes 1 arguments, the stub does not")),
        ("def Port(id, mode=0): pass", ("Port", "sets mode to 0 by default, the stub to -1")),
    ],
)
def test_more_or_other_than_the_stub_is_a_difference(source, found):
    assert found in list(differences(Scope(ast.parse(source), NONE), STUB))
