"""How times and kinds are written for a person."""

from datetime import datetime, timezone

from host_sim.status import Status


def moment(t_ms: int, seconds: bool = False) -> str:
    """Unix milliseconds as "3 Jun 09:05", or "3 Jun 09:05:07", UTC."""
    at = datetime.fromtimestamp(t_ms // 1000, timezone.utc)
    return f"{at.day:2} {at:%b %H:%M:%S}" if seconds else f"{at.day:2} {at:%b %H:%M}"


def duration(seconds: float) -> str:
    """Real seconds as "0:07", "12:34" or "1:02:03"."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def pace(status: Status) -> str:
    """How long it will take yet, or, at the end, took; nothing while nobody knows."""
    if status.share == 1:
        return f"{duration(status.real_s)} in all"
    return "" if status.left_s is None else f"{duration(status.left_s)} left"


def kind(name: str) -> str:
    """A kind of fault: "power cut" for power_cut."""
    return name.replace("_", " ")


def whom(node: str) -> str:
    """Whom a fault strikes."""
    return node or "cloud end"
