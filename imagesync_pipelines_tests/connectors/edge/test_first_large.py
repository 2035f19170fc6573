"""A first synchronisation of 50,000 photos stays within its memory, whole stages in a process of their own."""

from pathlib import Path

import pytest

from benchmarks.measuring import in_own_process

MOST = 130_000_000


@pytest.mark.slow
def test_a_first_synchronisation_holds_no_more_than_its_rows_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 50_000
    # The benchmarks are no installed package: their process finds them in the folder it begins in.
    monkeypatch.chdir(Path(__file__).parents[3])
    found = in_own_process("benchmarks.edge_first", home=str(tmp_path), photos=number)
    assert found["verified"] == number
    start = found["spans"][0]["peak_bytes"] - found["spans"][0]["above_bytes"]
    assert max(span["peak_bytes"] for span in found["spans"]) - start < MOST
