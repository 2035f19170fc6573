"""What is planned, rule by rule, with the reason a person reads."""

import pandas as pd
import pytest

from imagesync_pipelines.sync.frames import PLAN_COLUMNS
from imagesync_pipelines.sync.model import Proof, Scope, group_state
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines_tests.sync.fakes import Row, changes, frame, rejects

WHOLE = Scope(None, Proof(1, True, ""))
UNPROVEN = Scope(None, Proof(1, False, "page 3 is missing"))
PART = Scope(frozenset({"g"}), None)
A: Row = ("a", "g", 1, "f1", "c1")


@pytest.mark.parametrize(
    ("wanted", "current", "scope", "expected"),
    [
        pytest.param([A], [], WHOLE, [("add", "a", "new")], id="not there: added"),
        pytest.param([A], [A], WHOLE, [("keep", "a", "unchanged")], id="the same: kept"),
        pytest.param([A], [("a", "g", 1, "f0", "c1")], WHOLE, [("update", "a", "changed")], id="fingerprint: changed"),
        pytest.param([A], [("a", "g", 2, "f1", "c1")], WHOLE, [("update", "a", "position")], id="moved in its group"),
        pytest.param([A], [("a", "g", None, "f1", "c1")], WHOLE, [("update", "a", "position")], id="gets a position"),
        pytest.param([A], [("a", "g", 1, "f1", "c2")], WHOLE, [("keep", "a", "unchanged")], id="content is no change"),
        pytest.param([], [A], WHOLE, [("remove", "a", "no longer at the source")], id="not wanted: removed"),
        pytest.param([], [A], UNPROVEN, [("remove", "a", "no longer at the source")], id="the guard decides on proof"),
        pytest.param(
            [], [A], Scope(None, None, frozenset({"a"})), [("remove", "a", "deleted at the source")], id="source's word"
        ),
        pytest.param([], [("z", "h", 1, "f1", "c1")], PART, [], id="outside the scope nothing is planned"),
        pytest.param([], [], WHOLE, [], id="nothing at all"),
    ],
)
def test_a_row_is_planned_by_rule(
    wanted: list[Row], current: list[Row], scope: Scope, expected: list[tuple[str, str, str]]
) -> None:
    assert changes(build_plan(frame(*wanted), frame(*current), scope)) == expected


def test_the_same_content_under_a_new_key_is_one_update_of_the_old_row() -> None:
    plan = build_plan(frame(("b", "g", 2, "f2", "c1")), frame(A), WHOLE)
    assert plan.astype(object).to_dict("records") == [
        {
            "key": "b",
            "key_before": "a",
            "group": "g",
            "position": 2,
            "position_before": 1,
            "change": "update",
            "reason": "renamed",
            "fingerprint_before": "f1",
            "fingerprint_after": "f2",
        }
    ]


@pytest.mark.parametrize(
    ("new", "old", "scope", "match_position"),
    [
        pytest.param(("b", "g", 1, "f1", "c1"), A, UNPROVEN, False, id="the old key is not proven to be gone"),
        pytest.param(("b", "h", 1, "f1", "c1"), A, WHOLE, False, id="in another group"),
        pytest.param(("b", "g", 1, "f1", None), ("a", "g", 1, "f1", None), WHOLE, False, id="no content to compare"),
        pytest.param(("b", "g", 1, "f1", "c2"), A, WHOLE, False, id="positions are not compared"),
        pytest.param(("b", "g", None, "f1", "c2"), ("a", "g", None, "f1", "c1"), WHOLE, True, id="no position"),
    ],
)
def test_what_is_no_rename_is_an_addition_and_a_removal(new: Row, old: Row, scope: Scope, match_position: bool) -> None:
    plan = build_plan(frame(new), frame(old), scope, match_position=match_position)
    assert sorted(plan["change"]) == ["add", "remove"]


def test_the_same_position_under_a_new_key_is_a_rename_when_positions_are_compared() -> None:
    plan = build_plan(frame(("b", "g", 1, "f1", "c2")), frame(A), WHOLE, match_position=True)
    assert list(zip(plan["key_before"], plan["key"], plan["change"], strict=True)) == [("a", "b", "update")]


def test_content_goes_before_position_and_several_of_the_same_content_pair_by_position() -> None:
    current = frame(("o1", "g", 2, "f", "same"), ("o2", "g", 1, "f", "same"), ("o3", "g", 3, "f", "other"))
    wanted = frame(("n1", "g", 3, "f", "same"), ("n2", "g", 4, "f", "same"), ("n3", "g", 1, "f", "new"))
    plan = build_plan(wanted, current, WHOLE, match_position=True)
    found = {key: (change, before) for key, change, before in plan[["key", "change", "key_before"]].values}
    assert found["n1"] == ("update", "o2")
    assert found["n2"] == ("update", "o1")
    assert found["n3"][0] == "add", "position 1 was the place of a row that its content had claimed"
    assert found["o3"][0] == "remove"


def test_a_source_that_names_the_old_key_as_deleted_allows_the_rename_without_a_scan() -> None:
    plan = build_plan(frame(("b", "g", 1, "f1", "c1")), frame(A), Scope(frozenset({"g"}), None, frozenset({"a"})))
    assert changes(plan) == [("update", "b", "renamed")]


def test_a_wanted_key_is_wanted_even_if_the_source_also_calls_it_deleted() -> None:
    assert changes(build_plan(frame(A), frame(A), Scope(None, None, frozenset({"a"})))) == [("keep", "a", "unchanged")]


def test_force_rewrites_what_is_unchanged_and_removes_nothing_more() -> None:
    current = frame(A, ("b", "g", 2, "f", None))
    assert changes(build_plan(frame(A), current, WHOLE, force=True)) == [
        ("update", "a", "forced"),
        ("remove", "b", "no longer at the source"),
    ]


def test_a_rejected_key_keeps_its_row_for_that_reason_beside_a_row_that_tells_of_it() -> None:
    bad = rejects(("a", "g", "no file_id"), ("page 2, reject 1", None, "not an object"), ("x", "h", "elsewhere"))
    plan = build_plan(frame(), frame(A), Scope(frozenset({"g"}), None), rejected=bad)
    assert sorted(changes(plan)) == [
        ("keep", "a", "no file_id"),
        ("reject", "a", "no file_id"),
        ("reject", "page 2, reject 1", "not an object"),
    ]


def test_a_key_that_is_rejected_for_two_reasons_tells_both_and_keeps_its_row_once() -> None:
    bad = rejects(("a", "g", "no file_id"), ("a", "g", "no date"))
    assert changes(build_plan(frame(A), frame(A), WHOLE, rejected=bad)) == [
        ("keep", "a", "no date"),
        ("reject", "a", "no date"),
        ("reject", "a", "no file_id"),
    ]


def test_a_rejected_row_is_not_taken_for_the_old_name_of_a_new_one() -> None:
    plan = build_plan(frame(("b", "g", 1, "f1", "c1")), frame(A), WHOLE, rejected=rejects(("a", "g", "broken")))
    assert sorted(plan["change"]) == ["add", "keep", "reject"]


def test_the_plan_is_sorted_by_group_position_and_key_and_has_its_columns() -> None:
    wanted = frame(
        ("b", "h", None, "f", None), ("d", "g", 2, "f", None), ("c", "g", 1, "f", None), ("a", "h", 1, "f", None)
    )
    plan = build_plan(wanted, frame(), WHOLE)
    assert tuple(plan.columns) == PLAN_COLUMNS
    assert list(plan["key"]) == ["c", "d", "a", "b"]


def test_an_empty_plan_has_the_types_of_a_full_one() -> None:
    full, empty = build_plan(frame(A), frame(), WHOLE), build_plan(frame(), frame(), WHOLE)
    pd.testing.assert_series_equal(full.dtypes, empty.dtypes)


def test_the_digest_of_a_group_sees_keys_fingerprints_and_positions_but_not_their_order_or_content() -> None:
    rows = [("a", "g", 1, "f1", "c1"), ("b", "g", None, "f2", None)]
    state = group_states(frame(*rows))["g"]
    assert state == group_states(frame(*reversed(rows)))["g"] == group_state([("b", "f2", None), ("a", "f1", 1)])
    assert state == group_states(frame(("a", "g", 1, "f1", "other"), rows[1]))["g"]
    others = [
        [("a", "f1", 2), ("b", "f2", None)],
        [("a", "f0", 1), ("b", "f2", None)],
        [("c", "f1", 1), ("b", "f2", None)],
        [("a", "f1", 1)],
        [],
    ]
    assert len({state, *map(group_state, others)}) == 6


def test_texts_that_run_into_each_other_do_not_give_the_same_digest() -> None:
    assert group_state([("a", "bc", 1)]) != group_state([("ab", "c", 1)])
    assert group_state([("a', 'b", "c", 1)]) != group_state([("a", "b', 'c", 1)])
