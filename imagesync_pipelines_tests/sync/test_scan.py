"""A scan proves something only when nothing can have moved between its pages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.sync.guard import why_unproven


@given(st.integers(0, 10**6), st.integers(1, 50))
def test_pages_that_name_one_count_of_which_every_row_was_read_prove_the_scan(count: int, pages: int) -> None:
    assert why_unproven([count] * pages, count, rows="photos", source="HO") == ""


@given(st.lists(st.integers(0, 100), min_size=1), st.integers(0, 100))
def test_nothing_else_proves_it(counts: list[int], distinct: int) -> None:
    assert bool(why_unproven(counts, distinct, rows="photos", source="HO")) == (set(counts) != {distinct})


@pytest.mark.parametrize(
    ("counts", "distinct", "illegible", "said"),
    [
        ([25, 24], 24, "", "the number of photos changed while reading, between 24 and 25"),
        ([25, 25], 25, "1 photos have no legible id", "1 photos have no legible id"),
        ([25, 25], 24, "", "24 different photos were read, but HO counts 25: some moved between pages"),
    ],
)
def test_it_says_why(counts: list[int], distinct: int, illegible: str, said: str) -> None:
    assert why_unproven(counts, distinct, rows="photos", source="HO", illegible=illegible) == said
