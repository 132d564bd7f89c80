"""pytest plugin: tests that mostly wait, run side by side.

A test that waits for a deadline or a watchdog costs its whole length while the machine is idle. Tests that are marked
`@pytest.mark.beside` begin together, in threads, when the first test of their file does; each is still told apart, with
its own result, in its own place. What they would disturb stands behind them in the file.

Such a test takes nothing but its parameters, `tmp_path` and fixtures of a wider scope than its own, and shares nothing
with the others of its file that it changes. It begins even if a mark then skips it. `beside(2)`: two at a time at most,
for tests that not only wait.
"""

import ast
import inspect
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, cast

import pytest

AT_ONCE = 8

_parse, _parsing = ast.parse, threading.Lock()


def _parse_alone(*args: Any, **kwargs: Any) -> ast.AST:
    """CPython 3.11 counts the depth of a tree for all threads at once, and fails if two make one."""
    with _parsing:
        return _parse(*args, **kwargs)


def pytest_configure() -> None:
    """Let no two threads parse."""
    ast.parse = _parse_alone


def pytest_unconfigure() -> None:
    """As it was."""
    ast.parse = _parse

Begun = dict[str, "Future[None]"]  # by the tests' node ids


@pytest.fixture(scope="module")
def _begun(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """The marked tests of a file that are selected, each begun."""
    marked = [item for item in request.session.items if item.path == request.path and _is_marked(item)]
    pool = ThreadPoolExecutor(min(_at_once(item) for item in marked))

    def begin(item: pytest.Function) -> Future[None]:
        chosen = item.callspec.params if hasattr(item, "callspec") else {}

        def argument(name: str) -> Any:
            if name == "tmp_path":
                return tmp_path_factory.mktemp(item.originalname[:30])
            return chosen[name] if name in chosen else request.getfixturevalue(name)

        test: Callable[..., None] = item.obj
        return pool.submit(test, **{name: argument(name) for name in inspect.signature(test).parameters})

    try:
        yield {item.nodeid: begin(item) for item in marked if isinstance(item, pytest.Function)}
    finally:
        pool.shutdown(cancel_futures=True)


def _at_once(item: pytest.Item) -> int:
    mark = item.get_closest_marker("beside")
    return mark.args[0] if mark and mark.args else AT_ONCE


def _is_marked(item: pytest.Item) -> bool:
    return item.get_closest_marker("beside") is not None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Lets the first test that runs of a file with marked ones begin them."""
    files = {item.path for item in items if _is_marked(item)}
    for item in items:
        if isinstance(item, pytest.Function) and item.path in files:
            # Behind the fixtures that a test has without asking, for these may be meant for the marked ones too.
            asked = inspect.signature(item.obj).parameters
            names = item.fixturenames
            names.insert(next((i for i, name in enumerate(names) if name in asked), len(names)), _begun.__name__)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Waits for a marked test in place of calling it."""
    if not _is_marked(pyfuncitem):
        return None
    begun = cast(Begun, pyfuncitem.funcargs[_begun.__name__])
    begun[pyfuncitem.nodeid].result()
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, object, object]:
    """Tells a failure when all that was begun has ended: CPython 3.11 may fail to parse a source in two threads."""
    if call.excinfo is not None:
        wait(cast(Begun, getattr(item, "funcargs", {}).get(_begun.__name__, {})).values())
    return (yield)
