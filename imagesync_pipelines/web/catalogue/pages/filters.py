"""Numbers and moments as people read them."""

from datetime import datetime
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

_STEPS = ((60, "minute"), (3600, "hour"), (86_400, "day"), (30 * 86_400, "month"), (365 * 86_400, "year"))


def number(value: float | None) -> str:
    """1234567 as 1 234 567, with spaces that do not break; a dash for None."""
    return "–" if value is None else f"{value:,}".replace(",", "\u202f")


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago a moment was: "5 minutes ago", "3 days ago"; "never" for None."""
    if moment is None:
        return "never"
    seconds = (now - moment).total_seconds()
    if seconds < _STEPS[0][0]:
        return "just now"
    unit, name = next(((size, word) for size, word in reversed(_STEPS) if seconds >= size), _STEPS[0])
    count = int(seconds // unit)
    return f"{count} {name}{'' if count == 1 else 's'} ago"


def moment(value: datetime | None, zone: ZoneInfo) -> str:
    """A moment in the time zone of the installation, such as 21 Nov 2026, 13:08; a dash for None."""
    return "–" if value is None else value.astimezone(zone).strftime("%-d %b %Y, %H:%M")


def duration(seconds: float | None) -> str:
    """Seconds as 0.4 s, 12 s, 3 min 20 s, 2 h 5 min; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def megapixels(width: int | None, height: int | None) -> str:
    """The size of a picture, such as 1676 × 1280; "unknown" when it is not known."""
    return f"{width} × {height}" if width and height else "unknown"


def web_link(url: str | None) -> str:
    """The URL when a browser may be sent there, else ''; what comes from an upstream may be anything."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return ""
    return url or "" if parts.scheme in {"http", "https"} and parts.hostname else ""
