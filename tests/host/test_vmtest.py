"""The VM plugin itself: every way in which a device test can go wrong shows."""

import pytest


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch):
    """Importing those that are installed would take most of a second in each test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(pytester: pytest.Pytester, source: str, *arguments: str, timeout: str = "20") -> pytest.RunResult:
    """Run `source` as a device test file in a pytest of its own."""
    folder = pytester.mkdir("device")
    (folder / "test_it.py").write_text(source)
    return pytester.runpytest_inprocess("-p", "vmtest", "-o", f"vm_timeout={timeout}", *arguments)


def test_passing_functions_pass_and_what_they_print_is_kept(pytester):
    result = run(
        pytester, "def test_a():\n    print('seen')\n\ndef test_b():\n    import micropython\n", "-rP"
    )
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*seen*"])


def test_a_failing_assert_shows_the_vms_traceback(pytester):
    result = run(pytester, "def test_a():\n    assert 1 == 2, 'one'\n\ndef test_b():\n    pass\n")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(['*test_it.py", line 2, in test_a*', "*AssertionError: one*"])


def test_an_exhausted_heap_fails_its_test_only(pytester):
    result = run(
        pytester, "# heap: 64K\ndef test_a():\n    bytearray(100_000)\n\ndef test_b():\n    bytearray(1000)\n"
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*MemoryError*"])


def test_leaving_the_interpreter_is_a_failure(pytester):
    result = run(pytester, "import sys\n\ndef test_a():\n    sys.exit(0)\n\ndef test_b():\n    pass\n")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*SystemExit*"])


def test_a_vm_that_dies_fails_its_function_and_the_rest(pytester):
    crash = "import uctypes\n\ndef test_a():\n    pass\n\ndef test_b():\n    uctypes.bytes_at(1, 8)\n\n"
    result = run(pytester, crash + "def test_c():\n    pass\n")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*the VM ended with status -11 here*", "*not run: *status -11 in test_b*"])


def test_a_vm_that_ends_early_with_status_0_fails_its_function_and_the_rest(pytester):
    quiet = "import ffi\n\ndef test_a():\n    ffi.open(None).func('v', '_exit', 'i')(0)\n\n"
    result = run(pytester, quiet + "def test_b():\n    pass\n")
    result.assert_outcomes(failed=2)


def test_a_hanging_vm_is_killed(pytester):
    hang = (
        "def test_a():\n    pass\n\ndef test_b():\n    while True:\n        pass\n\ndef test_c():\n    pass\n"
    )
    result = run(pytester, hang, timeout="1")
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*killed after 1 s here*", "*not run: *killed after 1 s in test_b*"])


def test_a_failing_import_fails_every_function(pytester):
    result = run(pytester, "import no_such_module\n\ndef test_a():\n    pass\n\ndef test_b():\n    pass\n")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["*could not be imported*", "*ImportError: no module named 'no_such_module'*"]
    )


def test_syntax_that_only_the_vm_refuses_fails_every_function(pytester):
    result = run(pytester, "def test_a():\n    match 1:\n        case 1:\n            pass\n")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*SyntaxError*"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def test_a(:\n    pass\n", "*test_it.py:1: *"),
        ("x = 1\n", "*no test_ function*"),
        ("def test_a():\n    pass\n\ndef test_a():\n    pass\n", "*two test functions have the same name*"),
        ("# heep: 9K\ndef test_a():\n    pass\n", "*test_it.py:1: no header named 'heep'; there are: heap*"),
        ("# heap: much\ndef test_a():\n    pass\n", "*test_it.py:1: heap: 'much' is not like 192K*"),
    ],
)
def test_a_file_that_cannot_be_collected_is_an_error(pytester, source, message):
    result = run(pytester, source)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


def test_only_what_is_selected_runs(pytester):
    result = run(pytester, "def test_a():\n    assert False\n\ndef test_b():\n    pass\n", "-k", "test_b")
    result.assert_outcomes(passed=1, deselected=1)
