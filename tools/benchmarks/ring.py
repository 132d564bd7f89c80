"""What a record costs in flash: the ring, beside littlefs appends and a file per batch, on the same simulated NOR
cells.

20,000 records of 16 to 40 bytes, 256 KiB, sectors of 4096 bytes. WA is bytes programmed per byte of payload; on pages,
bytes on the bus, for whole pages are sent. The release cursor moves every 64 records and is counted. All of it runs in
the MicroPython VM, each record is read back.
"""

import json
import os
import subprocess
import sys

from tools.benchmarks import Figure
from tools.build import ROOT

SECTION = "ring"
SCRIPT = ROOT / "tools" / "benchmarks" / "vm_scripts" / "ring.py"


def measure(*arguments: str) -> dict[str, float]:
    """What one run of the script in the VM prints."""
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", "-X", "heapsize=64M", str(SCRIPT), *arguments],
        env=os.environ | {"MICROPYPATH": f"{ROOT / 'lib'}:.frozen"}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"ring {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def run() -> dict[str, Figure]:
    """`wa_record`: each record durable. `wa_batch16`: every 16, of records that tell their own length;
    `wa_batch16_any`: of any. `wa_page_*`: on pages of 256 bytes. `mount_reads_1mb`: the most flash reads of a mount
    after a sleep, without a hint, over all places of the head; `mount_reads_1mb_cold`: of one that may follow a cut.
    `mount_held_64`: bytes of heap that the mounted ring holds, in words of 64 bits, twice those of a board.
    `wa_page_batch16_apart`: where a move of the cursor takes a program of its own. `check_us_*`: what tells a record of
    28 bytes from a torn one, the ring's way (`short`) and others. `wear_spread`: most erases of a sector minus fewest.
    `lfs_*`: littlefs, progsize 32 or (page) 256.
    """
    record = measure("ring", "1", "1", "any")
    batch = measure("ring", "1", "16", "told")
    page_record, page_batch = measure("ring", "256", "1", "any"), measure("ring", "256", "16", "told")
    mount = measure("mount")
    figures = {
        "wa_record": (record["wa"], "B/B"),
        "wa_batch16": (batch["wa"], "B/B"),
        "wa_batch16_any": (measure("ring", "1", "16", "any")["wa"], "B/B"),
        "wa_page_record": (page_record["wa"], "B/B"),
        "wa_page_batch16": (page_batch["wa"], "B/B"),
        "wa_page_batch16_apart": (measure("apart", "256", "16", "told")["wa"], "B/B"),
        "wear_spread": (max(each["spread"] for each in (record, batch, page_record, page_batch)), "erases"),
        "erases_mb": (record["erases_mb"], "1/MB"),
        "erases_in_append": (max(each["in_append"] for each in (record, batch, page_record, page_batch)), "erases"),
        "live_records": (record["live"], "records"),
        "mount_reads_1mb": (mount["reads"], "reads"),
        "mount_reads_1mb_cold": (mount["cold"], "reads"),
        "mount_held_64": (mount["held"], "B"),
    }
    for name, took in measure("checks").items():
        figures[f"check_us_{name}"] = (took, "us")
    for name, arguments in (
        ("lfs_record", ("append", "32", "1")),
        ("lfs_batch16", ("append", "32", "16")),
        ("lfs_page_record", ("append", "256", "1")),
        ("lfs_files16", ("files", "32", "16")),
        ("lfs_page_files16", ("files", "256", "16")),
    ):
        found = measure(*arguments)
        figures[f"wa_{name}"] = (found["wa"], "B/B")
        figures[f"wear_spread_{name}"] = (found["spread"], "erases")
        figures[f"erases_mb_{name}"] = (found["erases_mb"], "1/MB")
        figures[f"mount_reads_{name}"] = (found["mount_reads"], "reads")
    return {name: Figure.exact(value, unit) for name, (value, unit) in figures.items()}
