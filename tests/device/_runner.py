"""Run functions of one device test file; this runs in the MicroPython VM, started by tests/vmtest.py.

    micropython _runner.py MODULE FUNCTION...

What tests print goes to stdout as it is. Lines that begin with MARK are the runner's own: `ready` once the
module is imported, `run NAME` before each function, then `pass`, or `fail` followed by the traceback; `end`.
"""

import gc
import sys

MARK = "\x1e"


def main(module_name, names):
    """Import the module and call each of its functions in turn."""
    module = __import__(module_name)
    print(MARK + "ready")
    for name in names:
        gc.collect()
        print(MARK + "run " + name)
        try:
            getattr(module, name)()
        except BaseException as error:  # SystemExit too: a test that ends the VM has failed
            print(MARK + "fail")
            sys.print_exception(error, sys.stdout)
        else:
            print(MARK + "pass")
    print(MARK + "end")


main(sys.argv[1], sys.argv[2:])
