"""Numbers, moments and plots as people see them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from imagesync_pipelines.web.catalogue.pages import rendering
from imagesync_pipelines.web.catalogue.pages.history import HEIGHT, WIDTH, counts_plot, durations_plot
from imagesync_pipelines_tests.web.catalogue.world import NOW, Run


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "just now"), (59, "just now"), (60, "1 minute ago"), (7199, "1 hour ago"), (86_400 * 2, "2 days ago"),
     (86_400 * 59, "1 month ago"), (86_400 * 800, "2 years ago")],
)  # fmt: skip
def test_ago_names_the_largest_unit(seconds: float, text: str) -> None:
    assert rendering.ago(NOW - timedelta(seconds=seconds), NOW) == text


def test_what_never_was_is_never_ago() -> None:
    assert rendering.ago(None, NOW) == "never"
    assert rendering.moment(None, ZoneInfo("UTC")) == "–"


def test_a_moment_is_told_in_the_time_zone_of_the_installation() -> None:
    assert rendering.moment(datetime(2026, 3, 1, 23, 5, tzinfo=UTC), ZoneInfo("Europe/Berlin")) == "2 Mar 2026, 00:05"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.44, "0.4 s"), (12.4, "12 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    assert rendering.duration(seconds) == text


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("`imagesync apply 3` carries it out", "<code>imagesync apply 3</code> carries it out"),
        ("`<b>` and <b>", "<code>&lt;b&gt;</code> and &lt;b&gt;"),
        ("a lone ` stays", "a lone ` stays"),
    ],
)
def test_commands_in_a_sentence_are_shown_as_code_and_all_else_is_escaped(sentence: str, shown: str) -> None:
    assert rendering.commands(sentence) == shown


@pytest.mark.parametrize(
    ("url", "is_link"),
    [("https://a.example/x.jpg", True), ("http://a.example", True), ("javascript:alert(1)", False),
     ("//a.example", False), ("data:text/html,x", False), ("https://", False), ("http://[bad", False), ("", False),
     (None, False)],
)  # fmt: skip
def test_only_web_addresses_become_links(url: str | None, is_link: bool) -> None:
    assert rendering.web_link(url) == (url if is_link else "")


def test_bars_stay_inside_and_the_newest_run_is_on_the_right() -> None:
    runs = [Run(job="new", added=5, updated=5, deleted=5), Run(job="old", added=100_000, updated=1, deleted=0)]
    plot = counts_plot(runs)
    assert [bar.kind for bar in plot.bars] == ["added", "updated", "added", "updated", "deleted"]
    assert plot.bars[0].title.startswith("Old")
    assert plot.largest == 100_001
    for bar in plot.bars:
        assert bar.x >= 0
        assert bar.x + bar.width <= WIDTH
        assert bar.y >= 0
        assert bar.y + bar.height <= HEIGHT + 2


def test_runs_without_numbers_draw_nothing() -> None:
    assert counts_plot([Run(added=None, updated=None, deleted=None)]).bars == []
    assert durations_plot([Run(completed=None)]).bars == []
    assert durations_plot([Run(status="failed")]).bars[0].kind == "failed"
