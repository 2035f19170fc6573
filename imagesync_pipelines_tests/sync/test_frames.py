"""Frames that are not as described are refused with a line that says what is wrong and where."""

import pandas as pd
import pytest

from imagesync_pipelines.sync.frames import PLAN_COLUMNS, among, check_columns, check_rows
from imagesync_pipelines.sync.model import Scope
from imagesync_pipelines.sync.plan import build_plan
from imagesync_pipelines_tests.sync.fakes import frame, rejects

GOOD = frame(("a", "g", 1, "f1", "c1"), ("b", "g", None, "f2", None))
EVERYTHING = Scope(None, None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param(GOOD.drop(columns="fingerprint"), "wanted: the columns fingerprint are missing", id="no column"),
        pytest.param(GOOD.assign(key=[None, "b"]), "wanted: 1 rows have no key", id="null key"),
        pytest.param(GOOD.assign(group=None), "wanted: 2 rows have no group", id="null group"),
        pytest.param(GOOD.assign(fingerprint=["f", None]), "wanted: 1 rows have no fingerprint", id="null fingerprint"),
        pytest.param(GOOD.assign(key="a"), "wanted: 1 keys are there more than once, such as 'a'", id="key twice"),
        pytest.param(GOOD.assign(position=[1.5, 2]), "wanted: position must be a whole number", id="half a position"),
        pytest.param(GOOD.assign(position=["x", "y"]), "wanted: position must be a whole number", id="text position"),
    ],
)
def test_a_bad_frame_is_refused(bad: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_plan(bad, GOOD, EVERYTHING)


def test_the_line_names_the_frame_that_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"^current: "):
        build_plan(GOOD, GOOD.assign(key="a"), EVERYTHING)


def test_wanted_rows_outside_the_scope_are_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="wanted: 2 rows lie outside the scope, such as 'a', 'b'"):
        build_plan(GOOD, GOOD, Scope(frozenset({"h"}), None))


def test_a_key_that_changes_its_group_is_refused_because_groups_are_written_side_by_side() -> None:
    with pytest.raises(ValueError, match="1 keys have another group in wanted than in current, such as 'b'"):
        build_plan(GOOD, GOOD.assign(group=["g", "h"]), EVERYTHING)


def test_a_wanted_key_that_lies_outside_the_scope_in_current_is_refused() -> None:
    with pytest.raises(ValueError, match="1 wanted keys lie in current outside the scope, such as 'b'"):
        build_plan(GOOD, GOOD.assign(group=["g", "h"]), Scope(frozenset({"g"}), None))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param(rejects(("a", "g", "x")).drop(columns="reason"), "rejected: the columns reason", id="no column"),
        pytest.param(rejects(("a", "g", "x")).assign(key=None), "rejected: 1 rows have no key", id="null key"),
        pytest.param(rejects(("a", "g", "x")).assign(reason=None), "rejected: 1 rows have no reason", id="null reason"),
    ],
)
def test_bad_rejects_are_refused(bad: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_plan(GOOD, GOOD, EVERYTHING, rejected=bad)


def test_a_plan_without_its_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="plan: the columns key, key_before, group"):
        check_columns(pd.DataFrame({"change": []}), "plan", PLAN_COLUMNS)


def test_loose_types_as_a_csv_or_a_query_gives_them_are_taken() -> None:
    loose = pd.DataFrame(
        {"key": ["a"], "group": ["g"], "position": [1.0], "fingerprint": ["f1"], "content": [None], "payload": [b"x"]}
    )
    rows = check_rows(loose.astype({"key": object}), "wanted")
    assert rows.dtypes.astype(str).to_dict() == {
        "key": "str",
        "group": "str",
        "position": "Int64",
        "fingerprint": "str",
        "content": "str",
    }


def test_membership_is_that_of_isin_with_nothing_for_na() -> None:
    values, members = pd.Series(["a", "b", None, "c"], dtype="str"), pd.Series(["c", "a", "z"], dtype="str")
    assert list(among(values, members)) == [True, False, False, True]
    assert not among(values, members.iloc[:0]).any()
