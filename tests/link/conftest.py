"""The node's side of the wire for tests, cloudkit, is shared with tests/host."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))
