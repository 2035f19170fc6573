"""The history of effects: noted in the caller's transaction, with one statement, and read as it was noted."""

import json
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.storage.effect_frames import _as_json, note_rows
from imagesync_pipelines.storage.effects import (
    TAKEN_AWAY,
    Author,
    Effect,
    EffectRow,
    _told,
    effects_about,
    effects_of_group,
    effects_of_run,
    effects_on_picture,
    effects_to_undo,
    has_untold,
    known_since,
    note_effects,
    take_untold,
    took_away,
)
from imagesync_pipelines.storage.subscriptions import NewSubscription, add
from imagesync_pipelines.sync.timeline import _image, called, lines_of

RUN = Author("run 1", plan_id=7)
ANNA = Author(person="anna")
ADDED = EffectRow("12/a", "add", "new", fingerprint_after="f1")
CHANGED = EffectRow(
    'ключ "12"/b\\', "update", "changed\n", "12/a", 2, 1, "f1", "f2", before={"is_primary": True, "alt_text": "Ängel"}
)
GONE = EffectRow("12/c", "remove", "gone", key_before="12/c", fingerprint_before="f", lost="its bytes were not kept")


def frame(rows: list[tuple[str, EffectRow]]) -> pd.DataFrame:
    """Rows with their groups as note_rows takes them."""
    found = pd.DataFrame([{"group": group, **asdict(row)} for group, row in rows])
    for name in ("before", "after"):
        found[name] = [None if value is None else json.dumps(value) for value in found[name]]
    return found.astype({"position": "Int64", "position_before": "Int64"})


def noted(effects: list[Effect]) -> list[tuple[Any, ...]]:
    return [(one.connector, one.account, one.group, one.rows, one.by) for one in effects]


def test_effects_are_read_as_they_were_noted_newest_last(database: sa.Engine) -> None:
    first = Effect("edge", "harbour", "g", (ADDED, CHANGED), RUN)
    second = Effect("edge", "harbour", "g", (GONE,), Author("run 2", "anna", 8, "run 1"))
    with database.begin() as connection:
        note_effects(connection, [first, Effect("edge", "hill", "g", (ADDED,), RUN)])
    with database.begin() as connection:
        note_effects(connection, [second])
    found = effects_of_group(database, "edge", "harbour", "g")
    assert noted(found) == noted([first, second])
    assert found[0].at is not None
    assert found[1].at is not None
    with database.connect() as connection:
        assert known_since(connection) < found[0].at < found[1].at
    assert noted(effects_of_run(database, "run 1")) == noted([first, Effect("edge", "hill", "g", (ADDED,), RUN)])


def test_what_an_undo_writes_again_is_read_to_the_last_digit(database: sa.Engine) -> None:
    row = EffectRow("a", "remove", "gone", "a", before={"metadata": {"n": 0}, "alt_text": None})
    with database.begin() as connection:
        note_effects(connection, [Effect("folder", "", "g", (ADDED, row), RUN)] * 2)
        note_effects(connection, [Effect("edge", "", "g", (ADDED,), RUN)])
        exact = "UPDATE imagesync.effect SET rows = CAST(replace(rows::text, '\"n\": 0', '\"n\": 1.10') AS jsonb)"
        connection.exec_driver_sql(exact)
    found = list(effects_to_undo(database, "run 1", "folder"))
    again = replace(row, before={"metadata": '{"n": 1.10}', "alt_text": None})
    assert noted(found) == noted([Effect("folder", "", "g", (ADDED, again), RUN)] * 2)
    assert found[0].id < found[1].id


def test_what_is_about_a_group_is_found_in_all_accounts_since_then_and_page_by_page(database: sa.Engine) -> None:
    with database.begin() as connection:
        owners = ("harbour", "hill", "harbour")
        note_effects(connection, [Effect("edge", one, "g", (ADDED,), RUN) for one in owners])
        note_effects(connection, [Effect("edge", "harbour", "other", (ADDED,), RUN)])
        note_effects(connection, [Effect("plytix", "harbour", "g", (ADDED,), RUN)])
    with database.connect() as connection:
        found = effects_about(connection, [("edge", "g")])
        assert [one.account for one in found] == list(owners)
        assert effects_about(connection, [("edge", "g")], limit=2) == found[1:]
        assert effects_about(connection, [("edge", "g")], limit=2, before=found[1].id) == found[:1]
        assert effects_about(connection, [("edge", "g")], after=found[0].at) == found[1:]
        assert len(effects_about(connection, [("edge", "g"), ("plytix", "g")])) == 4
        assert effects_about(connection, []) == []


def test_an_effect_that_another_database_noted_keeps_its_moment(database: sa.Engine) -> None:
    with database.begin() as connection:
        note_effects(connection, [Effect("edge", "harbour", "g", (ADDED,), ANNA)])
    earlier = effects_of_group(database, "edge", "harbour", "g")[0].at
    with database.begin() as connection:
        note_effects(connection, [Effect("edge", "harbour", "copied", (ADDED,), ANNA, earlier)])
    assert effects_of_group(database, "edge", "harbour", "copied")[0].at == earlier


@pytest.mark.parametrize("groups", [1, 40])
def test_rows_of_a_frame_are_one_effect_for_each_group(database: sa.Engine, groups: int) -> None:
    rows = [(str(group), row) for row in (ADDED, CHANGED, GONE) for group in range(groups)]
    with database.begin() as connection:
        note_rows(connection, "folder", "", RUN, frame(rows))
    found = effects_of_run(database, "run 1")
    assert noted(found) == [("folder", "", str(group), (ADDED, CHANGED, GONE), RUN) for group in range(groups)]


def test_effects_of_two_transactions_at_once_wait_to_be_told_and_none_is_passed_over(database: sa.Engine) -> None:
    """Numbers are given before a transaction ends: the lower ones may come later."""

    def told() -> list[str]:
        with database.begin() as connection:
            return [one.group for one in take_untold(connection, 10)]

    add(database, NewSubscription("shop", "standard", "https://x", "env:X", connectors=["edge", "folder"]))
    with database.connect() as slow, slow.begin():
        note_effects(slow, [Effect("edge", "a", "slow", (ADDED,), RUN)])
        with database.begin() as connection:
            effects = [Effect(name, "a", name, (ADDED,), RUN) for name in ("edge", "plytix")]
            note_effects(connection, effects)
            note_rows(connection, "folder", "", RUN, frame([("own", ADDED)]))
        with suppress(InterruptedError), database.begin() as connection:
            assert [one.group for one in take_untold(connection, 10)] == ["edge"]
            raise InterruptedError("killed before what is told of them is committed")
        assert told() == ["edge"], "nobody asked for Plytix; our own product images are told as /changes has them"
    with database.connect() as connection:
        assert has_untold(connection)
    assert told() == ["slow"]
    assert told() == []


def test_what_took_excluded_products_away_is_known_by_one_effect_of_its_plan(database: sa.Engine) -> None:
    """Each group of an undo asks: all rows of a run with a million groups would be read a million times."""
    away = replace(GONE, reason=TAKEN_AWAY)
    flag = Effect("image_db", "", "12", (EffectRow("12/a", "primary", "by the rules"),), Author("away"))
    with database.begin() as connection:
        mine = Author("away", plan_id=8)
        note_effects(connection, [flag, Effect("image_db", "", "12", (away,), mine)])
        note_effects(connection, [Effect("image_db", "", str(group), (GONE,), RUN) for group in range(3)])
        asked = list[str]()
        sa.event.listen(connection, "before_cursor_execute", lambda *said: asked.append(said[2]))
        assert [took_away(connection, run) for run in ("away", "run 1", "none")] == [True, False, False]
    assert not any("@>" in said for said in asked)


def test_nothing_is_said_of_nothing(database: sa.Engine) -> None:
    seen: list[str] = []
    sa.event.listen(database, "before_cursor_execute", lambda *told: seen.append(told[2]))
    with database.begin() as connection:
        note_effects(connection, [])
        note_rows(connection, "folder", "", RUN, frame([("1", ADDED)]).iloc[:0])
    assert seen == []


def test_what_a_foreign_text_has_that_no_database_keeps_is_replaced(database: sa.Engine) -> None:
    with database.begin() as connection:
        note_effects(connection, [Effect("edge", "a", "g", (EffectRow("k\0", "add", "\ud800"),), ANNA)])
    assert effects_of_group(database, "edge", "a", "g")[0].rows == (EffectRow("k\ufffd", "add", "?"),)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
rows_of_any_kind = st.builds(
    EffectRow,
    texts,
    texts,
    texts,
    key_before=st.none() | texts,
    position=st.none() | st.integers(-(2**40), 2**40),
    fingerprint_before=st.none() | texts,
    fingerprint_after=st.none() | texts,
    before=st.none() | st.dictionaries(texts, st.booleans() | texts, max_size=2),
    lost=st.none() | texts,
)


@given(rows=st.lists(rows_of_any_kind, min_size=1, max_size=5))
def test_columns_say_as_json_what_rows_say(rows: list[EffectRow]) -> None:
    assert [json.loads(text) for text in _as_json(frame([("g", row) for row in rows])).to_pylist()] == [
        _told(row) for row in rows
    ]


def test_of_a_picture_in_a_run_only_that_is_read_with_all_its_names(database: sa.Engine) -> None:
    def renamed(group: str, old: str, new: str) -> Effect:
        row = EffectRow(f"{group}/{new}", "update", "renamed", f"{group}/{old}", fingerprint_after="f")
        return Effect("image_db", "", group, (EffectRow(f"{group}/z", "add", "new"), row), RUN)

    chain = [renamed("1", "a", "b"), renamed("2", "c", "b"), renamed("1", "b", "d/e")]
    others = [
        renamed("3", "x", "y"),
        Effect("image_db", "", "4", (EffectRow("4/ab", "update", "changed", "4/ab"),), RUN),
    ]
    others.append(Effect("image_db", "", "1", (EffectRow("1/a", "add", "new"),), Author("run 2")))
    alone = Effect("edge", "s", "g", (EffectRow("no-product", "remove", "gone"),), RUN)
    with database.begin() as connection:
        note_effects(connection, [chain[0], others[0], chain[1], others[1], others[2], chain[2], alone])
    everything = effects_of_run(database, "run 1")
    for image in ("a", "c", "d/e", "z", "y", "ab", "no-product", "nothing", "%"):
        found, names = effects_on_picture(database, "run 1", image, 100)
        assert names == called(everything, image)
        told = [line for line in lines_of(everything) if line.image in names]
        assert [line for line in lines_of(found) if line.image in names] == told
        assert {one.id for one in found} == {
            one.id for one in everything if any(_image(row.key) in names for row in one.rows)
        }
    assert effects_on_picture(database, "run 1", "a", 100)[1] == {"a", "b", "c", "d/e"}
    assert noted(effects_on_picture(database, "run 1", "a", 2)[0]) == noted([chain[1], chain[2]])
