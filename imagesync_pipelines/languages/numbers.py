"""Numbers, sizes, shares, moments and spans of time as the language that is spoken writes them."""

import re
from datetime import date, datetime
from zoneinfo import ZoneInfo

from imagesync_pipelines.languages.current import ENGLISH, MARKED, current
from imagesync_pipelines.languages.texts import _, ngettext

# As `share` says it in English.
_SHARE = re.compile(r"\d+(?:\.\d+)? %")
_MINUTE, _HOUR, _DAY, _MONTH, _YEAR = 60, 3600, 86_400, 30 * 86_400, 365 * 86_400


def number(value: float | None) -> str:
    """1234567 as 1,234,567, as every sentence of ours writes it, or as the language groups it; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,}" if _is_english() else _decimal(value)


def fixed(value: float, digits: int) -> str:
    """A number with so many digits behind the point: 12.5."""
    if _is_english():
        return f"{value:.{digits}f}"
    from babel.numbers import format_decimal

    return str(format_decimal(value, format=f"#,##0.{'0' * digits}" if digits else "#,##0", locale=current()))


def share(value: float) -> str:
    """A share of 0 to 1 as 98.4 %; what falls short of all of it is never told as all."""
    percent = 100 if value >= 1 else float(f"{min(value, 0.999) * 100:.3g}")
    if _is_english():
        return f"{percent:.3g} %"
    from babel.numbers import format_percent

    return str(format_percent(round(percent / 100, 6), locale=current(), decimal_quantization=False))


def size(count: float) -> str:
    """Bytes as 1.2 MB, or 3.4 kB below a tenth of one."""
    return f"{fixed(count / 1e6, 1)} MB" if count >= 1e5 else f"{fixed(count / 1e3, 1)} kB"


def day(value: date) -> str:
    """A day, such as 21 Nov 2026."""
    if _is_english():
        return value.strftime("%-d %b %Y")
    from babel.dates import format_skeleton

    # A moment would be moved to UTC.
    return str(format_skeleton("yMMMd", date(value.year, value.month, value.day), locale=current()))


def moment(value: datetime | None, zone: ZoneInfo) -> str:
    """A moment in a time zone, such as 21 Nov 2026, 13:08; a dash for None."""
    if value is None:
        return "–"
    here = value.astimezone(zone)
    return f"{day(here)}, {here:%H:%M}"


def ago(value: datetime | None, now: datetime) -> str:
    """How long ago a moment was: "5 minutes ago", "3 days ago"; "never" for None."""
    if value is None:
        return _("never")
    seconds = (now - value).total_seconds()
    if seconds < _MINUTE:
        return _("just now")
    if seconds < _HOUR:
        n = int(seconds // _MINUTE)
        return ngettext("{n} minute ago", "{n} minutes ago", n).format(n=n)
    if seconds < _DAY:
        n = int(seconds // _HOUR)
        return ngettext("{n} hour ago", "{n} hours ago", n).format(n=n)
    if seconds < _MONTH:
        n = int(seconds // _DAY)
        return ngettext("{n} day ago", "{n} days ago", n).format(n=n)
    if seconds < _YEAR:
        n = int(seconds // _MONTH)
        return ngettext("{n} month ago", "{n} months ago", n).format(n=n)
    n = int(seconds // _YEAR)
    return ngettext("{n} year ago", "{n} years ago", n).format(n=n)


def duration(seconds: float | None) -> str:
    """Seconds as 0.4 s, 12 s, 3 min 20 s, 2 h 5 min; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return _("{seconds} s").format(seconds=fixed(seconds, 1))
    whole = round(seconds)
    if whole < _MINUTE:
        return _("{seconds} s").format(seconds=whole)
    if whole < _HOUR:
        return _("{minutes} min {seconds} s").format(minutes=whole // _MINUTE, seconds=whole % _MINUTE)
    return _("{hours} h {minutes} min").format(hours=whole // _HOUR, minutes=whole % _HOUR // _MINUTE)


def megapixels(width: int | None, height: int | None) -> str:
    """The size of a picture, such as 1676 × 1280; "unknown" when it is not known."""
    return f"{width} × {height}" if width and height else _("unknown")


def rewritten(english: str) -> str:
    """A number of an English sentence, such as 1,234.5, 98% or 93.3 %, as the language writes it; else as it is."""
    if _is_english():
        return english
    if _SHARE.fullmatch(english):
        return share(float(english[:-2]) / 100)
    plain = english.replace(",", "")
    is_share = plain.endswith("%")
    digits = len(plain.rstrip("%").partition(".")[2])
    try:
        value = float(plain.rstrip("%"))
    except ValueError:
        return english
    if "," not in english and "." not in english:
        return english
    written = fixed(value, digits)
    return f"{written}\u00a0%" if is_share else written


def _decimal(value: float) -> str:
    from babel.numbers import format_decimal

    return str(format_decimal(value, locale=current()))


def _is_english() -> bool:
    return current() in (ENGLISH, MARKED)
