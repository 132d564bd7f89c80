"""TaskQueue and Task for the VM's frozen asyncio, on the simulated ticks.

The unix port's own are in C and compare the host's ticks, whose period is 2^62: after the simulated ticks wrap at
2^30 they order tasks wrongly. bootstrap.py puts this module into `sys.modules` as `_asyncio` before anything
imports asyncio. What it must offer: extmod/asyncio/core.py and funcs.py, which read and write `data`, `state`,
`ph_key` and `coro`.
"""

from time import ticks_diff, ticks_ms


class TaskQueue:
    """Tasks in order of `ph_key` (ticks), first in first out among equals. A node has few tasks: a list is fastest."""

    def __init__(self):
        self._tasks = []

    def peek(self):
        return self._tasks[0] if self._tasks else None

    def push(self, task, key=None):
        if key is None:
            key = ticks_ms()
        task.data = None
        task.ph_key = key
        tasks = self._tasks
        at = len(tasks)
        while at and ticks_diff(key, tasks[at - 1].ph_key) < 0:
            at -= 1
        tasks.insert(at, task)

    def pop(self):
        if not self._tasks:
            raise IndexError("empty heap")
        return self._tasks.pop(0)

    def remove(self, task):
        self._tasks.remove(task)


class Task:
    """A coroutine and what became of it. `state`: True running, a TaskQueue of waiters, None or False done, or a
    callback.
    """

    _core = None

    def __init__(self, coro, core=None):
        self.coro = coro
        self.data = None
        self.state = True
        self.ph_key = 0
        if core is not None:
            Task._core = core

    def done(self):
        return self.state is None or self.state is False

    def cancel(self):
        if self.done():
            return False
        core = Task._core
        if self is core["cur_task"]:
            raise RuntimeError("can't cancel self")
        task = self
        while isinstance(task.data, Task):
            task = task.data
        run = core["_task_queue"]
        if hasattr(task.data, "remove"):
            task.data.remove(task)
            run.push(task)
        elif ticks_diff(task.ph_key, ticks_ms()) > 0:
            run.remove(task)
            run.push(task)
        task.data = core["CancelledError"]
        return True

    def __iter__(self):
        if self.done():
            self.state = False
        elif self.state is True:
            self.state = TaskQueue()
        elif not isinstance(self.state, TaskQueue):
            raise RuntimeError("can't wait")
        return self

    def __next__(self):
        if self.done():
            raise self.data
        waiter = Task._core["cur_task"]
        self.state.push(waiter)
        waiter.data = self
