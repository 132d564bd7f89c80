"""A node that does not know the time calls over TLS nevertheless, and does not pretend to know it."""

import sqlite3
import struct
from pathlib import Path

from host_sim import ledger
from host_sim.plan import START_MS, Plan, members
from host_sim.run import Run
from tools import nodefile

EPOCH_2020_MS = 1_577_836_800_000


def test_the_first_contact_after_power_on(tmp_path: Path) -> None:
    """The RTC begins in 2000, before any certificate; the first BIRTH says wall 0, the next ones the time."""
    folder = tmp_path / "run"
    Run(Plan(members([nodefile.load("nodes/greenhouse.toml")], 1), 0.06, folder=folder)).execute()
    assert ledger.compute(folder).balanced
    with sqlite3.connect(folder / "cloud" / "cloud.sqlite3") as db:
        births = [message for (message,) in db.execute("SELECT message FROM birth ORDER BY id")]
    db.close()
    told = [struct.unpack_from("<IB", message, 36) for message in births]
    assert told[0] == (0, 0)
    assert len(told) > 1
    begin = (START_MS - EPOCH_2020_MS) // 1000
    assert all(quality == 2 and begin < wall < begin + 7200 for wall, quality in told[1:])
    uptime_ms = struct.unpack_from("<I", births[0], 32)[0]
    assert uptime_ms < 120_000
