"""Whose hand-over a run takes: its own, else that of the nearest run that it re-executes, never a stranger's."""

from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.storage.plans import Lineage

_RUNS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True)


@given(lineage=_RUNS, there=st.sets(st.sampled_from("abcdefgh")))
def test_the_nearest_run_of_the_lineage_that_left_something_is_taken_and_nobody_else(
    lineage: list[str], there: set[str]
) -> None:
    found = Lineage(lineage[0], tuple(lineage[1:])).first_of(there)
    if found is None:
        assert not there & set(lineage)
    else:
        assert found in there
        assert not there & set(lineage[: lineage.index(found)])


def test_a_run_takes_its_own_then_its_parents_then_its_roots() -> None:
    lineage = Lineage("run", ("parent", "root"))
    assert lineage.first_of(["root", "parent", "run", "stranger"]) == "run"
    assert lineage.first_of(["root", "parent", "stranger"]) == "parent"
    assert lineage.first_of(["root", "stranger"]) == "root"
    assert lineage.first_of(["stranger"]) is None
