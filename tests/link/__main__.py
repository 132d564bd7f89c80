"""`python -m tests.link`: explores the whole and prints the states visited; `--sampled` what every `make test` does."""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests" / "host"), str(ROOT / "firmware"), str(ROOT / "lib")]

from explore import Breach, Explorer  # noqa: E402
from scenarios import SAMPLED, WHOLE  # noqa: E402


def main() -> int:
    """Returns the exit code: 1 if an invariant was broken."""
    states = steps = 0
    for scenario in SAMPLED if "--sampled" in sys.argv else WHOLE:
        began = time.monotonic()
        explorer = Explorer(scenario)
        try:
            with redirect_stdout(StringIO()):  # the session says when a record was overwritten under it
                explorer.run()
        except Breach as breach:
            print(f"{scenario.name}: {breach}")
            return 1
        states += explorer.states
        steps += explorer.steps
        print(
            f"{scenario.name}: {explorer.states:,} states, {explorer.steps:,} steps, {time.monotonic() - began:.1f} s",
            flush=True,
        )
    print(f"all: {states:,} states, {steps:,} steps; every invariant held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
