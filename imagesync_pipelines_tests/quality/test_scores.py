"""Main pictures are judged when they are due, and asked for: on a real database."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.quality.queries import (
    Asked,
    NotMeasured,
    Score,
    Step,
    not_measured,
    pictures,
    steps_of,
    summary,
    trend,
    what_next,
)
from imagesync_pipelines.quality.rules import rule_sets
from imagesync_pipelines.quality.scores import Judged, judge_due
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_measure, picture_score, quality_day
from imagesync_pipelines_tests.quality.rows import measure, show

SETTINGS = QualitySettings(channels="plytix=amazon,own edge=own", rules_folder=None)
MONDAY, TUESDAY = (datetime(2026, 11, day, 23, tzinfo=UTC) for day in (23, 24))
WRITTEN = (picture_score, quality_day)


def state(engine: sa.Engine) -> list[Any]:
    """Every row that judging writes, with what tells that it was written again."""
    with engine.connect() as connection:
        queries = (sa.select(sa.column("xmin"), table).order_by(*table.primary_key) for table in WRITTEN)
        return [tuple(row) for query in queries for row in connection.execute(query)]


def scores(engine: sa.Engine) -> dict[tuple[str, str], int]:
    with engine.connect() as connection:
        query = sa.select(picture_score.c.rule_set, picture_score.c.code, picture_score.c.score)
        return {(rule_set, code): score for rule_set, code, score in connection.execute(query)}


def change(engine: sa.Engine, statement: sa.Executable) -> None:
    with engine.begin() as connection:
        connection.execute(statement)


@pytest.fixture
def shop(database: sa.Engine) -> sa.Engine:
    """Four listings: a fine one, one on grey, one that is small on grey, one not measured; and one of a store."""
    measure(database, "fine")
    measure(database, "grey", white_background=0.2)
    measure(database, "small", white_background=0.2, width=400, height=400)
    show(database, "A", "fine")
    show(database, "A", "grey", key="2", is_main=False)
    show(database, "B", "grey")
    show(database, "C", "small", kind="bundle", product_id=7)
    show(database, "D", problem="it is no picture")
    show(database, "S", "small", connector="edge", account="berlin")
    return database


def test_only_what_is_due_is_judged_and_a_second_time_writes_nothing(shop: sa.Engine) -> None:
    assert judge_due(shop, SETTINGS, MONDAY) == Judged(7, 0, ())
    assert scores(shop) == {
        ("amazon", "A"): 100, ("amazon", "B"): 50, ("amazon", "C"): 21, ("own", "A"): 100, ("own", "B"): 100,
        ("own", "C"): 48, ("own", "S"): 48,
    }  # fmt: skip
    before = state(shop)
    assert judge_due(shop, SETTINGS, MONDAY) == Judged()
    assert state(shop) == before
    # Words were looked for; another picture is the main one; a measure is a newer one; nobody shows a listing.
    shown, kept = channel_picture.c, picture_measure.c
    change(shop, picture_measure.update().where(kept.sha256 == "fine").values(words=["SALE"], words_by="reader"))
    change(shop, channel_picture.update().where(shown.code == "B").values(sha256="fine", version="2"))
    change(shop, picture_measure.update().where(kept.sha256 == "small").values(measured_by="2", width=2000))
    change(shop, channel_picture.delete().where(shown.code == "S"))
    assert judge_due(shop, SETTINGS, MONDAY) == Judged(6, 1, ())
    assert scores(shop)["amazon", "B"] == 50
    assert scores(shop)["amazon", "C"] == 50


def test_other_rules_and_other_channels_judge_again_and_no_rule_set_that_cannot_be_read(
    shop: sa.Engine, tmp_path: Path
) -> None:
    judge_due(shop, SETTINGS, MONDAY)
    file = tmp_path / "own.toml"
    rule = (
        'id = "a"\ntitle = "A"\nmeasure = "longer_side"\nat_least = 5000\nseverity = "rank"\nsays = "x"\nsure = "ours"'
    )
    file.write_text(f'name = "O"\n[[rules]]\n{rule}', encoding="utf-8")
    ours = QualitySettings(channels="plytix=own,ours", rules_folder=tmp_path)
    (tmp_path / "ours.toml").write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    # Amazon's scores, and that of the store, are asked for no more.
    assert judge_due(shop, ours, MONDAY) == Judged(6, 4, ())
    (tmp_path / "ours.toml").write_text("name =", encoding="utf-8")
    found = judge_due(shop, ours, MONDAY)
    assert (found.judged, found.forgotten) == (0, 0)
    assert found.problems[0].startswith("ours.toml is set aside: ")
    assert scores(shop)["ours", "A"] == 93


def test_a_picture_that_is_not_measured_yet_has_no_score_of_the_one_before(shop: sa.Engine) -> None:
    judge_due(shop, SETTINGS, MONDAY)
    change(shop, channel_picture.update().where(channel_picture.c.code == "A").values(sha256=""))
    assert judge_due(shop, SETTINGS, MONDAY) == Judged(0, 2, ())
    with shop.connect() as connection:
        assert not_measured(connection) == [NotMeasured("plytix", "default", 2, 1, "it is no picture")]


def test_the_summary_has_the_day_of_judging_before_and_the_trend_every_day(shop: sa.Engine) -> None:
    judge_due(shop, SETTINGS, MONDAY)
    change(shop, channel_picture.update().where(channel_picture.c.code == "B").values(sha256="fine"))
    change(shop, channel_picture.delete().where(channel_picture.c.code == "S"))
    judge_due(shop, SETTINGS, TUESDAY)
    monday, tuesday = MONDAY.date(), TUESDAY.date()
    with shop.connect() as connection:
        assert [(one[:4], one.now, one.before) for one in summary(connection)] == [
            (("amazon", "plytix", "default", "bundle"), Score(tuesday, 1, 1, 21), Score(monday, 1, 1, 21)),
            (("own", "plytix", "default", "bundle"), Score(tuesday, 1, 1, 48), Score(monday, 1, 1, 48)),
            (("amazon", "plytix", "default", "product"), Score(tuesday, 2, 0, 100), Score(monday, 2, 1, 75)),
            (("own", "plytix", "default", "product"), Score(tuesday, 2, 0, 100), Score(monday, 2, 0, 100)),
        ]
        assert trend(connection, Asked(rule_set="amazon")) == [
            Score(monday, 3, 2, 57), Score(tuesday, 3, 1, pytest.approx(73.67, abs=0.01)),
        ]  # fmt: skip
    change(shop, channel_picture.delete())
    judge_due(shop, SETTINGS, TUESDAY)
    with shop.connect() as connection:
        assert summary(connection) == []


ASKED: list[tuple[Asked, list[tuple[str, str]]]] = [
    (
        Asked(),
        [("amazon", "C"), ("own", "S"), ("own", "C"), ("amazon", "B"), ("amazon", "A"), ("own", "A"), ("own", "B")],
    ),
    (Asked(rule_set="amazon"), [("amazon", "C"), ("amazon", "B"), ("amazon", "A")]),
    (Asked(rule_set="amazon", rule="size"), [("amazon", "C")]),
    (Asked(connector="edge"), [("own", "S")]),
    (Asked(account="berlin"), [("own", "S")]),
    (Asked(kind="bundle"), [("amazon", "C"), ("own", "C")]),
    (Asked(highest=50, connector="plytix"), [("amazon", "C"), ("own", "C"), ("amazon", "B")]),
    (Asked(product_ids=[7, 8]), [("amazon", "C"), ("own", "C")]),
    (Asked(code="A", rule_set="own"), [("own", "A")]),
    (Asked(to_do="larger"), [("amazon", "C"), ("own", "S"), ("own", "C")]),
    (Asked(to_do="cut_out"), [("amazon", "C"), ("amazon", "B")]),
    (Asked(to_do="cut_out", alone=True), [("amazon", "B")]),
    (Asked(rule_set="amazon", to_do="larger", alone=True), []),
    (Asked(rule_set="bol"), []),
]


def test_pictures_are_asked_for_the_worst_first_page_after_page(shop: sa.Engine) -> None:
    judge_due(shop, SETTINGS, MONDAY)
    known = rule_sets(SETTINGS)
    with shop.connect() as connection:
        for asked, expected in ASKED:
            found, after = [], None
            for _ in range(len(expected) + 1):
                page, after = pictures(connection, known, asked, after, limit=2)
                found += [(one.place.rule_set, one.place.code) for one in page]
                if after is None:
                    break
            assert found == expected, asked
        (worst, *_), _ = pictures(connection, known, Asked())
    assert (worst.place.score, worst.name, worst.kind, worst.product_id) == (21, "Name of C", "bundle", 7)
    assert [(one.rule, one.severity.value, one.to_do) for one in worst.why] == [
        ("background", "refused", "cut_out"), ("size", "refused", "larger"), ("zoom", "rank", "larger"),
    ]  # fmt: skip
    assert worst.why[1].sentence == "The longer side has 400 px: Amazon takes pictures from 500 px."
    assert worst.not_looked_at == ("text",)


def test_what_to_do_next_begins_with_what_frees_most(shop: sa.Engine) -> None:
    judge_due(shop, SETTINGS, MONDAY)
    known = rule_sets(SETTINGS)
    with shop.connect() as connection:
        assert what_next(connection, known) == [
            Step("own", "larger", 2, 2), Step("amazon", "cut_out", 2, 1), Step("amazon", "larger", 1, 0),
        ]  # fmt: skip
        assert what_next(connection, known, "edge", "berlin") == [Step("own", "larger", 1, 1)]
    # What only costs rank holds nothing back, so doing it frees nothing; a rule that is no more asks for nothing.
    broken = [("amazon", ["zoom"], 5), ("amazon", ["size", "zoom"], 2), ("amazon", ["gone"], 9), ("bol", ["size"], 9)]
    assert steps_of(known, broken) == [Step("amazon", "larger", 7, 2)]
