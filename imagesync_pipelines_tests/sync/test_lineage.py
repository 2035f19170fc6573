"""Whose hand-over a run takes: its own, else that of the nearest run that it re-executes, never a stranger's."""

from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.sync.handovers import of_lineage

_RUNS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5, unique=True)


@given(lineage=_RUNS, there=st.sets(st.sampled_from("abcdefgh")))
def test_the_nearest_run_of_the_lineage_that_left_something_is_taken_and_nobody_else(
    lineage: list[str], there: set[str]
) -> None:
    found = of_lineage(lineage[0], lineage[1:], there)
    if found is None:
        assert not there & set(lineage)
    else:
        assert found in there
        assert not there & set(lineage[: lineage.index(found)])


def test_a_run_takes_its_own_then_its_parents_then_its_roots() -> None:
    assert of_lineage("run", ["parent", "root"], ["root", "parent", "run", "stranger"]) == "run"
    assert of_lineage("run", ["parent", "root"], ["root", "parent", "stranger"]) == "parent"
    assert of_lineage("run", ["parent", "root"], ["root", "stranger"]) == "root"
    assert of_lineage("run", ["parent", "root"], ["stranger"]) is None
