"""Which removals are held back, why, and what a person is told."""

import pytest

from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.model import DeletionLimits, Proof, Scope
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
    assert guarded.plan["reason"].str.match(f"held back: .*{words}").all()
    assert list(guarded.held["change"]) == ["remove", "remove"]
    assert list(guarded.held["reason"]) == list(guarded.plan["reason"])
    assert len(guarded.warnings) == 1
    assert guarded.warnings[0].startswith("2 removals are held back: ")


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
        assert "run once with the deletion limits lifted" in guarded.warnings[0]


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


@pytest.mark.parametrize(("share", "held"), [(0.15, 4), (0.25, 0)], ids=["above the share", "below the share"])
def test_additions_that_went_through_do_not_release_the_deletion_limits_the_next_night(share: float, held: int) -> None:
    current = rows(10)
    wanted = [*current[4:], *((f"n{n}", "g000", None, "f", None) for n in range(10))]
    both = {row[0]: row for row in (*current, *wanted)}.values()
    deletion_limits = DeletionLimits(share=share, count=99, bare=99, floor=0)
    for there in (current, both):
        guarded = guard(build_plan(frame(*wanted), frame(*there), PROVEN), PROVEN, deletion_limits)
        assert len(guarded.held) == held, "4 of 20 rows, before the additions as after them"


def test_unproven_and_braked_removals_each_get_their_own_reason() -> None:
    scope = Scope(None, Proof(7, False, "page 3 is missing"), frozenset({"k000", "k001"}))
    guarded = guard(build_plan(frame(), frame(*rows(3)), scope), scope, DeletionLimits(1.0, 1, 99, 99))
    assert guarded.held["reason"].str.contains("page 3").tolist() == [False, False, True]
    assert len(guarded.warnings) == 2
