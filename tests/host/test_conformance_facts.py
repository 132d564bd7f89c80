"""board_facts.toml names for every behaviour of a board the tests that show it: they exist and are collected."""

import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports] -- installed below 3.11 only

ROOT = Path(__file__).resolve().parents[2]
FACTS = tomllib.loads((Path(__file__).parent / "board_facts.toml").read_text())["fact"]


def named(facts: list[dict]) -> set[str]:
    return {test for fact in facts for test in fact.get("tests", [])}


def uncollected(tests: set[str]) -> set[str]:
    """Those of the node ids `tests` that pytest does not collect. One without parameters stands for all of its own."""
    files = sorted({test.partition("::")[0] for test in tests})
    there = [file for file in files if (ROOT / file).is_file()]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    command += ["--continue-on-collection-errors", *there]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60).stdout.splitlines()
    collected = {line for line in said if "::" in line}
    return tests - collected - {line.partition("[")[0] for line in collected}


def test_each_fact_has_a_source_and_either_tests_or_a_reason():
    assert FACTS
    for fact in FACTS:
        assert set(fact) in ({"says", "source", "tests"}, {"says", "source", "why_not"}), fact["says"]
        assert all(fact.values()), fact["says"]


def test_no_behaviour_is_listed_twice():
    assert len({fact["says"] for fact in FACTS}) == len(FACTS)


def test_every_test_named_is_collected():
    assert uncollected(named(FACTS)) == set()


def test_a_test_that_is_gone_shows():
    here = "tests/host/test_conformance_facts.py"
    crc = "tests/device/test_crc.py::test_check_values"
    gone = {f"{here}::test_gone", "tests/host/test_gone.py::test_a", f"{crc}[9-bit]"}
    there = {f"{here}::test_a_test_that_is_gone_shows", crc, f"{crc}[31-bit]"}
    assert uncollected(gone | there) == gone
