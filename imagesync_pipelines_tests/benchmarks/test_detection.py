"""The figures of detection in docs/quality.md are those that its quick part gives."""

from pathlib import Path

import pytest

from benchmarks.detection import QUESTIONS, Question, Seen, counted, quick, said
from benchmarks.made_up import FAULTS, made_up

PAGE = Path(__file__).parents[2] / "docs" / "quality.md"


@pytest.mark.slow
def test_the_quick_part_gives_what_the_page_says() -> None:
    seen = quick()
    page = PAGE.read_text(encoding="utf-8")
    assert f"The quick part of {len(seen)} pictures" in page
    assert [row for row in said(seen, lambda question: (question.chosen,)) if row not in page] == []


def test_drawn_pictures_are_the_same_from_the_same_seed() -> None:
    few = {name: FAULTS[name] for name in ("fills 40 %, JPEG", "text SALE -50%")}
    one, same, other = (list(made_up(1, few, seed)) for seed in (16, 16, 17))
    assert [made.body for made in one] == [made.body for made in same]
    assert [made.body for made in one] != [made.body for made in other]


@pytest.mark.parametrize(("threshold", "blamed", "missed"), [(0.5, 0, 1), (0.7, 0, 0), (0.95, 1, 0)])
def test_what_is_counted(threshold: float, blamed: int, missed: int) -> None:
    question: Question = QUESTIONS[0]
    shares = ((0.9, False), (0.6, True), (0.2, True), (0.1, None))
    seen = [Seen(str(share), {question.name: true}, {"white_background": share}) for share, true in shares]
    count = counted(seen, question, threshold)
    assert (count.blamed, count.good, count.missed, count.faulty) == (blamed, 1, missed, 2)
