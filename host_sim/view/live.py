"""The live view: how far the run is, what each node does, and the faults as they strike."""

import io
import re
import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from host_sim.ledger.book import Ledger
from host_sim.plan import Plan
from host_sim.status import NodeStatus, Status
from host_sim.view import View, words

STRIKES_SHOWN = 6
COST = 0.02  # share of a processor that drawing may take
WIDE = 100  # columns from which on a node's date is shown beside its time
_STATE_STYLE = {
    "off": "bold red", "asleep": "blue", "sampling": "green", "connecting": "yellow", "sending": "bold cyan",
}  # fmt: skip
_FRAME_ROWS = 12 + STRIKES_SHOWN  # rows of the screen that are not nodes


def screen(status: Status, stage: str, width: int, height: int = 100) -> RenderableType:
    """What the view shows; `stage` says in a word what goes on, `width` and `height` are the terminal's."""
    parts: list[RenderableType] = [_progress(status, stage), Text(), _nodes(status, width, height)]
    if status.strikes:
        parts += [Text(), _strikes(status)]
    return Group(*parts)


def _progress(status: Status, stage: str) -> Table:
    bar = ProgressBar(
        total=1.0, completed=status.share, complete_style="cyan", finished_style="green", style="bright_black"
    )
    row = Table.grid(padding=(0, 2, 0, 0), expand=True, pad_edge=False)
    row.add_column(no_wrap=True)
    row.add_column(ratio=1)
    for _ in range(3):
        row.add_column(no_wrap=True, justify="right")
    row.add_row(
        Text(stage, style="bold"), bar, Text(f"{int(100 * status.share)}%", style="bold"),
        Text(words.moment(status.at_ms)), Text(words.pace(status), style="cyan"),
    )  # fmt: skip
    return row


def _nodes(status: Status, width: int, height: int) -> Table:
    wide = width >= WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 2 if wide else 1, 0, 0), header_style="dim", expand=True)
    table.add_column("node", no_wrap=True, overflow="ellipsis")
    table.add_column("board", no_wrap=True, style="dim")
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("state", no_wrap=True, min_width=len("connecting"))
    for name in ("stored", "acknowledged" if wide else "acked", "missed", "alerts"):
        table.add_column(name, no_wrap=True, justify="right")
    table.add_column("faults", no_wrap=True, overflow="ellipsis", ratio=1)
    shown = max(3, height - _FRAME_ROWS)
    for node in status.nodes[:shown]:
        table.add_row(*_node(node, wide))
    if len(status.nodes) > shown:
        table.add_row(Text(f"and {len(status.nodes) - shown} more", style="dim"))
    return table


def _node(node: NodeStatus, wide: bool) -> tuple[Text, ...]:
    time = words.moment(node.at_ms)
    return (
        Text(node.name, style="bold"),
        Text(node.board),
        Text(time if wide else time[-5:]),
        Text(f"● {node.state}" if wide else node.state, style=_STATE_STYLE[node.state]),
        Text(f"{node.stored:,}"),
        Text(f"{node.acknowledged:,}", style="green"),
        Text(f"{node.missed:,}", style="yellow" if node.missed else "dim"),
        Text(f"{node.alerts:,}", style="magenta" if node.alerts else "dim"),
        Text(", ".join(map(words.kind, node.faults)), style="bold red"),
    )


def _strikes(status: Status) -> Text:
    """The latest ones, a line each. Not a table: that would cost as much as all the rest."""
    count = len(status.strikes)
    lines = [Text(f"{count} fault{'s' if count > 1 else ''} so far", style="dim")]
    latest = status.strikes[-STRIKES_SHOWN:]
    longest = max(len(words.whom(strike.node)) for strike in latest)
    for strike in latest:
        when, kind = words.moment(strike.t_ms, seconds=True), words.kind(strike.kind)
        lines.append(
            Text.assemble((f"{when}  ", "dim"), (f"{kind:<11}  ", "red"), f"{words.whom(strike.node):<{longest}}  ",
                          (strike.text, "dim"))
        )  # fmt: skip
    return Text("\n", no_wrap=True, overflow="ellipsis").join(lines)


def export_svg(status: Status, width: int = 100) -> str:
    """The view as an SVG image of a terminal of `width` columns."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(screen(status, "simulating" if status.share < 1 else "simulated", width))
    drawn = console.export_svg(title="make sim", unique_id="fieldnode-live")
    # The template asks another host for its font; any monospaced one will do.
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL).replace("Fira Code", "ui-monospace")


class LiveView(View):
    """On standard error, redrawn at an update, as often as COST allows; what it showed last stays."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._last: Status | None = None
        self._rest_until = 0.0

    def start(self, plan: Plan) -> None:
        self._live.start()
        self._live.update(Text(f"preparing {len(plan.members)} nodes for {plan.days:g} days", "bold"), refresh=True)

    def update(self, status: Status) -> None:
        self._last = status
        if status.share == 1:
            self._draw("balancing")
        elif time.monotonic() >= self._rest_until:
            began = time.process_time()
            self._draw("simulating")
            self._rest_until = time.monotonic() + (time.process_time() - began) / COST

    def finish(self, book: Ledger) -> None:
        if self._last is not None:
            self._draw("simulated")
        self.stop()
        self._console.print()
        for line in book.lines():
            print(line, flush=True)

    def stop(self) -> None:
        self._live.stop()

    def _draw(self, stage: str) -> None:
        if self._last is not None:
            size = self._console.size
            self._live.update(screen(self._last, stage, size.width, size.height), refresh=True)
