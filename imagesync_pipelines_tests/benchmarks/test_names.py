"""Every measurement of `make bench` is explained in one place."""

import re

from benchmarks.before import HERE
from benchmarks.run import ALL, NAMED


def test_the_readme_lists_every_name_of_a_measurement_and_no_other() -> None:
    text = (HERE / "benchmarks" / "README.md").read_text(encoding="utf-8")
    table = text.partition("`make bench NAMES=`")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"`(\w+)`", re.sub(r"\|[^|]*\|[^|]*\|$", "", table, flags=re.M))) == sorted([*ALL, *NAMED])
