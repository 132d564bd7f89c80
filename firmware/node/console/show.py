"""An answer, a dict, for people: a line for each key, a table for each list of dicts.

The end of a key is the unit of its value: `uptime_s` 53 reads "uptime  53 s".
"""

_UNITS = {"s": "s", "ms": "ms", "mv": "mV", "kb": "KB", "dbm": "dBm", "ppm": "ppm", "bytes": "bytes"}


def lines(answer):
    """The answer's lines, one after another. None is shown as -."""
    plain = [(name(key), text(value, key)) for key, value in answer.items() if not _is_table(value)]
    width = max([len(key) for key, _ in plain] or [0])
    for key, value in plain:
        yield ("%-" + str(width) + "s  %s") % (key, value)
    for value in answer.values():
        if _is_table(value):
            yield from _table(value)


def name(key):
    """The key without its unit, with spaces."""
    stem, _, unit = key.rpartition("_")
    return (stem if unit in _UNITS and stem else key).replace("_", " ")


def text(value, key=""):
    """One value, with the unit that its key ends in."""
    if value is None:
        return "-"
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join([text(each) for each in value]) or "-"
    if isinstance(value, dict):
        return ", ".join(["%s %s" % (name(each), text(value[each], each)) for each in value]) or "-"
    unit = _UNITS.get(key.rpartition("_")[2]) if isinstance(value, int) else None
    return "%d %s" % (value, unit) if unit else str(value)


def _is_table(value):
    return isinstance(value, list) and len(value) > 0 and isinstance(value[0], dict)


def _table(rows):
    keys = list(rows[0])
    cells = [[name(key) for key in keys]] + [[text(row.get(key), key) for key in keys] for row in rows]
    widths = [max([len(row[i]) for row in cells]) for i in range(len(keys))]
    for row in cells:
        yield "  ".join([("%-" + str(widths[i]) + "s") % row[i] for i in range(len(keys))]).rstrip()
