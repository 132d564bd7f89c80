"""How the node is: its clock, its memory, its plans."""

import gc
import os
import sys
import time as ticks
from binascii import hexlify
from collections import OrderedDict

from ... import release, settings

_REASONS = ("unknown", "power-on", "brownout", "wake", "restart", "watchdog", "crash", "external reset")
_QUALITIES = ("unknown", "estimated", "synchronised")
_RINGS = ("journal", "alerts", "frames")
_ENDURANCE = 100000  # erases of a sector (W25Q32JV datasheet, rev. G)
_EPOCH_DAYS = 10957 + 7305  # 2020-01-01 in days since 1970-01-01


async def status(console, words):
    """The node at a glance."""
    node = console.node
    clock, quality = node.keeper.wall()
    store = node.store
    store.mount_rest()
    contact = None
    if node.contacts.last is not None:
        at, done = node.contacts.last
        contact = "%s, %d s ago" % ("complete" if done else "incomplete", _since(at))
    return OrderedDict(
        node="%s/%s" % (node.settings["tenant"], node.settings["node"]),
        board=getattr(node.board, "name", None),
        firmware=_firmware(),
        boot=node.bootlog.boot,
        reason=_REASONS[node.reason] if node.reason < len(_REASONS) else "unknown",
        uptime_s=node.keeper.uptime_s(),
        clock=iso(clock) if quality else None,
        quality=_QUALITIES[quality],
        next_sample_s=max(0, node.ms_to_next_slot() // 1000),
        next_contact_s=node.contacts.latest(),
        contact="under way" if node.contacts.busy() else contact,
        failed_contacts=node.retained.failures,
        rows_waiting=store.waiting_rows(),
        frames_waiting=_unreleased(store.frames),
        events_waiting=_unreleased(store.alerts),
        battery_mv=node.board.power.battery_mv() or None,
        sector_erases=_erases(store),
        flash_life_years=_life_years(node),
    )


async def version(console, words):
    """What runs here."""
    node = console.node
    return OrderedDict(
        firmware=_firmware(),
        released=iso(release.DATE)[:10],
        micropython=sys.version,
        board=getattr(node.board, "name", None),
        chip=hexlify(node.board.chip_id()).decode(),
        settings_format=settings.FORMAT,
        config=node.settings["version"],
        changed_here="base" in node.settings,
    )


async def time(console, words):
    """The clock. Drift is known once it was set twice in one waking."""
    keeper = console.node.keeper
    seconds, quality = keeper.wall()
    set_ago = moved = drift = None
    if keeper.was_set is not None:
        at, moved, apart = keeper.was_set
        set_ago = _since(at)
        if apart and moved is not None:
            drift = -moved * 1000000 // apart
    return OrderedDict(
        clock=iso(seconds) if quality else None,
        quality=_QUALITIES[quality],
        since_2020_s=seconds if quality else None,
        uptime_s=keeper.uptime_s(),
        set_ago_s=set_ago,
        moved_s=moved,
        drift_ppm=drift,
        known_before=iso(console.node.bootlog.good) if console.node.bootlog.good else None,
    )


async def mem(console, words):
    """The heap, before and after a collection."""
    before = gc.mem_free()
    gc.collect()
    free, used = gc.mem_free(), gc.mem_alloc()
    return OrderedDict(used_bytes=used, free_bytes=free, total_bytes=used + free, garbage_bytes=max(0, free - before))


async def df(console, words):
    """The filesystem the node's settings are on."""
    stat = os.statvfs("")
    block, total, free = stat[0], stat[2], stat[3]
    return OrderedDict(total_kb=total * block // 1024, used_kb=(total - free) * block // 1024,
                       free_kb=free * block // 1024, block_bytes=block)  # fmt: skip


def iso(seconds):
    """Seconds since 2020 as 2026-11-21T13:00:00Z (civil from days, Howard Hinnant)."""
    days, rest = seconds // 86400 + _EPOCH_DAYS + 719468, seconds % 86400
    era, day_of_era = days // 146097, days % 146097
    year = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day = day_of_era - (365 * year + year // 4 - year // 100)
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month += 3 if month < 10 else -9
    year += era * 400 + (month <= 2)
    return "%04d-%02d-%02dT%02d:%02d:%02dZ" % (year, month, day, rest // 3600, rest // 60 % 60, rest % 60)


def _erases(store):
    """How often the sectors of each ring were opened, fewest and most, which takes an erase each."""
    found = []
    for name in _RINGS:
        fewest, most = getattr(store, name).opened()
        found.append("%s %d..%d" % (name, fewest, most) if fewest < most else "%s %d" % (name, most))
    return ", ".join(found)


def _life_years(node):
    """How long the flash lasts if all goes on as while the journal took its rows, by the ring worn most; None until
    that has come round once. The sensor asked most often tells the rows of a year.
    """
    store = node.store
    most = max([getattr(store, name).opened()[0] for name in _RINGS])
    rows = store.journal.range()[2] - 1
    if not most or not rows:
        return None
    a_year = 86400 // min(node.intervals) * 365
    return _ENDURANCE // max(1, a_year // max(1, rows // most))


def _firmware():
    return "%d.%d.%d" % (release.FIRMWARE >> 16, release.FIRMWARE >> 8 & 255, release.FIRMWARE & 255)


def _since(at):
    return max(0, ticks.ticks_diff(ticks.ticks_ms(), at)) // 1000


def _unreleased(ring):
    oldest, released, following = ring.range()
    return following - max(oldest, released + 1)
