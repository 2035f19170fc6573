"""A sentence that was kept in English is found again, whatever filled its gaps, and said in another language."""

from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.languages import retold, speaking, told, told_n
from imagesync_pipelines.languages.current import MARKED
from imagesync_pipelines.languages.texts import TOLD, Catalogue
from imagesync_pipelines.languages.told import OF_NUMBERS, Book
from imagesync_pipelines_tests.texts import extracted

ENGLISH = (
    ("Low resolution",),
    ("it is too small",),
    ("held back: {n:,} of {total:,} rows",),
    ("{n:,} row", "{n:,} rows"),
    ("{name}: no picture, because {reason}",),
    ("Try again later.",),
    ("Wait {seconds:.1f} seconds.",),
    ("{path} and {path} again",),
    ("{a}: {b}",),
    ("one is gone", "{n} are gone"),
    ("It is wrong. Mend {it}; then try again.",),
)
GERMAN = {
    ("", "Low resolution"): ("Geringe Auflösung",),
    ("", "it is too small"): ("es zu klein ist",),
    ("", "held back: {n:,} of {total:,} rows"): ("von {total} Zeilen {n} zurückgehalten",),
    ("", "{n:,} row"): ("{n} Zeile", "{n} Zeilen"),
    ("", "{name}: no picture, because {reason}"): ("kein Bild von {name}, weil {reason}",),
    ("", "Try again later."): ("Später noch einmal versuchen.",),
    ("", "Wait {seconds:.1f} seconds."): ("{seconds} Sekunden warten.",),
    ("", "{path} and {path} again"): ("{path} und wieder {path}",),
    ("", "It is wrong. Mend {it}; then try again."): ("Das ist falsch. {it} reparieren; dann nochmal.",),
    ("", "one is gone"): ("eines ist weg", "{n} sind weg"),
}
BOOK = Book("de", Catalogue(GERMAN, lambda n: int(n != 1), ENGLISH))


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("Low resolution", "Geringe Auflösung"),
        ("held back: 1,234 of 5,000 rows", "von 5.000 Zeilen 1.234 zurückgehalten"),
        ("1 row", "1 Zeile"),
        ("1,001 rows", "1.001 Zeilen"),
        ("one is gone", "eines ist weg"),
        ("3 are gone", "3 sind weg"),
        ("Engel 12: no picture, because it is too small", "kein Bild von Engel 12, weil es zu klein ist"),
        ("E: no picture, because {x}", "kein Bild von E, weil {x}"),
        ("Wait 2.5 seconds. Try again later.", "2,5 Sekunden warten. Später noch einmal versuchen."),
        ("Try again later.\nNobody knows this.\n2 rows", "Später noch einmal versuchen.\nNobody knows this.\n2 Zeilen"),
        ("1 row; 2 rows; three rows", "1 Zeile; 2 Zeilen; three rows"),
        ("store1: 12 rows", "store1: 12 Zeilen"),
        ("NAME: It is wrong. Mend x; then try again.", "NAME: Das ist falsch. x reparieren; dann nochmal."),
        ("1 row, e.g. 0 3", "1 row, e.g. 0 3"),
        ("a/b and a/b again", "a/b und wieder a/b"),
        ("a/b and c again", "a/b and c again"),
        ("nothing of it is known", "nothing of it is known"),
        ("", ""),
    ],
)
def test_a_sentence_is_said_in_german(english: str, german: str) -> None:
    with speaking("de"):
        assert BOOK.retold(english) == german


def test_in_english_a_sentence_is_what_it_was() -> None:
    assert retold(told("held back: 1,234 of 5,000 rows")) == "held back: 1,234 of 5,000 rows"
    assert (told_n("1 row", "1 rows", 1), told_n("2 row", "2 rows", 2)) == ("1 row", "2 rows")


_TOLD = [
    (text, not isinstance(message.id, str))
    for message in extracted().values()
    if TOLD in message.auto_comments
    for text in ([message.id] if isinstance(message.id, str) else message.id)
    if any(letter.isalpha() for literal, *_ in Formatter().parse(text) for letter in literal)
]
_KNOWN = {text for text, _ in _TOLD}
# What fills a gap says something, and is no sentence of its own that would be found first.
_WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=20).filter(
    lambda word: word.strip() != "" and word.strip() not in _KNOWN
)


@given(st.data())
def test_whatever_fills_the_gaps_of_a_sentence_it_is_found_again(data: st.DataObject) -> None:
    template, is_plural = data.draw(st.sampled_from(_TOLD))
    gaps = {gap: spec for _, gap, spec, _ in Formatter().parse(template) if gap is not None}
    values: dict[str, object] = {
        gap: data.draw(st.integers(0, 10**9))
        if (spec and OF_NUMBERS.fullmatch(spec)) or (is_plural and gap == "n")
        else data.draw(_WORDS)
        for gap, spec in gaps.items()
    }
    with speaking(MARKED):
        said = retold(template.format(**values))
    assert said.startswith("⟦"), said
    assert said.endswith("⟧"), said


def test_only_what_says_something_by_itself_is_looked_for() -> None:
    assert BOOK.retold("x: y") == "x: y"


def test_a_long_text_is_retold_in_parts() -> None:
    lines = ["2 rows", "unknown, this one"] * 60
    with speaking("de"):
        said = BOOK.retold("\n".join(lines)).split("\n")
    assert said[:4] == ["2 Zeilen", "unknown, this one"] * 2
    assert len(said) == len(lines)


def test_sentences_within_sentences_without_end_are_text_of_somebody_and_stay_so() -> None:
    hostile = "held back: 1 of 2 rows; a: no picture, because " * 200
    with speaking("de"):
        said = BOOK.retold(hostile)
        assert retold(f"it is too small{' ' * 20_000}").startswith("it is too small")
    assert said.endswith("a: no picture, because ")
