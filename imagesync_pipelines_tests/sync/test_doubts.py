"""Bad news needs a second look: what becomes of what an answer lacks, and when it is looked at again."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from imagesync_pipelines.sync.doubts import Doubt, Doubts, due, judge, waiting
from imagesync_pipelines.sync.model import DeletionLimits, Memory

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LIMITS = DeletionLimits(share=0.1, count=50, bare=25, floor=2)
LIFTED = replace(LIMITS, lifted=True)
KNOWN = [f"k{number}" for number in range(40)]


def since(minutes: float, keys: Collection[str], readings: int = 1) -> dict[str, Doubt]:
    return {key: Doubt(NOW - timedelta(minutes=minutes), readings) for key in keys}


CASES = {
    "nothing is missing": ([], {}, LIMITS, 0, ([], [], [], [])),
    "for the first time": (KNOWN[:1], {}, LIMITS, 0, ([], KNOWN[:1], [], [])),
    "again, too soon": (KNOWN[:1], since(9.9, KNOWN[:1]), LIMITS, 0, ([], KNOWN[:1], [], [])),
    "again, ten minutes later": (KNOWN[:1], since(10, KNOWN[:1]), LIMITS, 0, (KNOWN[:1], [], [], [])),
    "one of two for the first time": (KNOWN[:2], since(10, KNOWN[:1]), LIMITS, 0, (KNOWN[:1], KNOWN[1:2], [], [])),
    "as many as the share": (KNOWN[:4], since(10, KNOWN[:4]), LIMITS, 0, (KNOWN[:4], [], [], [])),
    "more than the share": (KNOWN[:5], since(10, KNOWN[:5]), LIMITS, 0, ([], [], KNOWN[:5], [])),
    "with those of the last day": (KNOWN[:2], since(10, KNOWN[:2]), LIMITS, 3, ([], [], KNOWN[:2], [])),
    "the limits lifted": (KNOWN[:30], since(10, KNOWN[:30]), LIFTED, 0, (KNOWN[:30], [], [], [])),
    "all, for the first time": (KNOWN, {}, LIMITS, 0, ([], [], [], KNOWN)),
    "all, after a day, with the limits lifted": (KNOWN, since(1440, KNOWN, 9), LIFTED, 0, ([], [], [], KNOWN)),
    "the rest of what is doubted": (KNOWN[:2], since(10, KNOWN), LIMITS, 0, ([], [], [], KNOWN[:2])),
    "what a person allowed": (
        KNOWN[:30], since(1, KNOWN[:30]), replace(LIMITS, memory=Memory(allowed=dict.fromkeys(KNOWN, ""))), 0,
        (KNOWN[:30], [], [], []),
    ),
    "what a person keeps": (
        KNOWN[:1], since(60, KNOWN[:1]), replace(LIMITS, memory=Memory(kept=frozenset(KNOWN))), 0,
        ([], KNOWN[:1], [], []),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("missing", "doubts", "limits", "went", "judged"), CASES.values(), ids=CASES.keys())
def test_what_becomes_of_what_an_answer_lacks(
    missing: list[str],
    doubts: dict[str, Doubt],
    limits: DeletionLimits,
    went: int,
    judged: tuple[list[str], list[str], list[str], list[str]],
) -> None:
    found = judge(missing, doubts, NOW, known=KNOWN, limits=limits, went=went)
    assert tuple(sorted(keys) for keys in found) == tuple(map(sorted, judged))


def test_a_doubt_is_looked_at_once_more_and_no_oftener() -> None:
    assert due(since(9, ["a"]) | since(10, ["b"]) | since(99, ["c"], readings=2), NOW) == {"b"}


def test_doubts_are_kept_per_account_and_a_reading_that_comes_too_soon_counts_as_the_first(database: sa.Engine) -> None:
    moment = [NOW]
    doubts, others = (Doubts(database, "toy", alias, lambda: moment[0]) for alias in ("north", "south"))
    doubts.note(["a", "b"])
    moment[0] += timedelta(minutes=5)
    doubts.note(["a"])
    assert doubts.open() == {"a": Doubt(NOW, 1), "b": Doubt(NOW, 1)}
    moment[0] += timedelta(minutes=5)
    doubts.note(["a"])
    doubts.end(["b"])
    assert doubts.open() == {"a": Doubt(NOW, 2)}
    assert others.open() == {}


@pytest.mark.parametrize(
    ("missing", "doubts", "waits"),
    [
        pytest.param(KNOWN[:4], {}, [], id="as many as the limits allow"),
        pytest.param(KNOWN[:5], {}, KNOWN[:5], id="more, for the first time"),
        pytest.param(KNOWN[:5], since(9.9, KNOWN[:5]), KNOWN[:5], id="again, too soon"),
        pytest.param(KNOWN[:5], since(10, KNOWN[:5]), [], id="again, ten minutes later"),
        pytest.param(KNOWN[:6], since(10, KNOWN[:5]), KNOWN[5:6], id="one of them for the first time"),
    ],
)
def test_what_a_source_lacks_above_the_limits_waits_for_a_second_look(
    missing: list[str], doubts: dict[str, Doubt], waits: list[str]
) -> None:
    assert waiting(missing, doubts, NOW, known=len(KNOWN), limits=LIMITS) == set(waits)
