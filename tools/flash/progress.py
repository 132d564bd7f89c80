"""What a command tells while it works: lines and a bar for people, or one JSON object at the end for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

Update = Callable[[int, int], None]


class Report:
    """With `as_json` standard output gets `finish`'s object and nothing else; people's lines go to standard error."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._console = Console(file=sys.stderr if as_json else sys.stdout, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line."""
        self._console.print(text, markup=False)

    @contextmanager
    def bar(self, label: str) -> Iterator[Update]:
        """A bar that `update(done, total)` moves, in bytes; where nobody watches, a line when it is full."""
        if not self._console.is_terminal:
            last = [0]

            def remember(done: int, total: int) -> None:
                last[0] = done

            yield remember
            if last[0]:
                self.say(f"{label}: {last[0]} bytes")
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console) as shown:
            task = shown.add_task(label, total=None)

            def update(done: int, total: int) -> None:
                shown.update(task, completed=done, total=total)

            yield update

    def confirm(self, question: str) -> bool:
        """A person's yes. No where nobody can be asked."""
        if self.as_json or not sys.stdin.isatty():
            return False
        return click.confirm(question, default=False)

    def finish(self, facts: dict[str, Any], text: str) -> None:
        """The result."""
        if self.as_json:
            click.echo(json.dumps(facts))
        else:
            self.say(text)
