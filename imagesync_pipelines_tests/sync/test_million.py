"""A million rows are planned in less than 2 GB, and what is planned is right; how fast, `make bench` says."""

import pytest

from benchmarks.plan_million import ROWS, in_own_process, measure


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "changes"),
    [
        pytest.param("quiet", {"keep": ROWS - ROWS // 100, "update": ROWS // 100}, id="one row in a hundred changed"),
        pytest.param("renamed", {"update": ROWS}, id="every key is new"),
    ],
)
def test_a_million_rows_are_planned_in_less_than_two_gigabytes(case: str, changes: dict[str, int]) -> None:
    found = in_own_process(measure, case)
    assert found.changes == changes
    assert found.peak_bytes < 2e9
