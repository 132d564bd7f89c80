"""Run the port contract's checks on the board at a serial port.

    python -m tools.selftest /dev/ttyUSB0

The board must have been deployed to. Exit status 0 if every check passed, 1 if one failed, 2 if it could not be asked.
"""

import subprocess
import sys
from pathlib import Path

import click

SCRIPT = Path(__file__).resolve().parent.parent / "boards" / "selftest" / "contract.py"
LIMIT_S = 60


def verdict(said: str) -> int:
    """-> exit status for what the board has printed: without its last line it has not been through."""
    last = said.strip().splitlines()[-1:] or [""]
    return {"PASS": 0, "FAIL": 1}.get(last[0].partition(" ")[0], 2)


@click.command()
@click.argument("port")
def main(port: str) -> None:
    """Check the ports of the board at PORT, one line each."""
    command = [sys.executable, "-m", "mpremote", "connect", port, "run", str(SCRIPT)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        click.echo(f"selftest: {port}: no verdict within {LIMIT_S} s; reset the board and try again", err=True)
        sys.exit(2)
    click.echo(done.stdout, nl=False)
    status = verdict(done.stdout)
    if status == 2:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["nothing"]
        click.echo(f"selftest: {port}: the board gave no verdict: {said[0]}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
