"""The command line, `python -m cloud`. Errors are one line on standard error and exit status 2."""

from __future__ import annotations

from typing import Any

import click

from cloud.commands import backup, commits, control, readings, registry, serve
from cloud.commands.options import Refusal
from cloud.errors import CloudError


class _Group(click.Group):
    """Turns what the parts raise on bad requests into one line and status 2.

    Where the reader of the output has gone (`| head`), a command ends quietly, with status 1.
    """

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends without a word
        except (CloudError, OSError) as error:
            raise Refusal(str(error)) from None


@click.group(cls=_Group)
def main() -> None:
    """The cloud end of Fieldnode."""


# The commands' modules import lightly; what is heavy they import when called.
for command in (
    serve.serve, serve.ingest, serve.auth, serve.control, serve.web,
    registry.add, registry.revoke, registry.nodes,
    readings.query_command, readings.alerts, readings.cursors,
    commits.records, commits.tail,
    control.send, control.node,
    backup.backup, backup.restore,
):  # fmt: skip
    main.add_command(command)
