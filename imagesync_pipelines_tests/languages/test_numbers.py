"""Numbers, dates and spans of time in four languages; English is as it always was."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from imagesync_pipelines.languages import numbers, speaking

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 3, 1, 23, 5, tzinfo=UTC)
WIDE = "\xa0"


@pytest.mark.parametrize(
    ("say", "values", "expected"),
    [
        (numbers.number, (1234567,), ("1,234,567", "1.234.567", f"1{WIDE}234{WIDE}567", "1.234.567")),
        (numbers.number, (None,), ("–", "–", "–", "–")),
        (numbers.fixed, (12.345, 1), ("12.3", "12,3", "12,3", "12,3")),
        (numbers.fixed, (12.6, 0), ("13", "13", "13", "13")),
        (numbers.share, (0.9837,), ("98.4 %", f"98,4{WIDE}%", f"98,4{WIDE}%", "98,4%")),
        (numbers.share, (0.99999,), ("99.9 %", f"99,9{WIDE}%", f"99,9{WIDE}%", "99,9%")),
        (numbers.share, (1,), ("100 %", f"100{WIDE}%", f"100{WIDE}%", "100%")),
        (numbers.size, (1_250_000,), ("1.2 MB", "1,2 MB", "1,2 MB", "1,2 MB")),
        (numbers.size, (3400,), ("3.4 kB", "3,4 kB", "3,4 kB", "3,4 kB")),
        (numbers.day, (date(2026, 5, 2),), ("2 May 2026", "2. Mai 2026", "2 мая 2026\u202fг.", "2 Mei 2026")),
        (
            numbers.moment,
            (AT, BERLIN),
            ("2 Mar 2026, 00:05", "2. März 2026, 00:05", "2 мар. 2026\u202fг., 00:05", "2 Mar 2026, 00:05"),
        ),
        (numbers.rewritten, ("1,234.5",), ("1,234.5", "1.234,5", f"1{WIDE}234,5", "1.234,5")),
        (numbers.rewritten, ("98%",), ("98%", "98%", "98%", "98%")),
        (numbers.rewritten, ("93.3 %",), ("93.3 %", "93,3\u00a0%", "93,3\u00a0%", "93,3%")),
        (numbers.rewritten, ("803721",), ("803721", "803721", "803721", "803721")),
        (numbers.rewritten, ("1.2.3",), ("1.2.3", "1.2.3", "1.2.3", "1.2.3")),
    ],
)
def test_numbers_and_dates_are_as_the_language_writes_them(
    say: Callable[..., str], values: tuple[Any, ...], expected: tuple[str, ...]
) -> None:
    said = []
    for language in ("en", "de", "ru", "id"):
        with speaking(language):
            said.append(say(*values))
    assert tuple(said) == expected


@pytest.mark.parametrize("language", ["de", "ru", "id"])
def test_each_span_of_time_is_said_in_the_language(language: str) -> None:
    spans = [timedelta(0), timedelta(minutes=5), timedelta(hours=2), timedelta(days=3), timedelta(days=70)]
    now = AT + timedelta(days=800)
    english = [numbers.ago(now - one, now) for one in [*spans, timedelta(days=800)]] + [numbers.ago(None, now)]
    with speaking(language):
        said = [numbers.ago(now - one, now) for one in [*spans, timedelta(days=800)]] + [numbers.ago(None, now)]
    assert not set(said) & set(english)
