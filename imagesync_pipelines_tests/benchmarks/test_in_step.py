"""Two trees work in turn, pair by pair, and what is told of them is of the pairs."""

from pathlib import Path

import pytest

from benchmarks.before import HERE
from benchmarks.in_step import Pairs, in_step

# Each piece of work takes a second more than the one before.
WORK = """
import json, sys
given = json.loads(sys.argv[1])
print("{}", flush=True)
for number, _ in enumerate(sys.stdin, 1):
    print(json.dumps({"read": float(number), "write": given["value"]}), flush=True)
"""


def written(folder: Path, text: str) -> Path:
    """A measuring script."""
    (folder / "script.py").write_text(text, encoding="utf-8")
    return folder / "script.py"


def test_both_do_as_many_pieces_and_the_first_do_not_count(tmp_path: Path) -> None:
    found = in_step(written(tmp_path, WORK), HERE, 3, value=0.5)
    counted = (3.0, 4.0, 5.0)
    assert found["read"] == Pairs(counted, counted)
    assert found["write"] == Pairs((0.5,) * 3, (0.5,) * 3)
    assert found["all"] == Pairs((3.5, 4.5, 5.5), (3.5, 4.5, 5.5))


def test_a_measurement_that_ends_early_is_an_error_and_not_a_figure(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="ended with 3"):
        in_step(written(tmp_path, "import sys; print('{}', flush=True); sys.exit(3)"), HERE, 1)


def test_a_slow_minute_counts_in_both_of_a_pair() -> None:
    pairs = Pairs((1.0, 3.0, 1.0, 1.0), (1.1, 3.3, 1.1, 2.2))
    assert pairs.ratio == pytest.approx(1.1)
    assert pairs.quartiles == pytest.approx((1.1, 1.925))
