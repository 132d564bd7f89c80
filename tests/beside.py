"""pytest plugin: tests that mostly wait, run side by side.

A test that waits for a deadline or a watchdog costs its whole length while the machine is idle. Tests of a file that
are marked `@pytest.mark.beside` all begin, in threads, when the first of them is reached; each is still told apart,
with its own result, in its own place. Such a test takes nothing but its parameters, `tmp_path` and fixtures of a wider
scope than its own, and shares nothing with the others of its file that it changes. It begins even if a mark then skips
it.
"""

import inspect
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pytest

# Enough that the machine does not wait too; what a thread starts is mostly a process that sleeps.
AT_ONCE = 8


Begun = dict[str, "Future[None]"]  # by the tests' node ids


@pytest.fixture(scope="module")
def _begun(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Begun]:
    """The marked tests of a file that are selected, each begun."""
    pool = ThreadPoolExecutor(AT_ONCE)

    def begin(item: pytest.Function) -> Future[None]:
        chosen = item.callspec.params if hasattr(item, "callspec") else {}

        def argument(name: str) -> Any:
            if name == "tmp_path":
                return tmp_path_factory.mktemp(item.originalname[:30])
            return chosen[name] if name in chosen else request.getfixturevalue(name)

        test: Callable[..., None] = item.obj
        return pool.submit(test, **{name: argument(name) for name in inspect.signature(test).parameters})

    marked = [item for item in request.session.items if item.path == request.path and _is_marked(item)]
    try:
        yield {item.nodeid: begin(item) for item in marked if isinstance(item, pytest.Function)}
    finally:
        pool.shutdown(cancel_futures=True)


def _is_marked(item: pytest.Item) -> bool:
    return item.get_closest_marker("beside") is not None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Lets a marked test have what was begun."""
    if isinstance(item, pytest.Function) and _is_marked(item):
        item.fixturenames.append(_begun.__name__)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Waits for a marked test in place of calling it."""
    if not _is_marked(pyfuncitem):
        return None
    begun = cast(Begun, pyfuncitem.funcargs[_begun.__name__])
    begun[pyfuncitem.nodeid].result()
    return True
