"""Which removals are held back, why, and what a person is told."""

from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from imagesync_pipelines.sync.guard import approved, guard
from imagesync_pipelines.sync.model import EFFECTS, DeletionLimits, Memory, Proof, Scope, Undone
from imagesync_pipelines.sync.plan import build_plan
from imagesync_pipelines_tests.sync.fakes import Row, changes, frame

PROVEN = Scope(None, Proof(7, True, ""))
OPEN = DeletionLimits(share=1.0, count=1000, bare=1000, floor=0)


def rows(count: int, groups: int = 1) -> list[Row]:
    return [(f"k{n:03}", f"g{n % groups:03}", None, "f", None) for n in range(count)]


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        pytest.param(Scope(None, Proof(7, False, "page 3 is missing")), "scan 7 .*page 3 is missing", id="incomplete"),
        pytest.param(Scope(None, Proof(7, False, "")), "scan 7 .*not complete", id="incomplete without a reason"),
        pytest.param(Scope(None, None), "only a part of the source was read", id="no scan"),
    ],
)
def test_without_proof_a_removal_becomes_a_keep_with_the_reason(scope: Scope, words: str) -> None:
    plan = build_plan(frame(), frame(*rows(2)), scope)
    guarded = guard(plan, scope, DeletionLimits(0, 0, 0, 0, lifted=True))
    assert set(guarded.plan["change"]) == {"keep"}
    assert guarded.plan["reason"].str.match(f"not judged: .*{words}").all()
    assert guarded.held.empty
    # A reading of a part says nothing of the rest, and that is no news.
    assert len(guarded.warnings) == (scope.proof is not None)
    assert all(warning.startswith("2 removals are not judged: ") for warning in guarded.warnings)


def test_the_sources_word_lets_that_very_item_go_and_no_other() -> None:
    scope = Scope(None, None, frozenset({"k001"}))
    guarded = guard(build_plan(frame(), frame(*rows(3)), scope), scope, OPEN)
    assert list(guarded.plan["change"]) == ["keep", "remove", "keep"]


@pytest.mark.parametrize(
    ("deletion_limits", "words"),
    [
        pytest.param(
            DeletionLimits(share=0.3, count=99, bare=99, floor=0), "4 removals of 10 rows are more than 30%", id="share"
        ),
        pytest.param(DeletionLimits(share=0.4, count=99, bare=99, floor=0), "", id="just the share"),
        pytest.param(
            DeletionLimits(share=0.3, count=99, bare=99, floor=4), "", id="up to the floor the share is not looked at"
        ),
        pytest.param(
            DeletionLimits(share=0.3, count=99, bare=99, floor=3), "more than 30%", id="above the floor it is"
        ),
        pytest.param(DeletionLimits(share=1.0, count=3, bare=99, floor=99), "4 removals are more than 3", id="count"),
        pytest.param(DeletionLimits(share=1.0, count=4, bare=99, floor=99), "", id="just the count"),
        pytest.param(
            DeletionLimits(share=1.0, count=99, bare=1, floor=99), "2 groups would be left without any row", id="bare"
        ),
        pytest.param(DeletionLimits(share=1.0, count=99, bare=2, floor=99), "", id="just as many bare groups"),
        pytest.param(DeletionLimits(share=0.0, count=0, bare=0, floor=0, lifted=True), "", id="lifted"),
    ],
)
def test_the_deletion_limits_trips_by_rule_and_holds_all_removals(deletion_limits: DeletionLimits, words: str) -> None:
    current = rows(10, groups=5)
    gone = {"g000", "g001"}
    plan = build_plan(frame(*(row for row in current if row[1] not in gone)), frame(*current), PROVEN)
    guarded = guard(plan, PROVEN, deletion_limits)
    assert len(guarded.held) == (4 if words else 0)
    assert guarded.held["reason"].str.contains(words).all()
    assert len(guarded.warnings) == (1 if words else 0)
    assert (guarded.plan["change"] == "remove").sum() == (0 if words else 4)
    if words:
        assert guarded.warnings[0].startswith("All 4 removals are held back: ")
        assert set(guarded.held["ruling"]) == {"limit"}


def test_the_deletion_limits_hold_removals_and_nothing_else() -> None:
    current = [("a", "g", 1, "f", None), ("b", "g", 2, "f", None), ("o", "g", 3, "f", "same")]
    wanted = [("a", "g", 1, "new", None), ("n", "g", 3, "f", "same"), ("z", "g", 4, "f", None)]
    plan = build_plan(frame(*wanted), frame(*current), PROVEN)
    guarded = guard(plan, PROVEN, DeletionLimits(0, 0, 0, 0))
    assert {key: change for change, key, _ in changes(guarded.plan)} == {
        "a": "update",
        "b": "keep",
        "n": "update",
        "z": "add",
    }


def test_a_rename_is_no_removal_for_the_deletion_limits() -> None:
    current = [(f"old{n}", "g", n, "f", f"c{n}") for n in range(20)]
    wanted = [(f"new{n}", "g", n, "f", f"c{n}") for n in range(20)]
    guarded = guard(build_plan(frame(*wanted), frame(*current), PROVEN), PROVEN, DeletionLimits(0, 0, 0, 0))
    assert set(guarded.plan["change"]) == {"update"}
    assert guarded.warnings == ()


def test_a_group_that_gets_another_row_is_not_left_bare() -> None:
    plan = build_plan(frame(("n", "g", 1, "f", None)), frame(("o", "g", 1, "f", None)), PROVEN)
    assert guard(plan, PROVEN, DeletionLimits(1.0, 99, 0, 0)).held.empty


def test_growth_never_holds_a_run_back() -> None:
    current = rows(10)
    wanted = [*current[1:], *((f"n{n}", f"h{n}", None, "f", None) for n in range(500))]
    guarded = guard(build_plan(frame(*wanted), frame(*current), PROVEN), PROVEN, DeletionLimits(0.1, 1, 0, 0))
    assert guarded.held.empty


@pytest.mark.parametrize(
    ("limits", "earlier", "held"),
    [
        pytest.param(DeletionLimits(0.3, 99, 99, 0), {}, 0, id="three of ten"),
        pytest.param(DeletionLimits(0.3, 99, 99, 0), {"x": "g"}, 3, id="and one of the day before"),
        pytest.param(DeletionLimits(1.0, 3, 99, 0), {"x": "g"}, 3, id="by number"),
        pytest.param(DeletionLimits(1.0, 99, 0, 0), {"x": "g"}, 3, id="by groups that are bare by now"),
        pytest.param(DeletionLimits(0.3, 99, 99, 0), {"k009": "g000"}, 0, id="it is there again"),
        pytest.param(DeletionLimits(0.3, 99, 99, 0), {"k000": "g000"}, 0, id="a run broke off before it went"),
    ],
)
def test_removals_of_the_last_day_count_together(limits: DeletionLimits, earlier: dict[str, str], held: int) -> None:
    current = rows(10)
    plan = build_plan(frame(*current[3:]), frame(*current), PROVEN)
    limits = replace(limits, memory=Memory(removed=earlier))
    assert len(guard(plan, PROVEN, limits).held) == held


def test_the_limits_are_those_of_the_whole_target_and_not_of_the_scope() -> None:
    scope = Scope(frozenset({"g000"}), PROVEN.proof)
    plan = build_plan(frame(), frame(*rows(4)), scope)
    limits = DeletionLimits(0.1, 99, 99, 0)
    assert len(guard(plan, scope, limits).held) == 4
    assert guard(plan, scope, limits, owned=frame(*rows(40, groups=2))[["key", "group"]]).held.empty


def replacing(number: int) -> pd.DataFrame:
    """So many pictures of twenty are replaced in their places."""
    current = [(f"old{n:02}", f"g{n}", 1, "f", f"c{n}") for n in range(20)]
    wanted = [(f"new{n:02}", f"g{n}", 1, "f", f"d{n}") if n < number else row for n, row in enumerate(current)]
    return build_plan(frame(*wanted), frame(*current), PROVEN, match_position=True)


@pytest.mark.parametrize(("number", "floor", "held"), [(10, 0, 0), (11, 0, 11), (11, 11, 0)])
def test_replacements_have_a_limit_of_their_own(number: int, floor: int, held: int) -> None:
    none = DeletionLimits(0, 0, 0, 0, replaced_floor=floor)
    guarded = guard(replacing(number), PROVEN, none)
    assert len(guarded.held) == held
    assert Counter(guarded.plan["change"])["update"] == number - held
    assert not Counter(guarded.plan["change"])["add"], "what is held back does not come beside the old one"


def test_a_person_approves_what_the_limits_held_back_and_nothing_else() -> None:
    plan = replacing(12)
    guarded = guard(plan, PROVEN, DeletionLimits(0, 0, 0, 0, replaced_floor=0), doubts={"g0": "the answer was short"})
    assert Counter(guarded.held["ruling"]) == {"doubt": 1, "limit": 11}
    done = approved(guarded.plan, but=frozenset({"old01"}))
    assert sorted(done.loc[done["change"] == "update", "key"]) == [f"new{n:02}" for n in range(2, 12)]
    columns = ["key", "key_before", "group", "position", "change", "reason", "fingerprint_before", "fingerprint_after"]
    same = guard(plan, PROVEN, DeletionLimits(0, 0, 0, 0, lifted=True)).plan.loc[done["change"] == "update", columns]
    assert_frame_equal(done.loc[done["change"] == "update", columns], same)


@pytest.mark.parametrize("scope", [PROVEN, Scope(None, None)], ids=["proven", "not judged"])
def test_what_a_person_allowed_goes_once_and_only_as_it_was(scope: Scope) -> None:
    limits = DeletionLimits(0, 0, 0, 0, memory=Memory(allowed={"k000": "f", "k001": "another"}, kept=frozenset({"k2"})))
    guarded = guard(build_plan(frame(), frame(*rows(2)), scope), scope, limits)
    assert list(guarded.plan["change"]) == ["remove", "keep"]


def test_what_a_person_keeps_stays_without_a_word_and_counts_for_nothing() -> None:
    limits = DeletionLimits(0, 1, 9, 9, memory=Memory(kept=frozenset({"k000", "k001"})))
    guarded = guard(build_plan(frame(), frame(*rows(3)), PROVEN), PROVEN, limits)
    assert list(guarded.plan["change"]) == ["keep", "keep", "remove"]
    assert (len(guarded.held), guarded.warnings) == (0, ())


@pytest.mark.parametrize("doubts", [{"g000": "short"}, {"k000": "short"}], ids=["a group", "a key"])
def test_what_is_doubted_is_held_whatever_the_limits_say(doubts: dict[str, str]) -> None:
    limits = DeletionLimits(1, 99, 99, 99, lifted=True)
    guarded = guard(build_plan(frame(), frame(*rows(2, groups=2)), PROVEN), PROVEN, limits, doubts=doubts)
    assert list(guarded.plan["change"]) == ["keep", "remove"]
    assert guarded.warnings == ("1 removals are held back: short.",)


def test_unproven_and_braked_removals_each_get_their_own_reason() -> None:
    scope = Scope(None, Proof(7, False, "page 3 is missing"), frozenset({"k000", "k001"}))
    guarded = guard(build_plan(frame(), frame(*rows(3)), scope), scope, DeletionLimits(1.0, 1, 99, 99))
    assert guarded.plan["reason"].str.contains("page 3").tolist() == [False, False, True]
    assert list(guarded.held["key"]) == ["k000", "k001"]
    assert len(guarded.warnings) == 2


BEFORE: list[Row] = [("a", "g", 1, "f1", None), ("b", "g", 2, "f1", "c1")]


@pytest.mark.parametrize(
    ("wanted", "marks", "stays"),
    [
        pytest.param([*BEFORE, ("n", "g", 3, "f1", None)], {"n": "f1"}, True, id="an addition"),
        pytest.param([*BEFORE, ("n", "g", 3, "f2", None)], {"n": "f1"}, False, id="an addition of something else"),
        pytest.param([("a", "g", 1, "f2", None), BEFORE[1]], {"a": "f2"}, True, id="an update"),
        pytest.param([("a", "g", 1, "f3", None), BEFORE[1]], {"a": "f2"}, False, id="an update to something else"),
        pytest.param([("a", "g", 9, "f1", None), BEFORE[1]], {"a": "f1 at 9"}, True, id="a place"),
        pytest.param([("a", "g", 8, "f1", None), BEFORE[1]], {"a": "f1 at 9"}, False, id="another place"),
        pytest.param(BEFORE[1:], {"a": ""}, True, id="a removal"),
        pytest.param(BEFORE[1:], {"a": "f1"}, False, id="a removal where something was undone"),
        pytest.param([BEFORE[0], ("n", "g", 2, "f1", "c1")], {"n": "f1", "b": ""}, True, id="a rename"),
        pytest.param([BEFORE[0], ("n", "g", 2, "f2", None)], {"n": "f2", "b": ""}, True, id="a replacement"),
        pytest.param([BEFORE[0], ("m", "g", 2, "f2", None)], {"n": "f2", "b": ""}, False, id="another replacement"),
    ],
)
def test_what_a_person_undid_stays_until_the_source_wants_something_else(
    wanted: list[Row], marks: dict[str, str], stays: bool
) -> None:
    undone = {key: Undone(word, "undone by anna") for key, word in marks.items()}
    plan = build_plan(frame(*wanted), frame(*BEFORE), PROVEN, match_position=True)
    assert plan["change"].isin(EFFECTS).sum() == 1
    guarded = guard(plan, PROVEN, DeletionLimits(1, 9, 9, 9, memory=Memory(undone=undone)))
    assert guarded.plan["change"].isin(EFFECTS).sum() == (0 if stays else 1)
    assert (len(guarded.held), guarded.warnings) == (0, ())
    kept = guarded.plan[guarded.plan["ruling"] == "kept"]
    assert list(kept["reason"]) == ["undone by anna; `imagesync held allow` releases it"] * stays
    assert kept["position"].equals(kept["position_before"])


@pytest.mark.parametrize(
    "wanted", [[], [("a", "g", 9, "f2", None), ("n", "g", 2, "f1", "c1"), ("m", "g", 3, "f", None)]]
)
def test_nothing_is_done_in_a_group_that_a_person_excluded(wanted: list[Row]) -> None:
    other: list[Row] = [("o", "h", 1, "f", None)]
    plan = build_plan(frame(*wanted, *other), frame(*BEFORE), PROVEN, match_position=True)
    memory = Memory(excluded={"g": "excluded by anna"}, allowed={"a": "f1"})
    guarded = guard(plan, PROVEN, DeletionLimits(0, 0, 0, 0, replaced_share=0, replaced_floor=0, memory=memory))
    assert (len(guarded.held), guarded.warnings) == (0, ())
    changing = guarded.plan["change"].isin(EFFECTS)
    assert list(guarded.plan.loc[changing, "key"]) == ["o"]
    left = guarded.plan[~changing]
    assert set(left["ruling"]) == {"excluded"}
    assert set(left["reason"]) == {"excluded by anna"}
    assert left["position"].equals(left["position_before"])


def test_what_was_undone_counts_for_no_limit() -> None:
    undone = {"k000": Undone("", "undone by anna")}
    limits = DeletionLimits(0, 1, 9, 9, memory=Memory(undone=undone))
    guarded = guard(build_plan(frame(), frame(*rows(2)), PROVEN), PROVEN, limits)
    assert list(guarded.plan["change"]) == ["keep", "remove"]
