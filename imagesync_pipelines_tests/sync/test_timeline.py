"""What was done as lines for people."""

from datetime import UTC, datetime

import pytest

from imagesync_pipelines.storage.effects import NOBODY, Author, Effect, EffectRow
from imagesync_pipelines.sync.connector import PastPicture
from imagesync_pipelines.sync.timeline import Line, called, lines_of, who

AT = datetime(2026, 11, 30, 8, tzinfo=UTC)
OLD = {"image_url": "https://media.example.com/a%20b/old.jpg?x=1", "width": 10, "height": 20, "is_primary": True}
NEW = {"image_url": "https://media.example.com/new.jpg", "thumbnail_url": "https://media.example.com/new.png"}


def said(line: Line) -> tuple[str, str, str, str]:
    return line.image, line.what, line.before, line.after


def effect(*rows: EffectRow, by: Author = NOBODY) -> Effect:
    return Effect("image_db", "", "12", rows, by, AT)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (Author("0123456789ab"), "run 01234567"),
        (Author("0123456789ab", "anna"), "anna, run 01234567"),
        (Author(person="key till"), "key till"),
        (Author("0123456789ab", "anna", 7, "ffffffffffff"), "anna, run 01234567, undo of run ffffffff"),
        (NOBODY, "nobody who gave a name"),
    ],
)
def test_in_whose_name_it_was_done(by: Author, words: str) -> None:
    assert who(by) == words


def test_what_came_of_an_image_is_what_the_next_effect_found_or_what_is_there_now() -> None:
    effects = [
        effect(EffectRow("12/7", "add", "new")),
        effect(EffectRow("12/7", "update", "changed", "12/7", before=OLD)),
        effect(EffectRow("12/8", "update", "renamed", "12/7", before=NEW), EffectRow("12/9", "add", "new")),
        effect(EffectRow("12/8", "remove", "gone", "12/8", before=NEW, lost="its bytes were not kept")),
    ]
    lines = lines_of(effects, {("image_db", "", "12/9"): OLD})
    assert [said(line) for line in lines] == [
        ("8", "removed", "new.jpg", ""),
        ("8", "changed, before it was 7", "new.jpg", "new.jpg"),
        ("9", "added", "", "old.jpg 10 × 20"),
        ("7", "changed", "old.jpg 10 × 20", "new.jpg"),
        ("7", "added", "", "old.jpg 10 × 20"),
    ]
    assert (lines[0].lost, lines[0].why, lines[0].at) == ("its bytes were not kept", "gone", AT)
    assert (lines[3].past_before, lines[3].past_after) == (PastPicture("12/7", OLD, NEW), PastPicture("12/7", NEW, NEW))
    assert lines[0].past_before == PastPicture("12/8", NEW, is_last=True, is_lost=True)
    assert (lines[0].past_after, lines[2].past_after) == (None, PastPicture("12/9", OLD, OLD, is_last=True))
    assert [called(effects, name) for name in ("7", "8", "9", "1")] == [{"7", "8"}, {"7", "8"}, {"9"}, {"1"}]


def test_a_remote_system_says_itself_what_was_written() -> None:
    row = EffectRow("sku/k", "update", "changed", "sku/k", before={"name": "a.jpg"}, after={"name": "b.jpg"})
    assert said(lines_of([Effect("plytix", "main", "sku", (row,), at=AT)])[0]) == ("k", "changed", "a.jpg", "b.jpg")


def test_a_picture_that_only_moved_says_from_where_to_where() -> None:
    row = EffectRow(
        "product:1/k", "update", "moved", "product:1/k", position=0, position_before=2, after={"name": "a.jpg"}
    )
    line = lines_of([Effect("moysklad", "berlin", "product:1", (row,), at=AT)])[0]
    assert said(line) == ("k", "changed", "place 3", "a.jpg, place 1")


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (EffectRow("12/7", "primary", "r", before={"is_primary": True}), "no longer primary"),
        (EffectRow("12/7", "primary", "r", before={"is_primary": False}), "primary now"),
        (EffectRow("12/7", "pin", "r"), "chosen as primary"),
        (EffectRow("12/7", "order", "r"), "first in the order that a person gave the pictures"),
        (EffectRow("12/7", "something new", "r"), "something new"),
    ],
)
def test_what_is_no_change_of_a_picture_names_none(row: EffectRow, what: str) -> None:
    assert said(lines_of([effect(row)], {("image_db", "", "12/7"): OLD})[0]) == ("7", what, "", "")
