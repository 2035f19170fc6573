"""The state that an application leaves a target in: the same name for the same images, however they came there."""

import pandas as pd

from imagesync_pipelines.sync.acknowledging import is_whole, state_of
from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.model import DeletionLimits, Proof, Scope
from imagesync_pipelines.sync.plan import build_plan
from imagesync_pipelines_tests.sync.fakes import Row, frame, rejects
from imagesync_pipelines_tests.sync.worlds import NEVER

ALL = Scope(None, Proof(1, True, ""))
A, B, C = ("g/a", "g", 1, "f1", "c1"), ("g/b", "g", 2, "f2", "c2"), ("h/c", "h", 1, "f3", "c3")


def planned(
    wanted: list[Row], current: list[Row], *, limits: DeletionLimits = NEVER, match_position: bool = True
) -> pd.DataFrame:
    built = build_plan(frame(*wanted), frame(*current), ALL, rejected=rejects(), match_position=match_position)
    return guard(built, ALL, limits).plan


def test_a_state_has_one_name_however_a_target_came_to_it() -> None:
    wanted = [A, B]
    changed = ("g/a", "g", 1, "old", "c0")
    ways = [planned(wanted, []), planned(wanted, wanted), planned(wanted[::-1], [B, C]), planned(wanted, [changed, B])]
    assert len({state_of(plan) for plan in ways}) == 1
    assert state_of(ways[0])[1] == 2


def test_another_image_content_or_place_is_another_state() -> None:
    others = [[A], [A, B, C], [A, ("g/b", "g", 2, "other", "c9")], [A, ("g/b", "g", 3, "f2", "c2")]]
    states = {state_of(planned(one, [])) for one in ([A, B], *others)}
    assert len(states) == len(others) + 1


def test_places_count_only_where_a_plan_decides_about_them() -> None:
    free: list[Row] = [("g/a", "g", None, "f1", "c1")]
    assert state_of(planned(free, [], match_position=False)) == state_of(planned(free, [A], match_position=False))


def test_what_is_held_back_is_a_part_of_the_state_and_what_is_rejected_is_not() -> None:
    none = DeletionLimits(share=0.0, count=0, bare=0, floor=0)
    assert state_of(planned([A], [A, C], limits=none)) == state_of(planned([A, C], []))
    built = build_plan(frame(A), frame(), ALL, rejected=rejects(("x", None, "broken")))
    assert state_of(guard(built, ALL, NEVER).plan) == state_of(planned([A], []))
    assert state_of(planned([], []))[1] == 0


def test_a_plan_is_whole_when_it_has_a_row_of_all_that_is_owned() -> None:
    plan, owned = planned([A], [A, C]), frame(A, C)[["key", "group"]]
    assert is_whole(plan, owned)
    assert not is_whole(planned([A], [A]), owned)
    assert not is_whole(plan, None)
    assert is_whole(planned([], []), owned.iloc[:0])
