"""The VM plugin itself: every way in which a device test can go wrong shows, in either VM."""

import pytest

import vmtest

needs_node = pytest.mark.needs("node", package="nodejs")
needs_npm = pytest.mark.needs("npm")


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch):
    """Importing those that are installed would take most of a second in each test."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def run(
    pytester: pytest.Pytester, source: str, *arguments: str, timeout: str = "20", which: str = "not 31-bit"
) -> pytest.RunResult:
    """Run those tests of a device test file with the text `source` that `which` selects, in a pytest of its own."""
    folder = pytester.mkdir("device")
    (folder / "test_it.py").write_text(source)
    pytester.makeini("[pytest]\nmarkers =\n    needs: as in pyproject.toml\n")
    return pytester.runpytest_inprocess("-p", "vmtest", "-o", f"vm_timeout={timeout}", "-k", which, *arguments)


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


def test_functions_that_wait_are_dealt_out_and_told_apart(pytester):
    """Three wait for one another by way of the host, in three VMs; with fewer, none would see the rest."""
    waits = """
        open('{0}', 'w').close()
        for _ in range(500):
            if all(name in os.listdir() for name in ('vm-a', 'vm-b', 'vm-c')):
                break
            time.sleep_ms(10)
        else:
            raise AssertionError('alone')
        assert '{0}' != 'vm-b', 'two'
    """
    folder = pytester.path
    source = f"# beside: 3\nimport os, time\n\nos.chdir({str(folder)!r})\n"
    for name in "abc":
        source += f"\ndef test_{name}():" + waits.format(f"vm-{name}").replace("\n    ", "\n")
    result = run(pytester, source + "\ndef test_d():\n    pass\n")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: two*"])


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
        ("# heep: 9K\ndef test_a():\n    pass\n", "*test_it.py:1: no header named 'heep'; there are: heap, *"),
        ("# heap: much\ndef test_a():\n    pass\n", "*test_it.py:1: heap: 'much' is not like 192K*"),
        ("# vm31: no\ndef test_a():\n    pass\n", "*test_it.py:1: vm31: 'no' is not like no, it opens a socket*"),
        ("# vm31: no, a\n# vm64: no, b\ndef test_a():\n    pass\n", "*test_it.py: in no VM at all*"),
    ],
)
def test_a_file_that_cannot_be_collected_is_an_error(pytester, source, message):
    result = run(pytester, source)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([message])


def test_only_what_is_selected_runs(pytester):
    source = "def test_a():\n    assert False\n\ndef test_b():\n    pass\n"
    result = run(pytester, source, which="test_b and not 31-bit")
    result.assert_outcomes(passed=1, deselected=3)


INT = "def test_a():\n    import sys\n    assert sys.maxsize > 1 << 40\n\ndef test_b():\n    print('seen')\n"


@needs_node
@needs_npm
def test_each_function_runs_in_both_vms_and_a_failure_shows_the_traceback_of_its_own(pytester):
    result = run(pytester, INT, "-rA", which="test_")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        ['*/test_it.py", line 3, in test_a', "AssertionError*", "PASSED *::test_b[[]31-bit]", "FAILED *[[]31-bit]*"]
    )


def test_a_file_says_which_vm_it_is_not_for(pytester):
    result = run(pytester, "# vm31: no, why not\n" + INT, which="test_")
    result.assert_outcomes(passed=2)


@needs_node
@needs_npm
def test_a_file_for_the_31_bit_vm_only(pytester):
    result = run(pytester, "# vm64: no, why not\n" + INT, which="test_")
    result.assert_outcomes(passed=1, failed=1)


@needs_node
@needs_npm
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import js\n    js.process.exit(7)", "the VM ended with status 7 here"),
        ("import js\n    js.process.exit(0)", "the VM ended before its tests did, with status 0, here"),
        ("while True: pass", "the VM was killed after 2 s here"),
        ("import sys\n    sys.exit(0)", "SystemExit*"),
    ],
)
def test_a_31_bit_vm_that_dies_hangs_or_leaves(pytester, body, said):
    result = run(pytester, f"def test_a():\n    {body}\n", timeout="2", which="31-bit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([said])


@needs_node
@needs_npm
def test_a_31_bit_vm_that_cannot_import_the_file_says_why(pytester):
    result = run(pytester, "import socket\n\ndef test_a():\n    pass\n", which="31-bit")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["the file could not be imported: *", "*no module named 'socket'*"])
    result.stdout.no_fnmatch_line("*function*")  # node.js would quote the VM's source, 100 KB in one line


def test_an_installation_that_fails_says_what_npm_said(pytester, monkeypatch):
    monkeypatch.setattr(vmtest, "VM31_INSTALLED", pytester.mkdir("build") / "vm31")
    npm = pytester.mkdir("bin") / "npm"
    npm.write_text("#!/bin/sh\necho no such host >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=":")
    vmtest.install_vm31.cache_clear()
    try:
        result = run(pytester, INT, which="31-bit")
    finally:
        vmtest.install_vm31.cache_clear()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["the 31-bit VM is not installed, npm ci ended with status 1:", "no such host"])


@pytest.mark.parametrize(("ci", "outcome"), [("", {"skipped": 2}), ("true", {"errors": 2})])
def test_without_nodejs_the_31_bit_tests_are_skipped_aloud_and_fail_in_ci(pytester, monkeypatch, ci, outcome):
    conftest = (vmtest.ROOT / "tests" / "conftest.py").read_text()
    pytester.makeconftest(conftest.replace("/usr/sbin", "/nowhere").replace('["beside", "vmtest", "pytester"]', "[]"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)
    result = run(pytester, INT, which="31-bit")
    result.assert_outcomes(**outcome)
    result.stdout.fnmatch_lines(["2 tests not run for want of nodejs: apt install nodejs"])
