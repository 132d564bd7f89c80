"""The command `fieldnode`: from a bare board to a node in the field.

Exit status 0 done, 1 failed on the way (run the same command again), 2 refused: nothing was done to the board.
"""

from __future__ import annotations

import codecs
import sys
import time
from pathlib import Path
from typing import IO, Any

import click
from click.exceptions import NoArgsIsHelpError

from tools import boards, build
from tools.boards import Board
from tools.flash import FlashError, Refusal, tree
from tools.flash.progress import Report
from tools.identity import Identity
from tools.newfile import new_file
from tools.nodefile import NodeFile, NodeFileError
from tools.nodefile import load as load_node

_FOLLOW_S = 0.05
_SLEEPS_S = 86400
_BACK_S = 20  # until a board that has got its firmware is at its port again


class _UsageError(click.ClickException):
    """One line: what is wrong with the words, and where to read."""

    exit_code = 2

    def __init__(self, error: click.UsageError, name: str) -> None:
        name = error.ctx.command_path if error.ctx else name
        what = " ".join(error.format_message().split()).rstrip(".")
        super().__init__(f"{name}: {what}; see {name} --help")

    def show(self, file: IO[Any] | None = None) -> None:
        """Without click's usage lines."""
        click.echo(self.message, file=file, err=True)


class _Group(click.Group):
    """Turns what the parts raise into one line and an exit status."""

    def make_context(self, info_name: str | None, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(info_name, *args, **extra)
        except NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise _UsageError(error, info_name or "fieldnode") from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            raise _UsageError(error, ctx.command_path) from error
        except (FlashError, NodeFileError, build.BuildError, boards.BoardError) as error:
            click.echo(str(error), err=True)
            sys.exit(getattr(error, "status", 2))
        except OSError as error:
            if error.filename is None:
                raise
            click.echo(f"{error.filename}: {error.strerror}; put that right and run the same command again", err=True)
            sys.exit(1)


_NODE = click.argument("node", type=click.Path(path_type=Path))
_PORT = click.option("--port", help="Serial port, such as COM3 or /dev/ttyACM0; found by itself if there is one only.")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
_WAIT = click.option("--wait", type=float, default=0, metavar="S",
                     help="How long the port may be missing: a sleeping node wakes, or somebody presses RESET.")
_FW = click.option("--fw", type=click.Path(path_type=Path), help="This MicroPython image instead of the pinned one.")
_SHA = click.option("--accept-sha256", metavar="HEX", help="Confirms the first download of an image.")
_ERASE = click.option("--erase", is_flag=True, help="Erase a board that holds something else, without asking.")
_VOLUME = click.option("--volume", type=click.Path(path_type=Path), help="RP2: where the board shows its volume.")
_BAUD = click.option("--baud", type=int, default=460800, show_default=True, help="ESP32: speed of the loader.")
_STATUS = click.option("--status-wait", type=float, default=30, show_default=True, metavar="S",
                       help="How long the first boot may take until the node tells its status; 0 does not wait.")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Fieldnode: flash a board, deploy a node, talk to it."""


def _port(port: str | None, board: Board | None) -> str:
    from tools.flash import ports

    return port or ports.find(board)


def _back(port: str | None, board: Board, wait: float) -> str:
    """The port of a board that has just got its firmware, where nobody named it: on native USB it comes back anew."""
    end = time.monotonic() + max(wait, _BACK_S)
    while True:
        try:
            return _port(port, board)
        except Refusal:
            if time.monotonic() >= end:
                raise
        time.sleep(0.2)


def _link(port: str, board: Board | None, wait: float = 0):
    from tools.flash.link import Link

    return Link(port, wait, pulse=board is None or board.family == "esp32")


# Firmware


@main.command()
@_NODE
@_PORT
@_FW
@_SHA
@_ERASE
@_VOLUME
@_BAUD
@_WAIT
@_STATUS
@click.option("--firmware-only", is_flag=True, help="MicroPython and our partition table, and no node's files.")
@_JSON
def flash(
    node: Path, port: str | None, fw: Path | None, accept_sha256: str | None, erase: bool, volume: Path | None,
    baud: int, wait: float, status_wait: float, firmware_only: bool, as_json: bool,
) -> None:  # fmt: skip
    """Bring the board of NODE, a node file, to run the node: MicroPython, on an ESP32 our partition table, and what
    `deploy` copies, if the node has been provisioned.

    What the node has stored stays, where the board already has our layout.
    """
    report = Report(as_json)
    checked = load_node(node)
    board = boards.load(checked.board)
    missing = tree.missing(Identity(checked).read())
    alone = firmware_only or bool(missing)
    if not alone:
        _plan(checked)  # whatever is wrong with it is said before a board is touched
    facts = _flash(board, port, fw, accept_sha256, erase, volume, baud, wait, report)
    if alone:
        first = f"fieldnode provision {node} --data FOLDER, then " if missing else ""
        report.finish(facts, f"{board.name} has its firmware; next: {first}fieldnode deploy {node}")
        return
    report.say(f"{board.name} has its firmware and starts; next its files")
    deployed, text = _deploy(checked, _back(port, board, wait), max(wait, _BACK_S), status_wait, report)
    report.finish(facts | {"status": deployed.pop("status", None), "deploy": deployed}, text)


def _flash(
    board: Board, port: str | None, fw: Path | None, sha256: str | None, erase: bool, volume: Path | None, baud: int,
    wait: float, report: Report,
) -> dict[str, Any]:  # fmt: skip
    from tools.flash import firmware

    image, name = firmware.image(board, fw, sha256, report)
    if board.family == "esp32":
        return firmware.esp32(board, _port(port, board), image, name, erase, baud, report)
    return firmware.rp2(board, port, image, name, volume, report, wait)


# Files


@main.command()
@_NODE
@_PORT
@click.option("--dry-run", is_flag=True, help="Only tell what would be on the board.")
@_WAIT
@_STATUS
@_JSON
def deploy(node: Path, port: str | None, dry_run: bool, wait: float, status_wait: float, as_json: bool) -> None:
    """Copy code, settings and identity of NODE, a node file, onto its board: only what changed. Restarts the node."""
    report = Report(as_json)
    checked = load_node(node)
    if dry_run:
        _dry_run(checked, report)
        return
    facts, text = _deploy(checked, port, wait, status_wait, report)
    report.finish(facts, text)


def _plan(node: NodeFile, whole: bool = True) -> tree.Tree:
    build.build()
    identity = Identity(node).read()
    if whole:
        tree.complete(identity, node)
    return tree.plan(node, identity)


def _dry_run(node: NodeFile, report: Report) -> None:
    from tools.flash import deploy as deploying

    files = _plan(node, whole=False)
    facts = deploying.dry_run(files)
    missing = tree.missing(files)
    facts["missing"] = missing
    note = f"\nnot yet there: {', '.join(missing)}; made by `fieldnode provision`" if missing else ""
    report.finish(facts, deploying.dry_run_text(facts) + note)


def _deploy(
    node: NodeFile, port: str | None, wait: float, status_wait: float, report: Report
) -> tuple[dict[str, Any], str]:
    from tools.flash import deploy as deploying
    from tools.flash import firstboot

    board = boards.load(node.board)
    files = _plan(node)
    device = _port(port, board)
    with _link(device, board, wait) as link:
        facts = deploying.deploy(link, board, files, report)
        text = deploying.as_text(facts, device)
        line = link.leave(deploying.RESTART)
    if status_wait <= 0:
        line.close()
    else:
        report.say(text)
        facts["status"] = firstboot.status(device, status_wait, line)
        text = firstboot.as_text(facts["status"], device)
    return facts, text


# What is on a board


@main.command()
@_NODE
@_PORT
@click.option("--yes", is_flag=True, help="Do not ask.")
@_WAIT
@_JSON
def erase(node: Path, port: str | None, yes: bool, wait: float, as_json: bool) -> None:
    """Erase the board of NODE: an ESP32 wholly, an RP2's files and readings (its firmware stays)."""
    from tools.flash import wipe

    report = Report(as_json)
    board = boards.load(load_node(node).board)
    device = _port(port, board)
    if not yes and not report.confirm(f"{device}: erase all, readings not yet sent included?"):
        raise Refusal(f"{device}: nothing was erased; confirm, or give --yes")
    if board.family == "esp32":
        wipe.esp32(board, device)
    else:
        with _link(device, board, wait) as link:
            wipe.rp2(link, board)
    report.finish({"erased": device}, f"{device}: erased")


@main.command()
@_NODE
@click.argument("file", type=click.Path(path_type=Path))
@_PORT
@_WAIT
@_JSON
def backup(node: Path, file: Path, port: str | None, wait: float, as_json: bool) -> None:
    """Read the flash of NODE's board into FILE: an ESP32's wholly, of an RP2 what holds files and readings.

    FILE holds the node's secrets too.
    """
    from tools.flash import wipe

    report = Report(as_json)
    board = boards.load(load_node(node).board)
    device = _port(port, board)
    size = board.flash_size if board.family == "esp32" else board.storage[1]
    with new_file(file, size) as write:
        with report.bar("reading") as update:
            if board.family == "esp32":
                data = wipe.read_esp32(board, device, update)
            else:
                with _link(device, board, wait) as link:
                    data = wipe.read_rp2(link, board, update)
        write(data)
    report.finish({"file": str(file), "bytes": len(data)}, f"{file}: {len(data)} bytes of {device}")


@main.command()
@_NODE
@click.argument("file", type=click.Path(path_type=Path))
@_PORT
@click.option("--yes", is_flag=True, help="Do not ask.")
@_WAIT
@_JSON
def restore(node: Path, file: Path, port: str | None, yes: bool, wait: float, as_json: bool) -> None:
    """Bring NODE's board back to what FILE holds, which `backup` made of it. It restarts, and the node runs.

    For a board that was erased, or one that takes another's place. What a node has measured since the backup is gone
    from it, and its next readings would go by numbers that the cloud end knows already: it keeps those that came first.
    """
    from tools.flash import wipe

    report = Report(as_json)
    board = boards.load(load_node(node).board)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Refusal(f"{file}: {error.strerror or error}") from error
    wipe.check(content, board, str(file))
    device = _port(port, board)
    if not yes and not report.confirm(f"{device}: write over all that is there with {file}?"):
        raise Refusal(f"{device}: nothing was written; confirm, or give --yes")
    with report.bar("writing") as update:
        if board.family == "esp32":
            wipe.restore_esp32(board, device, content, update)
        else:
            with _link(device, board, wait) as link:
                wipe.restore_rp2(link, board, content, update)
    report.finish({"file": str(file), "bytes": len(content)}, f"{device}: holds what {file} held")


@main.command()
@click.argument("name", default="greenhouse", type=click.Choice(["greenhouse", "cellar"]))
def example(name: str) -> None:
    """Print an example of a node file, for a file of one's own: an ESP32 in a greenhouse, or a Pico W in a cellar."""
    from tools.catalogue import EXAMPLES

    click.echo((EXAMPLES / f"{name}.toml").read_text(encoding="utf-8"), nl=False)


@main.command()
@_PORT
@_WAIT
def selftest(port: str | None, wait: float) -> None:
    """Check on the board itself that its ports keep their contract (boards/README.md). Needs a deployed node."""
    from tools.selftest import SelfTest

    device = _port(port, None)
    with _link(device, None, wait) as link:
        if not SelfTest(link, click.echo).run():
            raise FlashError(f"{device}: the self-test found faults")


@main.command()
@_NODE
@click.option("--data", type=click.Path(path_type=Path), help="The data folder of a cloud end on this machine.")
@click.option("--credentials", type=click.Path(path_type=Path), help="What a cloud end elsewhere has issued, a folder.")
@click.option("--renew", is_flag=True, help="Give the node another certificate; with --data.")
@_JSON
def provision(node: Path, data: Path | None, credentials: Path | None, renew: bool, as_json: bool) -> None:
    """Make NODE, a node file, known to the cloud end, and keep what the node must carry in .identity/ beside it.

    With a cloud end on another machine: without --data the node's key is made, and told what to run over there;
    with --credentials what that has written is kept.
    """
    from tools import provision as provisioning

    report = Report(as_json)
    checked = load_node(node)
    if renew and data is None or data is not None and credentials is not None:
        raise Refusal("--renew goes with --data, --credentials does not")
    if data is None and credentials is None:
        facts = provisioning.key_only(checked)
        text = (
            f"{facts['node']}: key {facts['key']}, in {facts['identity']} (secret). Where the cloud end is, run\n"
            f"  {facts['command']}\nand give it the key when it waits for a line:\n  {facts['reads']}\n"
            f"then bring the folder {facts['node']}, which it makes, and run here\n"
            f"  fieldnode provision {node} --credentials {facts['node']}"
        )
        report.finish(facts, text)
        return
    if data is not None:
        facts = provisioning.provision(checked, data, renew)
    else:
        facts = provisioning.take(checked, credentials or Path())
    text = f"{facts['node']}: key {facts['key']}, certificate {facts['certificate']}, in {facts['identity']} (secret)"
    report.finish(facts, text)


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def console(arguments: tuple[str, ...]) -> None:
    """Talk to a node: its console over the serial port."""
    from tools import console as consoles

    consoles.main(args=list(arguments), prog_name="fieldnode console", standalone_mode=False)


# What was on a board


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def dump(arguments: tuple[str, ...]) -> None:
    """Print what stands in the rings of a flash IMAGE, as `backup` makes it, as JSON lines."""
    from tools import dump as dumping

    dumping.main(args=list(arguments), prog_name="fieldnode dump", standalone_mode=False)


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def wear(arguments: tuple[str, ...]) -> None:
    """Tell how long the flash of NODE, a node file, will last, or how often the sectors of an image were erased."""
    from tools import wear as wearing

    wearing.main(args=list(arguments), prog_name="fieldnode wear", standalone_mode=False)


@main.command()
@_NODE
@_PORT
@_FW
@_SHA
@_ERASE
@_VOLUME
@_BAUD
@_WAIT
@_STATUS
def run(
    node: Path, port: str | None, fw: Path | None, accept_sha256: str | None, erase: bool, volume: Path | None,
    baud: int, wait: float, status_wait: float,
) -> None:  # fmt: skip
    """Check NODE, a node file, flash its board if it has no fitting MicroPython, deploy, and follow what it says.

    Following keeps the node awake, as whoever talks at its console does: until Ctrl-C it takes from its battery.
    """
    from tools.flash import firmware

    report = Report()
    checked = load_node(node)
    board = boards.load(checked.board)
    _plan(checked)  # whatever is wrong with it is said before a board is touched
    if not firmware.there(board, port, volume, wait):
        _flash(board, port, fw, accept_sha256, erase, volume, baud, wait, report)
    device = _back(port, board, wait)
    facts, text = _deploy(checked, device, max(wait, _BACK_S), status_wait, report)
    report.say(text)
    _follow(device, b"\rlog -f\r" if "status" in facts else b"")


def _follow(port: str, question: bytes) -> None:
    """Asks the node's console `question`, again after each sleep, and shows what the board says, until Ctrl-C."""
    import serial

    from tools.flash import ports

    line, decode = None, codecs.getincrementaldecoder("utf-8")("replace").decode
    try:
        while True:
            try:
                if line is None:
                    # Native USB goes away while the node sleeps.
                    line = ports.open_serial(port, _SLEEPS_S)
                    line.write(question)
                sys.stdout.write(decode(line.read(4096)))
                sys.stdout.flush()
            except (serial.SerialException, OSError):
                if line is not None:
                    line.close()
                line = None
            time.sleep(_FOLLOW_S)
    except KeyboardInterrupt:
        if line is not None:
            line.close()


if __name__ == "__main__":
    main(prog_name="fieldnode")
