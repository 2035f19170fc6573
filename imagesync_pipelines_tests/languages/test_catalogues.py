"""The catalogues say all that is marked, in every language, with the same gaps."""

import re
from string import Formatter

import pytest

from imagesync_pipelines_tests import texts

_PERCENT = re.compile(r"%\((\w+)\)s|%%")
_TAG = re.compile(r"</?\w+")


def gaps(text: str, flags: set[str]) -> list[str]:
    """The gaps of a text, and its tags."""
    braces = [gap for _, gap, _, _ in Formatter().parse(text) if gap is not None] if "%(" not in text else []
    return sorted({*braces, *_PERCENT.findall(text)}) + sorted(_TAG.findall(text))


def test_every_gap_of_a_text_has_a_plain_name() -> None:
    for message in texts.extracted().values():
        for text in [message.id] if isinstance(message.id, str) else message.id:
            names = [gap for _, gap, _, _ in Formatter().parse(text) if gap is not None]
            assert all(name.isidentifier() for name in names), text


@pytest.mark.parametrize("language", texts.TRANSLATED)
def test_what_is_translated_has_the_gaps_and_tags_of_the_english_text(language: str) -> None:
    wrong = []
    for key, message in texts.read_catalogue(texts.catalogue_path(language), language).items():
        english = [set(gaps(text, message.flags)) for text in _all(message.id)]
        for said in filter(None, _all(message.string)):
            found = set(gaps(said, message.flags))
            # What is said of one needs no number: "one row", "this product".
            if not (english[0] & english[-1] - {"n"} <= found <= english[0] | english[-1]):
                wrong.append((key[1], said, sorted(english[-1] ^ found)))
    assert wrong == []


@pytest.mark.parametrize("language", texts.TRANSLATED)
def test_nothing_that_is_marked_is_missing_and_nothing_else_is_there(language: str) -> None:
    there = texts.read_catalogue(texts.catalogue_path(language), language)
    assert sorted(there) == sorted(texts.extracted()), "renew them: python -m imagesync_pipelines_tests.texts renew"
    assert not [key for key, message in there.items() if message.fuzzy]
    assert texts.missing(language) == []


def _all(texts: str | tuple[str, ...] | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts)
