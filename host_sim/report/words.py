"""How figures read on the page."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_UNITS = {"degC": "°C", "%RH": "% RH", "degF": "°F"}
_KINDS = {
    "wifi_out": "Wi-Fi out", "conn_reset": "connection reset", "db_locked": "database locked", "drip": "slow drip",
    "brown_out": "brown-out", "stall": "stalled peer", "slow": "20 kbit/s", "dns_out": "no name server",
    "refused": "connections refused", "conn_close": "connection closed", "half_open": "peer gone in silence",
}  # fmt: skip
_THIN = "\N{NARROW NO-BREAK SPACE}"


def moment(t_ms: int) -> datetime:
    """The simulated moment in UTC."""
    return _EPOCH + timedelta(milliseconds=t_ms)


def day(t_ms: int) -> str:
    """As in `1 Jun`."""
    at = moment(t_ms)
    return f"{at.day} {_MONTHS[at.month - 1]}"


def clock(t_ms: int) -> str:
    """As in `1 Jun 08:15:00`."""
    return f"{day(t_ms)} {moment(t_ms):%H:%M:%S}"


def kind(name: str) -> str:
    """The kind of a fault in words: `wifi_out` is `Wi-Fi out`."""
    return _KINDS.get(name, name.replace("_", " "))


def unit(name: str) -> str:
    """The unit as it is written: `degC` is `°C`."""
    return _UNITS.get(name, name)


def number(value: float) -> str:
    """Whole numbers with a thin space per thousand; others with one digit after the point."""
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"
    return text.replace(",", _THIN).replace("-", "\N{MINUS SIGN}")


def tick(value: float) -> str:
    """A label of an axis: as many digits as it needs."""
    return f"{value:,.6g}".replace(",", _THIN).replace("-", "\N{MINUS SIGN}")


def duration(ms: float) -> str:
    """The two largest units, such as `3 h 20 min`; under a minute seconds, under a second milliseconds."""
    if ms < 1000:
        return f"{round(ms)} ms"
    if ms < 59_950:
        return f"{ms / 1000:.1f}".removesuffix(".0") + " s"
    seconds = round(ms / 1000)
    parts = []
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size:
            parts.append(f"{seconds // size} {name}")
            seconds %= size
        elif parts:
            break
    return " ".join(parts[:2])


def size(count: int) -> str:
    """Bytes in kB or MB of a thousand."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.2f} MB"
